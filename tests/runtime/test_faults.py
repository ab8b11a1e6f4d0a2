"""Workers killed at random, the driver killed and started again: the same checksum."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from connectome.runtime.run import run
from connectome.store.checksum import checksum
from connectome.store.volume import Volume
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content

COMMAND = Path(sys.executable).parent / "connectome"


def start(workflow_file):
    return subprocess.Popen(
        [COMMAND, "run", str(workflow_file), "--workers", "2", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def workers_of(driver):
    """Worker processes of a driver: its children that are not helpers of multiprocessing."""
    try:
        children = psutil.Process(driver.pid).children(recursive=True)
        return [c for c in children if "spawn_main" in " ".join(c.cmdline())]
    except psutil.NoSuchProcess:
        return []


def n_parts(folder):
    return sum(1 for _ in (folder / "tables").rglob("*.parquet"))


def wait_for_progress(driver, folder, more, seconds=90):
    """Wait until the run has written `more` further parts, or is over."""
    wanted, until = n_parts(folder) + more, time.monotonic() + seconds
    while driver.poll() is None and n_parts(folder) < wanted and time.monotonic() < until:
        time.sleep(0.02)


def test_killed_workers_and_drivers_change_nothing(stored_affinities, tmp_path):
    quiet = run(Workflow.parse(workflow_content(tmp_path / "quiet", stored_affinities[0])), runner="serial")
    folder, file = tmp_path / "chaos", tmp_path / "workflow.yaml"
    file.write_text(yaml.safe_dump(workflow_content(folder, stored_affinities[0], (20, 20, 20))))
    chance, n_killed = random.Random(5), 0
    for restart in range(3):
        driver = start(file)
        try:
            for _ in range(2):
                wait_for_progress(driver, folder, chance.randrange(20, 60))
                if workers := workers_of(driver):
                    chance.choice(workers).send_signal(signal.SIGKILL)
                    n_killed += 1
            if restart < 2:
                wait_for_progress(driver, folder, chance.randrange(20, 60))
                orphans = workers_of(driver)
                driver.kill()
                driver.communicate()
                psutil.wait_procs(orphans, timeout=20)
            else:
                output, errors = driver.communicate(timeout=180)
        finally:
            for process in workers_of(driver):
                process.kill()
            driver.kill()
            driver.wait()
    assert driver.returncode == 0, errors.decode()
    assert "marked as failed" not in errors.decode()  # Dask's word for what is mended
    assert json.loads(output.decode().splitlines()[-1])["quarantined"] == []
    assert n_killed >= 3
    assert checksum(Volume.open(f"{folder}#segmentation")) == checksum(quiet.dataset.volume("segmentation"))
