"""One of many drivers gets a dataset, on real stores."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from connectome.errors import InputError
from connectome.store.locations import create_key, list_keys, read_key, write_key
from connectome.store.run_lock import Claim, Pace, RunLock, RunLockError
from tests.faulty_proxy import counts_of, faulty_proxy
from tests.object_stores import ADDRESS

QUICK = Pace(refresh_s=0.05, lease_s=0.4, stale_s=0.6)
CLAIM = "run.lock/0000000001.json"

RACER = """
import os, sys, threading
from connectome.store.run_lock import RunLock, RunLockError
url, n_threads = sys.argv[1], int(sys.argv[2])
tried, start = threading.Barrier(n_threads + 1), threading.Barrier(n_threads)
def say(text):
    os.write(1, f"{text}\\n".encode())  # a line at once, whatever the other threads say
def race():
    start.wait()
    try:
        with RunLock(url) as lock:
            say("won")
            tried.wait()
            ended.wait()
            lock.check()
    except RunLockError as error:
        say(f"lost {error}")
        tried.wait()
ended = threading.Event()
threads = [threading.Thread(target=race) for _ in range(n_threads)]
say("ready")
sys.stdin.readline()
for thread in threads: thread.start()
tried.wait()
say("tried")
sys.stdin.readline()
ended.set()
for thread in threads: thread.join()
"""
"""Several contenders in a process, who keep what they got until they are told to end."""


@pytest.fixture(params=["file", "memory", "gs", "s3"])
def dataset_url(request, tmp_path):
    """URL of a dataset that exists, in each store."""
    if request.param == "file":
        url = str(tmp_path / "dataset")
    elif request.param == "memory":
        url = f"memory://{tmp_path}"
    else:
        url = f"{request.getfixturevalue(request.param)}/{uuid.uuid4().hex}"
    write_key(url, "dataset.json", b"{}")
    return url


def claim_of(url, key=CLAIM):
    return Claim.parse(read_key(url, key), key)


def elsewhere(claim, **values):
    """Return a claim as a host elsewhere would write it."""
    return json.dumps({**json.loads(claim.content()), "machine": "other", "host": "far", "pid": 7, **values}).encode()


def check_for(seconds, lock):
    """Check the lock again and again, as the events of a run do."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lock.check()
        time.sleep(0.01)


def test_one_holds_and_the_other_is_told_who(dataset_url):
    with RunLock(dataset_url) as lock:
        wanted = rf"held by another run, process {os.getpid()} on .* \(since 20.* UTC, last seen .*choose another"
        with pytest.raises(RunLockError, match=wanted), RunLock(dataset_url):
            pass
        lock.check()
    assert claim_of(dataset_url).is_released
    with RunLock(dataset_url):
        pass
    assert list_keys(f"{dataset_url}/run.lock") == ["0000000002.json"]


@pytest.mark.parametrize("store", ["file", "gs", "s3"])
def test_of_many_racing_processes_and_threads_one_wins(store, request, tmp_path):
    url = str(tmp_path) if store == "file" else f"{request.getfixturevalue(store)}/{uuid.uuid4().hex}"
    write_key(url, "dataset.json", b"{}")
    with ThreadPoolExecutor(3) as pool:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        racers = [subprocess.Popen([sys.executable, "-c", RACER, url, "4"], **pipes) for _ in range(3)]
        try:
            assert [each.stdout.readline() for each in racers] == ["ready\n"] * 3
            for each in racers:
                each.stdin.write("go\n")
                each.stdin.flush()
            results = list(pool.map(lambda each: [each.stdout.readline() for _ in range(5)], racers))
        finally:
            for each in racers:
                each.communicate("end\n", timeout=30)
    lines = [line for lines in results for line in lines if line != "tried\n"]
    assert lines.count("won\n") == 1
    assert sum("is held by another run" in line for line in lines) == 11


def test_of_many_creators_of_a_key_one_is_told_yes(dataset_url):
    barrier = threading.Barrier(8)

    def create(n):
        barrier.wait()
        return create_key(dataset_url, "key", b"%d" % n)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert answers.count(True) == 1
    assert read_key(dataset_url, "key") == b"%d" % answers.index(True)


@pytest.mark.parametrize("store", ["gs", "s3"])
def test_a_lost_answer_does_not_lose_the_key(store, request, monkeypatch):
    url = f"{request.getfixturevalue(store)}/{uuid.uuid4().hex}"
    with faulty_proxy(os.environ[ADDRESS[store]], rate=0.4, seed=3, faults=["reset-after", "503-after"]) as proxy:
        monkeypatch.setenv(ADDRESS[store], proxy)
        assert [create_key(url, f"{n}", b"mine") for n in range(3)] == [True] * 3
        assert not create_key(url, "0", b"other")
        counts = counts_of(proxy)
    assert counts["reset-after"] + counts["503-after"] > 2


def test_a_killed_driver_is_followed_at_once(tmp_path):
    write_key(str(tmp_path), "dataset.json", b"{}")
    command = [sys.executable, "-c", RACER, str(tmp_path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        driver.stdin.write("go\n")
        driver.stdin.flush()
        assert [driver.stdout.readline() for _ in range(2)] == ["ready\n", "won\n"]
        driver.send_signal(signal.SIGSTOP)
        with pytest.raises(RunLockError, match=f"process {driver.pid}"), RunLock(str(tmp_path)):
            pass
        driver.send_signal(signal.SIGKILL)
        while claim_of(str(tmp_path)).is_alive:
            time.sleep(0.01)
        begin = time.monotonic()
        with RunLock(str(tmp_path)):  # before it is waited for: it is a zombie still
            assert time.monotonic() - begin < Pace().refresh_s
        driver.communicate()
    assert not list_keys(f"{tmp_path}/run.lock")[1:]


def test_a_holder_elsewhere_that_is_silent_is_succeeded(dataset_url):
    write_key(dataset_url, CLAIM, elsewhere(Claim.of_this_process()))
    begin = time.monotonic()
    with RunLock(dataset_url, QUICK):
        assert time.monotonic() - begin >= QUICK.stale_s
    assert list_keys(f"{dataset_url}/run.lock") == ["0000000002.json"]


def test_a_holder_elsewhere_that_renews_keeps_the_dataset(tmp_path):
    claim, ended = Claim.of_this_process(), threading.Event()

    def renew():
        n = 0
        while not ended.wait(0.02):
            n += 1
            write_key(str(tmp_path), CLAIM, elsewhere(claim, n_renewals=n))

    write_key(str(tmp_path), CLAIM, elsewhere(claim))
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(RunLockError, match="process 7 on far"), RunLock(str(tmp_path), Pace(0.1, 40, 60)):
            pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("loss", ["taken over", "taken away", "silent"])
def test_who_loses_the_lock_stops(loss, tmp_path):
    url = str(tmp_path)
    write_key(url, "dataset.json", b"{}")
    other = elsewhere(Claim.of_this_process())
    pace = Pace(refresh_s=0.05, lease_s=1.5 if loss == "silent" else 60, stale_s=90)
    with RunLock(url, pace) as lock:
        lock.check()
        if loss == "taken over":
            write_key(url, "run.lock/0000000002.json", other)
            wanted = "taken over by process 7 on far"
        elif loss == "taken away":
            write_key(url, CLAIM, other)
            wanted = "was taken away"
        else:
            (tmp_path / "run.lock").rename(tmp_path / "aside")
            (tmp_path / "run.lock").write_text("a file where the store had a folder")
            wanted = r"not renewed for 1\.5 s: cannot|was taken away"
        with pytest.raises(RunLockError, match=f"lost its hold on .*({wanted}).*run the same command"):
            check_for(20, lock)
    if loss == "taken over":
        assert read_key(url, "run.lock/0000000002.json") == other
    elif loss == "taken away":
        assert read_key(url, CLAIM) == other


def test_who_was_refused_leaves_nothing(tmp_path):
    def refused():
        with RunLock(str(tmp_path / "dataset")):
            raise InputError("no such input")

    with pytest.raises(InputError, match="no such input"):
        refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", replace(Claim.of_this_process(), seen="lately").content()])
def test_what_is_no_claim_is_named(tmp_path, content):
    write_key(str(tmp_path), CLAIM, content)
    with (
        pytest.raises(RunLockError, match=r"run.lock/0000000001.json is not a claim.*delete it"),
        RunLock(str(tmp_path)),
    ):
        pass
