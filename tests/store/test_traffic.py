import gc
import os
import time

import numpy as np
import pytest

from connectome.geometry import Box
from connectome.store.locations import list_keys, read_key, write_key
from connectome.store.table import Table
from connectome.store.traffic import Traffic, snapshot
from connectome.store.volume import Volume
from tests.faulty_proxy import counts_of, faulty_proxy
from tests.object_stores import ADDRESS


def since(before, name):
    """Return the traffic since `before`; a store counts bytes a moment after it has answered."""
    until = time.monotonic() + 10
    while not getattr(found := snapshot() - before, name) and time.monotonic() < until:
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("store", ["file", "gs", "s3"])
def test_requests_and_bytes_are_counted(store, request, tmp_path):
    url = str(tmp_path) if store == "file" else f"{request.getfixturevalue(store)}/traffic"
    before = snapshot()
    write_key(url, "key", b"x" * 1000)
    written = since(before, "bytes_written")
    assert (written.requests_written, written.requests_read) == (1, 0)
    assert written.bytes_written == 1000
    before = snapshot()
    assert read_key(url, "key") == b"x" * 1000
    assert read_key(url, "absent") is None
    read = since(before, "bytes_read")
    # A disk is not asked for what is not there.
    assert (read.requests_read, read.requests_written) == (1 if store == "file" else 2, 0)
    assert read.bytes_read >= 1000
    before = snapshot()
    list_keys(url)
    assert (snapshot() - before).requests_written == 1


def test_requests_are_those_that_a_store_gets(bucket, monkeypatch):
    """Chunks of one shard that lie side by side come in one request: counting chunks billed several times as much."""
    scheme = bucket.partition("://")[0]
    box, part = Box.of_shape((64, 64, 64)), Box((0, 0, 10), (64, 64, 50))
    volume = Volume.create(
        f"{bucket}/v", box=box, dtype="uint8", voxel_size_nm=(4, 4, 4), write_shape=(64, 64, 32), chunk=16
    )
    for x in (0, 32):
        volume.write(Box((0, 0, x), (64, 64, x + 32)), np.ones((64, 64, 32), np.uint8))
    del volume  # while it is open, TensorStore keeps to the address that it knows
    with faulty_proxy(os.environ[ADDRESS[scheme]], rate=0) as url:
        monkeypatch.setenv(ADDRESS[scheme], url)
        volume = Volume.open(f"{bucket}/v")
        volume.read(part)
        before, n_before = snapshot(), counts_of(url)["requests"]
        volume.read(part)
        assert (snapshot() - before).requests_read == counts_of(url)["requests"] - n_before < 2 * 32


def test_volumes_and_tables_are_counted(tmp_path):
    box = Box.of_shape((32, 32, 32))
    volume = Volume.create(f"{tmp_path}/v", box=box, dtype="uint8", voxel_size_nm=(4, 4, 4), write_shape=(32, 32, 32))
    noise = np.frombuffer(os.urandom(box.n_voxels), np.uint8).reshape(box.shape)
    before = snapshot()
    volume.write(box, noise)
    table, columns = Table(f"{tmp_path}/t", {"id": "uint64"}), {"id": np.arange(9)}
    table.write_part(0, (0, 0, 0), columns)
    made = snapshot() - before
    assert made.requests_written == 2
    assert made.bytes_written >= box.n_voxels + len(table.encode(columns))
    assert snapshot() - snapshot() == Traffic()


def test_looking_takes_no_memory(tmp_path):
    """A worker looks twice a task: the lists that TensorStore kept were gigabytes after a million of them."""
    write_key(str(tmp_path), "key", b"x")
    snapshot()
    before = len(gc.get_objects())
    for _ in range(100):
        snapshot()
    assert len(gc.get_objects()) < before + 100
