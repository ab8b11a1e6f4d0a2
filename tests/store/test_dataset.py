"""A record is believed only if it says what it must."""

import json

import pytest

from connectome.errors import InputError
from connectome.store.dataset import Dataset

PLAN = {"workflow": {}, "domain": [[0, 0, 0], [1, 1, 1]], "voxel_size_nm": [1, 1, 1], "external": {}}
STATE = {"domain": "0:1,0:1,0:1", "voxel_size_nm": [1, 1, 1], "block": [1, 1, 1], "inputs": {}, "stages": {}}
WHOLE = {"format": "connectome dataset", "version": 1, "plan": PLAN, "state": STATE}


def test_a_record_comes_back(tmp_path):
    dataset = Dataset.at(str(tmp_path))
    assert dataset.read_record() is None
    dataset.write_record(PLAN, STATE)
    assert dataset.read_record() == WHOLE


@pytest.mark.parametrize(
    ("record", "flaw"),
    [
        (None, "is not the record of a dataset"),
        ([], "is not the record of a dataset"),
        ({}, "is not the record of a dataset"),
        ({"state": {}}, "is not the record of a dataset"),
        ({"plan": {"workflow": {}}, "state": {}}, "is not the record of a dataset"),
        ({**WHOLE, "version": 2}, "is of version 2, wanted is 1"),
        ({**WHOLE, "plan": {"workflow": {}}}, "does not say the domain of its plan"),
        ({**WHOLE, "state": {}}, "does not say the domain of its state"),
        ({**WHOLE, "state": {**STATE, "stages": []}}, "does not say the stages of its state"),
    ],
)
def test_another_record_is_refused_with_one_sentence(tmp_path, record, flaw):
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"dataset\.json {flaw}: restore it, or choose another dataset\.url"):
        Dataset.at(str(tmp_path)).read_record()


@pytest.mark.parametrize("content", [b"", b"{half", b"\xff\xfe"])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(InputError, match="is not the record of a dataset"):
        Dataset.at(str(tmp_path)).read_record()
