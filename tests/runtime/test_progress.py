"""What the terminal, or a log in its place, shows of tasks that take minutes."""

import io

import pytest
from rich.console import Console

from connectome.runtime import progress
from connectome.runtime.events import Heartbeat, RunStarted, TasksDone
from connectome.runtime.progress import ProgressDisplay
from connectome.store.ledger import Receipt
from tests.runtime.troubled import troubled_plan


def one_done(number, seconds):
    return TasksDone(Receipt("troubled", ((number, number + 1),), 1, 1, 0.0, seconds, seconds, 0, 0, 0, "here"))


def test_tasks_of_minutes_have_a_time_left(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 20)
    display, now = ProgressDisplay(Console(file=io.StringIO(), force_terminal=True)), [0.0]
    display._bars.get_time = lambda: now[0]
    display(RunStarted(plan, {"troubled": 0}, {"cpu": 1}))
    for number in range(10):
        now[0] += 300.0
        display(one_done(number, 300.0))
    assert display._bars.tasks[0].time_remaining == pytest.approx(10 * 300.0)


def test_a_log_hears_of_a_run_whose_tasks_have_not_ended_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    plan, _ = troubled_plan(tmp_path / "run", 20)
    text = io.StringIO()
    display = ProgressDisplay(Console(file=text))
    display(RunStarted(plan, {"troubled": 0}, {"cpu": 1}))
    display(Heartbeat({"cpu": 1}, {"cpu": 17}))
    assert text.getvalue() == "troubled 0/20\n"
