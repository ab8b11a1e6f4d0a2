"""The harness itself, on inputs that take no time: records, alternation, what is left out, derived affinities."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine, records, suite
from benchmarks.cases import CASES, Case
from benchmarks.derivation import LONG_RANGE, NEAREST, Appearance, derive_affinities
from benchmarks.inputs import ADVERSARIAL, SOURCES, Source, UnavailableError, Volume
from benchmarks.measure import Contest, Effort, Peer, Setting, look, measure
from tests.conftest import ROOT

SETTING = Setting("a processor", "abc1234", 1e10)
EFFORT = Effort(least=3, most=3, seconds=0, turn_s=0)


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def contest(**changes):
    numpy_peer = Peer("slow", "numpy", lambda: busy(0.02))
    return replace(Contest(lambda: busy(0.01), [numpy_peer], voxels=1000, bytes_moved=11_000), **changes)


def small(name="noise-small"):
    return Source(name, lambda: np.random.default_rng(0).integers(0, 256, (3, 12, 13, 14), np.uint8))


def test_record_tells_ratio_and_counts():
    (record,) = measure("fragments", "noise", contest(count=lambda _: (7, 9)), EFFORT, SETTING)
    assert 1.5 < record.ratio < 2.5
    assert record.ratio_min <= record.ratio <= record.ratio_max
    assert record.repeats == 3
    assert (record.fragments, record.edges) == (7, 9)
    assert record.voxels_per_core_hour == pytest.approx(3600 * 1000 / record.ours_s)
    assert set(record.versions) == {"numba", "numpy"}


def test_time_of_the_part_that_is_not_the_case_is_taken_off():
    peer = Peer("part", "numpy", lambda: busy(0.04), less=lambda: busy(0.02))
    (record,) = measure("fragments", "noise", contest(peers=[peer]), EFFORT, SETTING)
    assert 1.5 < record.ratio < 2.5


def test_both_results_are_scored():
    peer = Peer("wrong", "numpy", lambda: 2)
    (record,) = measure("x", "y", contest(ours=lambda: 1, peers=[peer], score=lambda r: {"voi": r}), EFFORT, SETTING)
    assert record.quality == {"ours": {"voi": 1}, "peer": {"voi": 2}}


def test_no_peer_is_one_record():
    (record,) = measure("fragments", "noise", contest(peers=[]), EFFORT, SETTING)
    assert (record.peer, record.ratio, record.peer_s) == ("none", None, None)


def test_peak_is_what_the_call_takes_beyond_what_was_there():
    kept = np.ones(50_000_000, np.uint8)
    _, peak = machine.peak_of(lambda: int(np.ones(30_000_000, np.uint8).sum()))
    if peak is None:
        pytest.skip("this system has no high-water mark of memory")
    assert 25_000_000 < peak < 45_000_000
    assert kept.size


def test_records_survive_the_file(tmp_path):
    (record,) = measure("fragments", "noise", contest(), EFFORT, SETTING)
    path = tmp_path / "latest.jsonl"
    records.write_records(path, [record])
    records.append_records(path, [record])
    assert records.read_records(path) == [record, record]
    other = record.model_copy(update={"ours_s": 1.0})
    assert records.replaced([record], [other]) == [other]
    path.write_text('{"case": 1}\n')
    with pytest.raises(ValueError, match="line 1 is not a benchmark record"):
        records.read_records(path)


def test_committed_records_are_records():
    for path in (records.LATEST, records.HISTORY):
        if path.exists():
            assert records.read_records(path)


def test_every_field_is_documented():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for field in records.Record.model_fields:
        assert f"`{field}`" in page, field
    for case in CASES:
        assert f"`{case.name}`" in page, case.name


def test_names_in_the_table_exist():
    names = {source.name for source in SOURCES}
    assert len(names) == len(SOURCES)
    assert all(set(case.inputs) <= names for case in CASES)
    assert all(source.smaller in names for source in SOURCES if source.smaller)


def test_slowdown_is_timed_in_turn_with_other_inputs():
    order = []
    ours, other = contest(ours=lambda: order.append("ours"), peers=[]), contest(ours=lambda: order.append("other"))
    (record,) = measure("fragments", "hub", ours, EFFORT, SETTING, others={"fib25": replace(other, voxels=2000)})
    assert order == ["ours", "ours"] + ["ours", "other"] * record.repeats
    assert set(record.slowdown) == {"fib25"}
    assert record.slowdown["fib25"] > 0
    (record,) = measure("fragments", "hub", ours, EFFORT, SETTING)
    assert record.slowdown is None


def test_what_was_seen_is_not_made_again_and_peers_share_a_call():
    order = []

    def whole():
        order.append("whole")
        busy(0.01)

    peers = [Peer("whole", "numpy", whole), Peer("part", "numpy", whole, less=lambda: order.append("rest"))]
    ready = contest(ours=lambda: order.append("ours"), peers=peers, count=lambda _: (7, 9))
    seen = look(ready, is_compiled=True)
    assert (order, seen.fragments, seen.edges) == (["ours"], 7, 9)
    first, second = measure("fragments", "noise", ready, replace(EFFORT, least=1, most=1), SETTING, seen)
    assert order == ["ours", "whole", "rest", "ours", "whole", "rest"]
    assert (first.fragments, first.peak_bytes, second.peer) == (7, seen.peak_bytes, "part")
    assert second.peer_s < first.peer_s


def test_short_calls_fill_a_turn():
    calls = []

    def ours():
        calls.append(1)
        busy(0.01)

    (record,) = measure("fragments", "noise", contest(ours=ours, peers=[]), replace(EFFORT, turn_s=0.1), SETTING)
    assert 5 * record.repeats < len(calls) - 2 <= 10 * record.repeats
    assert 0.005 < record.ours_s < 0.02


def test_a_difference_that_drowns_in_noise_is_no_record():
    peers = [Peer("whole", "numpy", lambda: busy(0.01)), Peer("part", "numpy", lambda: None, less=lambda: busy(0.01))]
    records = measure("fragments", "noise", contest(peers=peers), EFFORT, SETTING)
    assert [record.peer for record in records] == ["whole"]


def test_what_hurts_is_compared_with_the_network_and_the_smaller_input(monkeypatch):
    large = replace(small(), name=ADVERSARIAL[0], smaller="noise-small")
    monkeypatch.setattr(suite, "SOURCES", (small(), large))
    monkeypatch.setattr(suite, "REFERENCE", "noise-small")
    monkeypatch.setattr(suite, "CASES", (Case("one", lambda volume: contest(), ("noise-small", ADVERSARIAL[0])),))
    easy, hard = suite.run(["one"], ["noise-small", ADVERSARIAL[0]], EFFORT, SETTING)
    assert easy.records[0].slowdown is None
    assert set(hard.records[0].slowdown) == {"noise-small"}


def absent():
    raise UnavailableError("the file is not there")


def broken(volume):
    raise RuntimeError("broken")


def test_what_is_absent_is_left_out_and_what_is_broken_has_failed(monkeypatch):
    lonely = replace(contest(), peers=[Peer("ghost", "no-such-package", lambda: None)])
    monkeypatch.setattr(suite, "SOURCES", (Source("gone", absent), small()))
    cases = (
        Case("gone", lambda volume: absent(), ("noise-small",)),
        Case("broken", broken, ("gone", "noise-small")),
        Case("lonely", lambda volume: lonely, ("noise-small",)),
    )
    monkeypatch.setattr(suite, "CASES", cases)
    names = [case.name for case in cases]
    first, gone, failed, alone = suite.run(names, ["gone", "noise-small"], EFFORT, SETTING)
    assert (first.input, first.skipped, first.has_failed) == ("gone", "the file is not there", False)
    assert (gone.records, gone.has_failed) == ([], False)
    assert failed.has_failed
    assert "RuntimeError: broken" in failed.skipped
    assert "no-such-package not installed" in alone.skipped
    (record,) = alone.records
    assert record.peer == "none"
    assert (record.peak_bytes is None) == (machine.peak_of(int)[1] is None)


@pytest.mark.parametrize("name", ["edges", "agglomeration_mean", "fragments_distance", "maximum_linkage_affinity"])
def test_case_prepares_on_a_small_volume(name):
    case = next(case for case in CASES if case.name == name)
    ready = case.prepare(Volume(small()))
    ready = replace(ready, peers=[])
    (record,) = measure(name, "noise-small", ready, EFFORT, SETTING)
    assert record.voxels == 12 * 13 * 14


def test_dense_fragments_are_the_fragments():
    from benchmarks.cases.segmentation import dense_fragments

    volume = Volume(small())
    dense = dense_fragments(volume)
    pairs = np.unique(np.stack([dense.ravel(), volume.fragments.ravel()]), axis=1)
    assert np.array_equal(pairs[0], np.arange(pairs.shape[1]) + (0 if (dense == 0).any() else 1))


def test_derived_affinities_are_bright_inside_and_dark_across():
    segments = np.ones((70, 40, 40), np.uint32)
    segments[:, :, 20:] = 2
    plain = Appearance(shared=0, own=0)
    affinities = derive_affinities(segments, plain)
    assert affinities[2, 35, 10, 20] < 0.3 * 255
    assert affinities[2, 35, 10, 10] == round(0.95 * 255)
    assert not affinities[0, 0].any()
    assert not affinities[2, :, :, 0].any()
    noisy = derive_affinities(segments, Appearance())
    assert np.array_equal(noisy, derive_affinities(segments, Appearance()))
    assert np.abs(np.diff(noisy[1].astype(int), axis=0)).mean() < 20
    long_range = derive_affinities(segments, plain, (*NEAREST, *LONG_RANGE))
    channel = 3 + LONG_RANGE.index((0, 0, -9))
    assert long_range[channel, 35, 10, 26] < 0.3 * 255
    assert long_range[channel, 35, 10, 38] > 0.9 * 255


def test_command_lists_cases_and_refuses_unknown_ones():
    import subprocess
    import sys

    command = [sys.executable, "-m", "benchmarks"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "fragments_edges_mean: fib25" in listed
    wrong = subprocess.run([*command, "nothing"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "there is no case 'nothing'" in wrong.stderr


def test_results_are_where_the_dashboard_looks():
    assert Path("benchmarks/results") == records.RESULTS.relative_to(ROOT)
