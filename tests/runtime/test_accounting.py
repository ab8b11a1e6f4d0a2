import json

import pytest

from connectome.errors import InputError
from connectome.models.gpu_time import add_gpu_seconds
from connectome.runtime.accounting import Accounts, rates
from connectome.runtime.engine import MOST_RUNS
from connectome.runtime.prices import Prices
from connectome.runtime.run import run
from connectome.runtime.work import SPOT, is_spot_machine
from connectome.stages.edges import Edges
from connectome.store.ledger import Receipt, joined, receipt_of, receipt_record
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content

PRICES = Prices.model_validate(
    {
        "name": "test",
        "pools": {
            "cpu": {"usd_per_hour": 0.5, "spot_usd_per_hour": 0.1},
            "gpu": {"usd_per_hour": 2.0, "cores": 4},
        },
        "store": {"usd_per_gb_read": 1e6, "usd_per_gb_month": 2e6, "months_kept": 3, "usd_per_1000_reads": 5.0},
    }
)


def receipt(stage, seconds, number=0, tries=1, pool="cpu", **more):
    figures = (1000, 5.0, seconds, seconds / 2, 10, 20, 30)
    return Receipt(stage, ((number, number + 1),), tries, *figures, "host", pool=pool, **more)


def accounts_of(held, *receipts):
    accounts = Accounts(held_s=held)
    for each in receipts:
        accounts.add(each)
    return accounts


def test_the_bill_adds_up():
    accounts = accounts_of(
        {"cpu": 36.0},
        receipt("edges", 9.0),
        receipt("edges", 9.0, tries=2),
        receipt("agglomeration.reduce", 6.0, read_requests=7),
    )
    bill = accounts.bill(10**6, PRICES)
    assert bill["core_hours"] == 0.01
    assert bill["voxels_per_core_hour"] == 10**8
    assert bill["core_hours_per_teravoxel"] == 10**4
    assert bill["utilisation"] == pytest.approx(24 / 36, abs=1e-4)
    assert bill["stages"]["edges"] | {"tasks": 2, "tries": 3, "busy_seconds": 18.0} == bill["stages"]["edges"]
    assert set(bill["stages"]) == {"edges", "agglomeration"}
    # a stage bears idle time in proportion: 18 of 24 busy seconds are those of edges
    assert bill["stages"]["edges"]["core_hours"] == pytest.approx(0.01 * 18 / 24)
    # 30 bytes read, 60 written and kept for 3 months, 7 requests
    assert bill["store"]["usd"] == pytest.approx(30e-9 * 1e6 + 60e-9 * 2e6 * 3 + 7e-3 * 5)
    assert bill["usd"] == pytest.approx(0.01 * 0.5 + bill["store"]["usd"])
    parts = sum(stage["usd"] for stage in bill["stages"].values()) + bill["store"]["usd"]
    assert parts == pytest.approx(bill["usd"], abs=1e-5)
    assert accounts.usd(PRICES) == pytest.approx(bill["usd"], abs=1e-6)


def test_pools_have_prices_of_their_own():
    accounts = accounts_of(
        {"cpu": 3600.0, "gpu": 1800.0}, receipt("affinities", 900.0, pool="gpu", gpu_s=600.0), receipt("edges", 3600.0)
    )
    bill = accounts.bill(10**12, PRICES)
    assert (bill["core_hours"], bill["gpu_hours"]) == (1 + 4 * 0.5, 0.5)
    assert bill["usd"] - bill["store"]["usd"] == pytest.approx(0.5 + 0.5 * 2, abs=1e-5)
    affinities = bill["stages"]["affinities"]
    assert (affinities["gpu_hours_per_teravoxel"], affinities["gpu_seconds"]) == (0.5, 600.0)
    assert bill["stages"]["edges"]["gpu_hours"] == 0
    assert bill["pools"]["gpu"] == {"held_hours": 0.5, "busy_hours": 0.25, "spot_share": 0.0, "usd": 1.0}


def test_spot_time_costs_what_spot_costs():
    accounts = accounts_of({"cpu": 3600.0}, receipt("edges", 75.0, is_spot=True), receipt("edges", 25.0))
    bill = accounts.bill(10**12, PRICES)
    assert bill["pools"]["cpu"]["usd"] == pytest.approx(0.75 * 0.1 + 0.25 * 0.5)
    assert PRICES.pools["gpu"].usd(1.0) == 2.0  # without a spot price: that of others


def test_a_pool_without_a_price_is_refused():
    with pytest.raises(InputError, match=r"'test' has no pool 'tpu' \(there are cpu, gpu\): give --prices"):
        accounts_of({"tpu": 1.0}).bill(10**6, PRICES)


def test_what_was_thrown_away_is_not_billed():
    accounts = accounts_of({"cpu": 30.0, "gpu": 6.0}, receipt("edges", 10.0))
    accounts.forget("edges")
    assert (accounts.allocated_s, accounts.stages) == ({"cpu": 20.0, "gpu": 6.0}, {})


def test_nothing_costs_nothing():
    assert rates(0.0, 0.0, 0.0, 100)["voxels_per_core_hour"] == 0
    assert Accounts().bill(100, PRICES)["usd"] == 0


def test_receipts_travel_as_records():
    assert receipt_of(receipt_record(receipt("edges", 1.0))) == receipt("edges", 1.0)


def test_receipts_of_tasks_that_travel_together_are_one():
    joint = joined([receipt("edges", 1.0, 7), receipt("edges", 2.0, 3), receipt("edges", 4.0, 4, tries=2)])
    assert joint.runs == ((3, 5), (7, 8))
    assert (joint.n_tasks, joint.tries, joint.voxels, joint.wall_s, joint.cpu_s) == (3, 4, 3000, 7.0, 3.5)
    assert (joint.read_bytes, joint.written_bytes, joint.peak_bytes) == (30, 60, 30)
    assert receipt_of(json.loads(json.dumps(receipt_record(joint)))) == joint


def test_a_receipt_is_small():
    scattered = [
        receipt("agglomeration.expand", 123.456789, 10**9 + 2 * n, gpu_s=123.456789, read_requests=10**6)
        for n in range(MOST_RUNS)
    ]
    assert len(json.dumps(receipt_record(joined(scattered)))) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: x", "pools"),
        ("name: x\npools: {cpu: {}}", "pools.cpu.usd_per_hour"),
        ("name: x\npools: {cpu: {usd_per_hour: -1}}", "greater than or equal to 0"),
        ("name: x\nusd_per_core_hour: 0.05", "a table has name, source, pools"),
        ("name: [", "is not YAML"),
        ("name: x\npools: {cpu: {usd_per_hour: true}}", "usd_per_hour: a number is wanted, got true; a table"),
        ("name: x\npools: {cpu: {usd_per_hour: 1, cores: yes}}", "cores: a number is wanted, got true"),
        ("name: x\npools:\n  cpu: {usd_per_hour: 1}\n  cpu: {usd_per_hour: 2}", "line 4 has the key 'cpu' again"),
    ],
)
def test_bad_price_tables(tmp_path, content, message):
    (tmp_path / "prices.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        Prices.load(tmp_path / "prices.yaml")


def test_a_price_table_that_is_not_utf8(tmp_path):
    (tmp_path / "prices.yaml").write_bytes("name: für euch".encode("latin-1"))
    with pytest.raises(InputError, match=r"prices.yaml is not UTF-8 \(byte 7\): save it as UTF-8"):
        Prices.load(tmp_path / "prices.yaml")
    with pytest.raises(InputError, match="is a folder"):
        Prices.load(tmp_path)


def test_a_key_of_a_price_table_that_is_unknown_is_named(tmp_path):
    table = tmp_path / "prices.yaml"
    table.write_text("name: ours\npools: {cpu: {usd_per_hou: 2}}\n")
    with pytest.raises(InputError, match=r"unknown key 'pools\.cpu\.usd_per_hou' \(did you mean 'usd_per_hour'\?\)"):
        Prices.load(table)


def test_the_default_price_table_says_what_it_assumes(tmp_path):
    assert Prices.load().pools["cpu"].usd_per_hour > 0
    assert "assumptions" in Prices.load().source
    with pytest.raises(InputError, match="there is no price table"):
        Prices.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "is_spot"), [("1", True), ("Yes", True), ("TRUE", True), ("no", False), ("", False)])
def test_the_environment_says_whether_a_machine_is_spot(text, is_spot, monkeypatch):
    monkeypatch.setenv(SPOT, text)
    assert is_spot_machine() == is_spot


def test_what_the_environment_cannot_mean_is_refused_before_the_run(stored_affinities, tmp_path, monkeypatch):
    monkeypatch.setenv(SPOT, "spot")
    with pytest.raises(InputError, match="CONNECTOME_SPOT is 'spot'; wanted is 1"):
        run(Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0])), runner="serial")
    assert not (tmp_path / "run").exists()


def test_receipts_carry_seconds_of_the_accelerator(stored_affinities, tmp_path, monkeypatch):
    process = Edges.process

    def on_gpu(self, block, **inputs):
        add_gpu_seconds(0.25)
        return process(self, block, **inputs)

    monkeypatch.setattr(Edges, "process", on_gpu)
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 35, 90))
    stages = run(Workflow.parse(content), runner="serial").summary()["stages"]
    assert {name: stage["gpu_seconds"] for name, stage in stages.items()} == dict.fromkeys(stages, 0.0) | {"edges": 0.5}
