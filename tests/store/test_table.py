import uuid

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.store.dataset import Dataset
from connectome.store.table import read_parts, write_parts

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
        table.write_part(level, index, columns)
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


def test_parts_of_several_tables_go_together(dataset):
    types = {"b": "bool", "u1": "uint8", "i8": "int64", "f4": "float32", "f8": "float64", "u8": "uint64"}
    tables = [dataset.table(name, types) for name in ("edges", "clusters")]
    random = np.random.default_rng(0)
    parts = [
        (table, level, (0, 0, 0), {name: random.integers(0, 2, n).astype(dtype) for name, dtype in types.items()})
        for level, n in enumerate((0, 1, 1000))
        for table in tables
    ]
    for part, number in zip(parts, (2**64 - 1, 2**63, 0), strict=False):
        part[3]["u8"][:] = number
        part[3]["i8"][1::2] = -(2**63)
    write_parts(parts)
    found = read_parts([part[:3] for part in parts])
    for (*_, columns), read in zip(parts, found, strict=True):
        for name, dtype in types.items():
            assert read[name].dtype == dtype
            assert np.array_equal(read[name], columns[name])
    with pytest.raises(InputError, match=r"clusters/7/0_0_0.parquet is missing"):
        read_parts([parts[0][:3], (tables[1], 7, (0, 0, 0))])


def test_one_part_that_cannot_be_written_is_told_and_the_others_are(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "edges").write_text("a file where a folder is wanted")
    dataset = Dataset(str(tmp_path))
    tables = [dataset.table(name, COLUMNS) for name in ("edges", "clusters")]
    columns = {"id": np.arange(3), "size": np.arange(3)}
    with pytest.raises(InputError, match="cannot write"):
        write_parts([(table, 0, (0, 0, 0), columns) for table in tables])
    assert tables[1].read_part(0, (0, 0, 0))["id"].tolist() == [0, 1, 2]
