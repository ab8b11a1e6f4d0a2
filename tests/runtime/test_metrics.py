import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from connectome.errors import InputError
from connectome.runtime.accounting import Accounts
from connectome.runtime.events import Heartbeat, TaskFailed, TaskQuarantined, TasksDone, TasksLost
from connectome.runtime.metrics import Metrics
from connectome.runtime.prices import Prices
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.run import run
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content


class Scraper(ProgressDisplay):
    """Reads the page over the network after every finished task."""

    def __init__(self):
        super().__init__(Console(quiet=True))
        self.url, self.pages = "", []

    def say(self, text):
        self.url = text.removeprefix("metrics: ")

    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, TasksDone):
            self.pages.append(scrape(self.url))


def scrape(url):
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(url, timeout=10) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_a_real_run_is_scraped(stored_affinities, tmp_path):
    scraper = Scraper()
    workflow = Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0], (60, 70, 90)))
    outcome = run(workflow, runner="serial", display=scraper, metrics="0")
    first, last = scraper.pages[0], scraper.pages[-1]
    name = "connectome_tasks_done_total"
    for each in outcome.plan.passes.values():
        assert last["connectome_tasks_planned", each.name] == len(each)
    # the display is told before the metrics: the last task is not yet on the page
    assert sum(n for key, n in last.items() if key[0] == name) == sum(map(len, outcome.plan.passes.values())) - 1
    assert sum(n for key, n in first.items() if key[0] == name) == 0
    assert last["connectome_voxels_total", "fragments"] == outcome.plan.domain.n_voxels
    assert last["connectome_busy_seconds_total", "fragments", "cpu"] > 0
    assert last["connectome_store_bytes_total", "read", "fragments"] > 0
    assert last["connectome_workers", "cpu"] == 1
    assert ("connectome_spent_usd",) in last
    with pytest.raises(OSError, match="refused"):
        scrape(scraper.url)


def test_trouble_is_counted():
    metrics, task = Metrics(Accounts(), Prices.load(), "127.0.0.1:0"), Task("edges", 0, (0, 0, 0))
    try:
        for event in (
            TaskFailed(task, 1, "", ""),
            TasksLost((task, task), "died"),
            TaskQuarantined(task, ""),
            Heartbeat({"cpu": 2, "gpu": 1}, {"cpu": 7}),
            Heartbeat({"cpu": 3}, {"cpu": 5}),
        ):
            metrics(event)
        page = scrape(metrics.url)
    finally:
        metrics.close()
    assert page["connectome_tasks_failed_total", "edges"] == 1
    assert page["connectome_tasks_lost_total", "edges"] == 2
    assert page["connectome_tasks_quarantined_total", "edges"] == 1
    assert (page["connectome_workers", "cpu"], page["connectome_workers", "gpu"]) == (3, 0)
    assert page["connectome_tasks_queued", "cpu"] == 5


def test_bad_addresses():
    with pytest.raises(InputError, match="takes a port"):
        Metrics(Accounts(), Prices.load(), "metrics")
    metrics = Metrics(Accounts(), Prices.load(), "0")
    try:
        with pytest.raises(InputError, match="choose another port"):
            Metrics(Accounts(), Prices.load(), metrics.url.rpartition(":")[2].removesuffix("/metrics"))
    finally:
        metrics.close()
