"""Stores that fail for a moment are asked again; what is refused fails at once. Through a proxy that does both."""

import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from connectome.geometry import Box, Grid
from connectome.store.checksum import checksum
from connectome.store.locations import StoreError, delete_keys, list_keys, read_key, write_key
from connectome.store.table import Table
from connectome.store.volume import Volume
from tests.faulty_proxy import FAULTS, counts_of, faulty_proxy
from tests.object_stores import ADDRESS

BOX = Box.of_shape((32, 64, 64))
BLOCK = (16, 32, 32)
COLUMNS = {"id": "uint64"}


@pytest.fixture
def through(request, bucket, monkeypatch):
    """Start a faulty proxy of the bucket's server; return (its URL, the URL of a folder, that of the server)."""
    scheme = bucket.partition("://")[0]
    server, running = os.environ[ADDRESS[scheme]], []

    def start(**options):
        proxy = faulty_proxy(server, **options)
        running.append(proxy)
        url = proxy.__enter__()
        monkeypatch.setenv(ADDRESS[scheme], url)
        return url

    yield start, f"{bucket}/{uuid.uuid4().hex}", lambda: monkeypatch.setenv(ADDRESS[scheme], server)
    for proxy in running:
        proxy.__exit__(None, None, None)


def fill(url):
    """Write a volume, a table and keys, as workers side by side do."""
    array = np.random.default_rng(0).integers(0, 99, BOX.shape).astype(np.uint32)
    volume = Volume.create(f"{url}/v", box=BOX, dtype="uint32", voxel_size_nm=(4, 4, 4), write_shape=BLOCK)
    grid, table = Grid(BOX, BLOCK), Table(f"{url}/t", COLUMNS)

    def work(index):
        volume.write(grid.box_at(index), array[grid.box_at(index).slices])
        table.write_part(0, index, {"id": np.arange(sum(index))})
        write_key(url, f"ledger/{index[0]}-{index[1]}-{index[2]}", b"done")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, grid.indices()))
    return checksum(Volume.open(f"{url}/v")), table.read()["id"].tolist(), sorted(list_keys(url))


def test_what_fails_for_a_moment_is_tried_again(through, tmp_path):
    start, url, past_the_proxy = through
    wanted = fill(str(tmp_path))
    proxy = start(rate=0.25, seed=5)
    assert fill(url) == wanted
    counts = counts_of(proxy)
    assert all(counts.get(fault, 0) for fault in FAULTS)
    past_the_proxy()
    assert checksum(Volume.open(f"{url}/v")) == wanted[0]
    assert sorted(list_keys(url)) == wanted[2]
    start(rate=0.25, seed=6)
    delete_keys(url)
    past_the_proxy()
    assert list_keys(url) == []


@pytest.mark.parametrize("fault", ["503-after", "reset-after", "cut-after"])
def test_a_write_whose_answer_is_lost_is_written_once_more(through, fault):
    start, url, past_the_proxy = through
    proxy = start(rate=0.5, seed=1, faults=[fault])
    for n in range(8):
        write_key(url, f"{n}", b"%d" % n)
    assert counts_of(proxy)[fault] > 1
    past_the_proxy()
    assert [read_key(url, f"{n}") for n in range(8)] == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [("400", "check the URL and the region"), ("403", "check the credentials and what they may do")],
)
def test_what_is_refused_fails_at_once(through, fault, wanted):
    start, url, _ = through
    proxy = start(rate=1, faults=[fault])
    for ask in (lambda: write_key(url, "key", b"value"), lambda: read_key(url, "key")):
        before = counts_of(proxy).get("requests", 0)
        with pytest.raises(StoreError, match=rf"cannot (write|read) {url}.*{wanted}.*HTTP {fault}"):
            ask()
        assert counts_of(proxy)["requests"] == before + 1


def test_a_store_that_falls_silent_is_asked_again(through):
    start, url, _ = through
    start(rate=0.4, seed=2, faults=["hang"])
    program = (
        "import sys; from connectome.store.locations import read_key, write_key\n"
        "for n in range(4): write_key(sys.argv[1], str(n), b'value')\n"
        "assert read_key(sys.argv[1], '3') == b'value'"
    )
    # Where the transport's patience is read once, in a process of its own.
    patience = {"TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "1"}
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", program, url], env=os.environ | patience, timeout=60, check=True)
    assert time.monotonic() - begin > 1
