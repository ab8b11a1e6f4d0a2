"""The same volume in object stores: real servers on this machine, and their errors."""

import contextlib
import os
import socket
import threading
import time

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler

from connectome.geometry import Box, Grid
from connectome.store.checksum import checksum
from connectome.store.locations import StoreError, delete_key, read_key, write_key
from connectome.store.table import Table
from connectome.store.volume import Volume, is_volume
from tests.object_stores import ADDRESS

BOX = Box((3, 5, 7), (33, 55, 77))
BLOCK = (16, 32, 32)


def make(url, **options):
    volume = Volume.create(url, box=BOX, dtype="uint32", voxel_size_nm=(40, 8, 8), write_shape=BLOCK, **options)
    array = np.random.default_rng(0).integers(0, 99, BOX.shape).astype(np.uint32)
    grid = Grid(BOX, BLOCK)
    for index in grid.indices():
        box = grid.box_at(index)
        volume.write(box, array[box.relative_to(BOX.start).slices])
    return volume


@pytest.fixture(scope="module")
def wanted():
    return checksum(make("memory://object-stores", delete_existing=True))


@pytest.mark.parametrize("name", ["ome-zarr-0.5", "precomputed"])
def test_a_volume_in_a_bucket(bucket, wanted, name):
    url = f"{bucket}/a folder/{name}"
    assert not is_volume(url)
    make(url, format=name)
    again = Volume.open(url)
    assert (again.box, again.voxel_size_nm) == (BOX, (40, 8, 8))
    assert checksum(again) == wanted
    with pytest.raises(StoreError, match="exists already"):
        make(url, format=name)
    again.delete()
    assert not is_volume(url)


def test_an_unfinished_volume_in_a_bucket(bucket):
    url = f"{bucket}/unfinished"
    volume = make(url, is_finished=False)
    with pytest.raises(StoreError, match="never finished"):
        Volume.open(url)
    volume.finish()
    assert is_volume(url)


def test_keys_of_a_bucket(bucket):
    write_key(bucket, "name", b"one")
    write_key(bucket, "name2", b"two")
    delete_key(bucket, "name")
    assert read_key(bucket, "name") is None
    assert read_key(bucket, "name2") == b"two"


def test_a_bucket_that_is_not_there(bucket):
    with pytest.raises(StoreError, match="other-bucket"):
        make(f"{bucket.partition('://')[0]}://other-bucket/volume")


def test_what_is_in_a_bucket_is_read_by_the_tools_of_the_field(bucket):
    """zarr and pyarrow, through gcsfs and s3fs."""
    url = f"{bucket}/for others"
    make(f"{url}/v")
    Table(f"{url}/t", {"id": "uint64"}).write_part(0, (0, 0, 0), {"id": np.arange(2**63, 2**63 + 3, dtype=np.uint64)})
    options = {"endpoint_url": os.environ[ADDRESS["gs"]], "token": "anon"} if bucket.startswith("gs") else {}
    store = zarr.storage.FsspecStore.from_url(f"{url}/v/0", storage_options=options)
    assert (zarr.open_array(store, mode="r")[...] == Volume.open(f"{url}/v").read(BOX)).all()
    with fsspec.open(f"{url}/t/0/0_0_0.parquet", **options) as file:
        assert pq.read_table(file)["id"].to_pylist() == [2**63, 2**63 + 1, 2**63 + 2]


class Forbidding(StaticFileHandler):
    """Files of a bucket that cannot be listed: what is not there is forbidden."""

    def write_error(self, status_code, **details):
        self.set_status(403 if status_code == 404 else status_code)
        self.finish()


@pytest.fixture
def served(tmp_path):
    """A web server of the folder `tmp_path` in a thread of its own; it gives its URL."""
    sockets = bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    loops = []

    def serve():
        loops.append(IOLoop(make_current=True))
        folder = {"path": str(tmp_path)}
        routes = [(r"/data/(.*)", StaticFileHandler, folder), (r"/private/(.*)", Forbidding, folder)]
        application = Application(routes)
        server = HTTPServer(application)
        server.add_sockets(sockets)
        loops[0].add_callback(ready.set)
        loops[0].start()
        server.stop()
        loops[0].close(all_fds=True)

    ready = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/data"
    loops[0].add_callback(loops[0].stop)
    thread.join(10)


@pytest.mark.parametrize("name", ["ome-zarr-0.5", "n5", "precomputed-sharded"])
def test_a_volume_on_the_web(served, tmp_path, wanted, name):
    options = {"box": BOX, "dtype": "uint32", "voxel_size_nm": (40, 8, 8), "write_shape": BOX.shape}
    volume = Volume.create(str(tmp_path / "v"), format=name, **options)
    volume.write(BOX, Volume.open("memory://object-stores").read(BOX))
    again = Volume.open(f"{served}/v")
    assert (again.box, checksum(again)) == (BOX, wanted)
    assert checksum(Volume.open(f"{served.replace('data', 'private')}/v")) == wanted
    with pytest.raises(StoreError, match="read only"):
        Volume.create(f"{served}/w", **options)
    with pytest.raises(StoreError, match="cannot write"):
        again.write(BOX, again.read(BOX))
    with pytest.raises(StoreError, match="no volume at"):
        Volume.open(f"{served}/w")


def test_a_web_server_that_is_not_there():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(StoreError, match="cannot read"):
        Volume.open(f"http://127.0.0.1:{port}/v")
    assert time.monotonic() - begin < 60
