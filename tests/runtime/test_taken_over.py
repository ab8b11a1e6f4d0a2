"""A run whose dataset another one took over changes nothing any more."""

from dataclasses import replace

import pytest

from connectome.runtime.prepare import prepare
from connectome.runtime.run import run
from connectome.runtime.work import perform
from connectome.store.checksum import checksum
from connectome.store.locations import delete_key, list_keys, write_key
from connectome.store.run_lock import Claim, RunLock, RunLockError
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content


def keys_of(url):
    """Everything in a dataset but who holds it."""
    return [key for key in list_keys(url) if not key.startswith("run.lock")]


@pytest.fixture
def finished(stored_affinities, tmp_path):
    outcome = run(
        Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0], (60, 35, 90))), runner="serial"
    )
    assert outcome.is_complete
    return outcome


def test_workers_of_a_driver_that_died_write_nothing_once_another_runs(finished):
    """Whatever kind of task they are at: blocks, nodes upward and nodes downward."""
    url = finished.dataset.url
    with RunLock(url) as former:
        held = replace(finished.dataset, claim=former.claim)
        assert perform(finished.plan, held, Task("fragments", 0, (0, 0, 0))).written_requests
        write_key(url, "run.lock/0000000009.json", Claim.of_this_process().content())
        delete_key(url, f"run.lock/{former.claim}")
        for name in ("segmentation", "fragments"):
            held.delete_volume(name)
        before = keys_of(url)
        for each in finished.plan.passes.values():
            if each.name != "segmentation" and "fragments" not in each.stage.inputs:
                with pytest.raises(RunLockError, match=f"another run took {url} over"):
                    perform(finished.plan, held, next(each.tasks()))
        assert keys_of(url) == before


def test_a_driver_that_lost_its_hold_while_it_prepared_deletes_nothing(finished, stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 35, 90))
    content["stages"][0]["cap_nm"] = 60
    before, record = keys_of(finished.dataset.url), finished.dataset.read_record()

    def check():
        raise RunLockError("taken over")

    with pytest.raises(RunLockError, match="taken over"):
        prepare(Workflow.parse(content), redo=True, check=check)
    assert keys_of(finished.dataset.url) == before
    assert finished.dataset.read_record() == record


def test_a_dropped_volume_is_made_again_where_a_lost_one_needs_it(finished, stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run2", stored_affinities[0], (60, 35, 90))
    content["stages"][0]["keep"] = False
    wanted = checksum(finished.dataset.volume("segmentation"))
    outcome = run(Workflow.parse(content), runner="serial")
    assert not list_keys(outcome.dataset.volume_url("fragments"))
    outcome.dataset.delete_volume("segmentation")
    again = run(Workflow.parse(content), runner="serial")
    assert again.is_complete
    assert checksum(again.dataset.volume("segmentation")) == wanted
    assert not list_keys(again.dataset.volume_url("fragments"))
