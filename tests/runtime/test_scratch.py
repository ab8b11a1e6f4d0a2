"""Scratch folders of killed processes are swept; those of the living, of others and of unknown origin are not."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from connectome.runtime.cluster import Cluster
from connectome.runtime.scratch import OWNER, scratch_folder, sweep

HOLD = """
from connectome.runtime.scratch import scratch_folder
folder = scratch_folder("connectome-dask-")
print(folder.name, flush=True)
input()
"""
CLAIM = "from connectome.store.run_lock import Claim; print(Claim.of_this_process().content().decode())"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_folder_of_a_killed_process_is_swept(place):
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        left = Path(process.stdout.readline().decode().strip())
        assert left.parent == place
        sweep("connectome-dask-")
        assert left.exists()  # its process is there
        process.send_signal(signal.SIGKILL)
    assert left.exists()
    with Cluster({"cpu": 0}):
        assert not left.exists()
        (ours,) = place.glob("connectome-dask-*")
        sweep("connectome-dask-")
        assert ours.exists()
    assert not list(place.glob("connectome-dask-*"))


def test_what_may_be_in_use_is_left_alone(place):
    dead = subprocess.run([sys.executable, "-c", CLAIM], capture_output=True, check=True).stdout
    elsewhere = dead.replace(b'"machine": "', b'"machine": "x')
    for name, content in (("unknown", None), ("broken", b"{"), ("elsewhere", elsewhere)):
        (place / f"connectome-dask-{name}").mkdir()
        if content is not None:
            (place / f"connectome-dask-{name}" / OWNER).write_bytes(content)
    (place / "other").mkdir()
    (place / "other" / OWNER).write_bytes(dead)
    (place / "connectome-dask-link").symlink_to(place / "other")
    before = sorted(place.iterdir())
    scratch_folder("connectome-dask-").cleanup()
    assert sorted(place.iterdir()) == before
    assert (place / "other" / OWNER).exists()
