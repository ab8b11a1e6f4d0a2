"""Ctrl-C at a terminal goes to the driver and to its workers: one sentence, nothing left, and the run goes on later."""

import os
import signal
import subprocess
import sys
import time

import psutil
import yaml

from connectome.store.dataset import Dataset


def test_a_terminal_stops_a_run_without_tracebacks(tmp_path):
    url, workflow = tmp_path / "run", tmp_path / "workflow.yaml"
    stage = {"stage": "phantom", "shape": (64, 64, 4096), "voxel_size_nm": (10, 10, 10), "seed": 0}
    workflow.write_text(yaml.safe_dump({"dataset": {"url": str(url)}, "grid": {"block": (64,) * 3}, "stages": [stage]}))
    command = [sys.executable, "-m", "connectome.cli", "run", str(workflow), "--workers", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as driver:
        until = time.monotonic() + 120
        while not _is_begun(str(url)):
            assert driver.poll() is None, driver.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.2)
        workers = psutil.Process(driver.pid).children(recursive=True)
        os.killpg(driver.pid, signal.SIGINT)
        output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert "Traceback" not in output
    assert "run the same command to go on" in output
    assert not psutil.wait_procs(workers, timeout=30)[1]


def _is_begun(url):
    dataset = Dataset.at(url)
    return dataset.read_record() is not None and any(each["kind"] == "receipt" for each in dataset.ledger.records())
