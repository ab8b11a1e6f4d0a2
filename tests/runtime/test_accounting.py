import json

import pytest

from connectome.errors import InputError
from connectome.runtime.accounting import Accounts, Prices, rates
from connectome.runtime.engine import MOST_RUNS
from connectome.store.ledger import Receipt, joined, receipt_of, receipt_record


def receipt(stage, seconds, number=0, tries=1):
    return Receipt(stage, ((number, number + 1),), tries, 1000, 5.0, seconds, seconds / 2, 10, 20, 30, "host")


def test_the_bill_adds_up():
    accounts = Accounts(held_s={"cpu": 30.0, "gpu": 6.0})
    for item in (receipt("edges", 9.0), receipt("edges", 9.0, tries=2), receipt("agglomeration.reduce", 6.0)):
        accounts.add(item)
    bill = accounts.bill(10**6, Prices(name="test", usd_per_core_hour=0.5))
    assert bill["core_hours"] == 0.01
    assert bill["voxels_per_core_hour"] == 10**8
    assert bill["core_hours_per_teravoxel"] == 10**4
    assert bill["usd_per_teravoxel"] == 5000
    assert bill["utilisation"] == pytest.approx(24 / 36, abs=1e-4)
    assert bill["stages"]["edges"] | {"tasks": 2, "tries": 3, "busy_seconds": 18.0} == bill["stages"]["edges"]
    assert set(bill["stages"]) == {"edges", "agglomeration"}


def test_what_was_thrown_away_is_not_billed():
    accounts = Accounts(held_s={"cpu": 30.0, "gpu": 6.0})
    accounts.add(receipt("edges", 10.0))
    accounts.forget("edges")
    assert (accounts.allocated_core_s, accounts.stages) == (26.0, {})


def test_nothing_costs_nothing():
    assert rates(0.0, 100, Prices(name="test", usd_per_core_hour=1.0))["voxels_per_core_hour"] == 0


def test_receipts_travel_as_records():
    assert receipt_of(receipt_record(receipt("edges", 1.0))) == receipt("edges", 1.0)


def test_receipts_of_tasks_that_travel_together_are_one():
    joint = joined([receipt("edges", 1.0, 7), receipt("edges", 2.0, 3), receipt("edges", 4.0, 4, tries=2)])
    assert joint.runs == ((3, 5), (7, 8))
    assert (joint.n_tasks, joint.tries, joint.voxels, joint.wall_s, joint.cpu_s) == (3, 4, 3000, 7.0, 3.5)
    assert (joint.read_bytes, joint.written_bytes, joint.peak_bytes) == (30, 60, 30)
    assert receipt_of(json.loads(json.dumps(receipt_record(joint)))) == joint


def test_a_receipt_is_small():
    scattered = [receipt("agglomeration.expand", 123.456789, 10**9 + 2 * n) for n in range(MOST_RUNS)]
    assert len(json.dumps(receipt_record(joined(scattered)))) < 1000


def test_bad_price_tables(tmp_path):
    with pytest.raises(InputError, match="there is no price table"):
        Prices.load(tmp_path / "none.yaml")
    (tmp_path / "prices.yaml").write_text("name: x")
    with pytest.raises(InputError, match="usd_per_core_hour"):
        Prices.load(tmp_path / "prices.yaml")
    assert Prices.load().usd_per_core_hour > 0
