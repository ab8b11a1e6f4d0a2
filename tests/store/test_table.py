import uuid

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.store.dataset import Dataset

COLUMNS = {"id": "uint64", "size": "int32"}


@pytest.fixture(params=["file", "memory", "gs", "s3"])
def dataset(request, tmp_path):
    if request.param == "file":
        return Dataset(str(tmp_path / "dataset"))
    return Dataset(f"memory://{tmp_path}" if request.param == "memory" else bucket_url(request))


def bucket_url(request):
    return f"{request.getfixturevalue(request.param)}/{uuid.uuid4().hex}"


def test_parts_are_kept_and_deleted(dataset):
    table = dataset.table("edges", COLUMNS)
    parts = {(0, (0, 0, 0)): [3, 1], (0, (0, 0, 1)): [2**63 + 1], (1, (0, 0, 0)): []}
    for (level, index), ids in parts.items():
        columns = {"id": np.array(ids, np.uint64), "size": np.arange(len(ids))}
        assert table.write_part(level, index, columns) > 0
    assert table.read_part(0, (0, 0, 1))["id"].tolist() == [2**63 + 1]
    assert table.read_part(1, (0, 0, 0))["size"].dtype == np.int32
    assert table.read(level=0)["id"].tolist() == [3, 1, 2**63 + 1]
    assert table.read()["size"].tolist() == [0, 1, 0]
    dataset.table("other", COLUMNS).write_part(0, (0, 0, 0), columns)
    dataset.delete_table("edges")
    assert table.read()["id"].size == 0
    with pytest.raises(InputError, match=r"edges/0/0_0_1.parquet is missing"):
        table.read_part(0, (0, 0, 1))
    assert dataset.table("other", COLUMNS).read_part(0, (0, 0, 0))["id"].size == 0
    dataset.delete_table("edges")


def test_a_part_is_replaced_whole(dataset):
    table = dataset.table("edges", COLUMNS)
    for n in (1000, 3):
        table.write_part(0, (0, 0, 0), {"id": np.arange(n), "size": np.arange(n)})
    assert table.read_part(0, (0, 0, 0))["id"].tolist() == [0, 1, 2]
