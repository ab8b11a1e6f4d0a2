"""The ledger refuses to go on without one of its parts, whatever it held."""

import json
import re
from pathlib import Path

import pytest

from connectome.errors import InputError
from connectome.store.ledger import Ledger, Receipt, receipt_record


@pytest.fixture
def ledger(tmp_path):
    """Three parts, of which the second is a reset."""
    written = Ledger(str(tmp_path))
    written.append([{"kind": "lost", "tasks": 1}])
    written.reset(["edges"])
    written.append([{"kind": "lost", "tasks": 1}])
    return tmp_path / "ledger"


def part(ledger, number) -> Path:
    return next(ledger.glob(f"{number:010d}-*.jsonl"))


def read(ledger):
    return [record["kind"] for record in Ledger(str(ledger.parent)).records()]


def test_parts_are_read_in_order(ledger):
    assert read(ledger) == ["lost", "reset", "lost"]
    assert Ledger(str(ledger.parent)).n_written == 3


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_is_missing_is_refused(ledger, number):
    part(ledger, number).unlink()
    with pytest.raises(InputError, match=rf"{number:010d}-\*\.jsonl is missing: restore it, or delete the folder"):
        read(ledger)


def test_a_reset_that_was_the_last_part_is_missed(ledger):
    part(ledger, 3).unlink()
    assert read(ledger) == ["lost", "reset"]  # what was not written yet is computed again
    part(ledger, 2).unlink()
    with pytest.raises(InputError, match=r"0000000002-\*\.jsonl is missing"):
        read(ledger)


def test_parts_that_a_snapshot_covers_are_missed(ledger):
    Ledger(str(ledger.parent)).write_snapshot({})
    for number in (2, 3):
        part(ledger, number).unlink()
    with pytest.raises(InputError, match=r"0000000002-\*\.jsonl is missing"):
        Ledger(str(ledger.parent))  # so that no new part gets a number that the snapshot covers


def test_without_the_folder_nothing_is_done(ledger):
    for path in (*ledger.glob("*/*"), *ledger.glob("*.jsonl")):
        path.unlink()
    assert read(ledger) == []
    assert Ledger(str(ledger.parent)).n_written == 0


RECEIPT = receipt_record(Receipt("edges", ((0, 1),), 1, 10, 0.0, 1.0, 1.0, 1, 1, 1, "host"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b'{"kind":"res',
        bytes(40),
        b'{"kind":"\xff"}\n',
        b"null",
        b"{}",
        b'{"kind":"receipt"}',
        *(
            json.dumps({**RECEIPT, **change}).encode()
            for change in (
                {"runs": 5},
                {"runs": [[3]]},
                {"runs": [[-9, -5]]},
                {"runs": ["ab"]},
                {"stage": None},
                {"wall_s": "1"},
                {"x": 1},
            )
        ),
        b'{"kind":"held","workers":5,"seconds":1}',
        b'{"kind":"held","workers":{"cpu":"many"},"seconds":1}',
        b'{"kind":"reset","stages":"edges"}',
        b'{"kind":"reset","stages":[[]]}',
        b'{"kind":"session"}',
        b'{"kind":"quarantine","task":"edges:0,0,0"}',
    ],
)
def test_a_damaged_part_is_refused(ledger, content):
    part(ledger, 2).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{part(ledger, 2)} is damaged: restore it, or delete the folder")):
        read(ledger)


def test_records_come_back_and_unknown_kinds_do_no_harm(ledger):
    part(ledger, 2).write_text(f'{json.dumps(RECEIPT)}\n{{"kind":"weather"}}\n')
    assert read(ledger) == ["lost", "receipt", "weather", "lost"]


def test_files_of_others_are_not_looked_at(ledger):
    (ledger / "snapshots").mkdir()
    for name in ("notes.jsonl", "9-part.jsonl", "snapshots/foo.json", "snapshots/9999999999.json.bak", "resets/a.json"):
        (ledger / name).write_text("not ours")
    assert read(ledger) == ["lost", "reset", "lost"]
    assert Ledger(str(ledger.parent)).read_snapshot() == (0, {})
    Ledger(str(ledger.parent)).write_snapshot({"a": 1})
    assert Ledger(str(ledger.parent)).read_snapshot() == (3, {"a": 1})


@pytest.mark.parametrize("content", [b"", b"\xff", b"null", b"{}", b"[1]"])
def test_a_damaged_snapshot_covers_nothing(ledger, content):
    Ledger(str(ledger.parent)).write_snapshot({"a": 1})
    (ledger / "snapshots" / "0000000003.json").write_bytes(content)
    assert Ledger(str(ledger.parent)).read_snapshot() == (0, {})


def test_a_driver_that_lost_a_race_leaves_a_second_part_of_one_number(ledger):
    (ledger / "0000000003-ffffffff.jsonl").write_text('{"kind":"failure","task":"edges:0,0,0"}\n')
    assert read(ledger) == ["lost", "reset", "lost", "failure"]


def test_a_listing_that_missed_a_part_is_made_again(ledger, monkeypatch):
    """A driver wrote parts 3 and 4 while the folder was listed, and the listing has the second of them alone."""
    Ledger(str(ledger.parent)).append([{"kind": "failure", "task": "edges:0,0,0"}])
    from connectome.store import ledger as module

    whole, listings = module.list_keys, []

    def list_keys(url):
        listings.append([key for key in whole(url) if listings or key != part(ledger, 3).name])
        return listings[-1]

    monkeypatch.setattr(module, "list_keys", list_keys)
    assert Ledger(str(ledger.parent)).n_written == 4
    assert len(listings) == 2
