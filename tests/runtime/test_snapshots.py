"""Snapshots of the ledger: a run goes on from them as from all parts, and never from one that does not fit."""

import json
import re
from pathlib import Path

import pytest

from connectome.errors import InputError
from connectome.runtime import snapshots
from connectome.runtime.audit import audit
from connectome.runtime.events import RunStarted, TasksDone
from connectome.runtime.prices import Prices
from connectome.runtime.recorder import Recorder, recall
from connectome.runtime.status import status_of
from connectome.store.ledger import Receipt
from tests.runtime.troubled import troubled_plan


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A dataset whose ledger has twenty parts and some snapshots."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_PARTS", 8)
    plan, dataset = troubled_plan(tmp_path / "run", 50)
    progress, accounts = recall(dataset, plan)
    recorder = Recorder(dataset, accounts, progress)
    recorder(RunStarted(plan, {"troubled": 0}, {"cpu": 2}))
    for number in range(40):
        progress.done["troubled"].add_number(number)
        recorder(TasksDone(Receipt("troubled", ((number, number + 1),), 1, 1, 0.0, 0.1, 0.1, 5, 7, 9, "here")))
        if number % 2:
            recorder.flush()
    return plan, dataset


def state(dataset, plan):
    progress, accounts = recall(dataset, plan)
    return progress.done["troubled"].packed(), accounts.stages, {k: round(v, 1) for k, v in accounts.held_s.items()}


def parts(dataset):
    folder = dataset.url + "/ledger"
    return sorted(Path(folder).rglob("*.json*"))


def test_snapshots_give_what_all_parts_give(recorded, monkeypatch):
    plan, dataset = recorded
    names = [path.name for path in parts(dataset)]
    assert [name for name in names if name.endswith(".json")] == ["0000000008.json", "0000000016.json"]
    assert sum(name.endswith(".jsonl") for name in names) == 20
    with_snapshots = state(dataset, plan)
    read = []
    monkeypatch.setattr(type(dataset.ledger), "read_snapshot", lambda self: read.append(1) or (0, {}))
    assert state(dataset, plan) == with_snapshots
    assert read
    assert recall(dataset, plan)[0].done["troubled"].count == 40


def test_only_parts_after_the_snapshot_are_read(recorded):
    plan, dataset = recorded
    before = state(dataset, plan)
    for path in parts(dataset):
        if path.name.endswith(".jsonl") and int(path.name[:10]) <= 16:
            path.write_text("not looked at")
    assert state(dataset, plan) == before


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.0.0"},
        {"tasks": {"troubled": 49}},
        {"done": {"troubled": "!"}},
        {"done": []},
        {"accounts": {"x": 1}},
        {"accounts": {"stages": []}},
    ],
)
def test_a_snapshot_that_does_not_fit_is_ignored(recorded, change):
    plan, dataset = recorded
    before = state(dataset, plan)
    path = next(path for path in parts(dataset) if path.name == "0000000016.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert state(dataset, plan) == before
    path.write_text("{half")
    assert state(dataset, plan) == before


def test_the_audit_reads_the_parts_themselves(recorded):
    _, dataset = recorded
    assert audit(dataset.url).sentences == [
        "10 tasks of troubled have no receipt; the first is troubled:0,0,40: run the workflow again to go on",
    ]


def test_run_status_and_audit_agree_about_damage(recorded):
    """What a snapshot covers is not needed; what none covers, or is missing, is refused by all."""
    plan, dataset = recorded
    undone = audit(dataset.url).sentences
    before = state(dataset, plan)
    early, late = (next(Path(dataset.url, "ledger").glob(f"{number:010d}-*")) for number in (3, 18))
    early.write_bytes(b"")
    assert state(dataset, plan) == before
    assert status_of(dataset.url, Prices.load()).passes[0].done == 40
    found = audit(dataset.url)
    assert found.sentences == undone
    assert f"up to part 16 of the ledger: {early} is damaged" in found.remarks[0]
    kept = late.read_bytes()
    late.write_bytes(b"")
    refused_by_all(plan, dataset, f"{late} is damaged: restore it")
    late.write_bytes(kept)
    early.unlink()
    refused_by_all(plan, dataset, "0000000003-*.jsonl is missing: restore it")


def refused_by_all(plan, dataset, sentence):
    for look in (lambda: recall(dataset, plan), lambda: status_of(dataset.url, Prices.load())):
        with pytest.raises(InputError, match=re.escape(sentence)):
            look()
    (finding,) = audit(dataset.url).sentences
    assert sentence in finding


def test_sessions_carry_fingerprints(recorded, tmp_path):
    _, dataset = recorded
    (session,) = (record for record in dataset.ledger.records() if record["kind"] == "session")
    assert len(session["code"]) == len(session["state"]) == 16
    other_plan, other = troubled_plan(tmp_path / "other", 51)
    progress, accounts = recall(other, other_plan)
    recorder = Recorder(other, accounts, progress)
    recorder(RunStarted(other_plan, {"troubled": 0}, {"cpu": 2}))
    recorder.flush()
    again = next(record for record in other.ledger.records() if record["kind"] == "session")
    assert again["code"] == session["code"]
    assert again["state"] != session["state"]
