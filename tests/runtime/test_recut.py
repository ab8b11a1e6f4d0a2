"""Cuts of finished datasets are what runs with their thresholds make."""

from pathlib import Path

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.kernels.merge_tree import apply_names, unite_pairs
from connectome.runtime.accuracy import measure_accuracy
from connectome.runtime.evaluation import evaluate
from connectome.runtime.prepare import prepare
from connectome.runtime.recut import check_thresholds, cut, cut_url, measure
from connectome.runtime.run import run
from connectome.stages.agglomeration import Agglomeration
from connectome.store.checksum import checksum
from connectome.store.volume import Volume
from connectome.web.scene import open_scene
from connectome.workflow.estimates import estimate
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content


def test_thresholds_are_affinities():
    assert check_thresholds([0.7, 0.5, 0.7]) == [0.5, 0.7]
    for wrong in ([], [0.5, 1.2], [-0.1], [float("nan")]):
        with pytest.raises(InputError, match="--threshold takes affinities from 0 to 1"):
            check_thresholds(wrong)


RULES = {
    "plain": {"threshold": 0.6},
    "small and dust": {"threshold": 0.6, "small_size": 60, "small_threshold": 0.4, "dust_size": 30},
    "quantile": {"threshold": 0.6, "linkage": "quantile"},
}


def content_of(folder, affinities, block, rule):
    content = workflow_content(folder, affinities, block)
    content["stages"][1]["linkage"] = rule.get("linkage", "mean")
    content["stages"][2] = {"stage": "agglomeration", **rule}
    return content


@pytest.mark.parametrize("rule", RULES)
def test_cuts_equal_runs_with_their_threshold(rule, stored_affinities, tmp_path):
    url = stored_affinities[0]
    run(Workflow.parse(content_of(tmp_path / "run", url, (32, 32, 32), RULES[rule])), runner="serial")
    own = checksum(Volume.open(f"{tmp_path}/run#segmentation"))
    sums = {own}
    for made in cut(str(tmp_path / "run"), (0.2 if rule == "quantile" else 0.45, 0.8), write=True):
        threshold = made.threshold
        content = content_of(tmp_path / str(threshold), url, (60, 40, 90), {**RULES[rule], "threshold": threshold})
        wanted = run(Workflow.parse(content), runner="serial").dataset.volume("segmentation")
        assert checksum(made.dataset.volume("segmentation")) == checksum(wanted)
        sums.add(checksum(wanted))
        labels, counts = np.unique(wanted.read(wanted.box), return_counts=True)
        figures = measure(made)
        assert (figures.n_segments, figures.largest) == ((labels != 0).sum(), counts[labels != 0].max())
    assert len(sums) > 1
    assert checksum(Volume.open(f"{tmp_path}/run#segmentation")) == own


def test_scores_of_cuts_equal_those_of_their_segmentations(stored_affinities, tmp_path):
    url, truth = stored_affinities
    run(Workflow.parse(content_of(tmp_path, url, (32, 32, 32), RULES["small and dust"])), runner="serial")
    cuts = cut(str(tmp_path), (0.4, 0.6, 0.8), write=True)
    for part in (None, Box((3, 33, 10), (30, 64, 80))):
        mask = truth if part else None
        found = measure_accuracy(str(tmp_path), truth, thresholds=(0.4, 0.6, 0.8), box=part, mask_url=mask)
        scores = [each.agreement for each in found.scored]
        wanted = [evaluate(each.dataset.volume_url("segmentation"), truth, box=part, mask_url=mask) for each in cuts]
        assert scores == wanted
        assert len({each.voi for each in scores}) == 3


def test_a_cut_is_made_once_and_follows_its_dataset(stored_affinities, tmp_path):
    content = content_of(tmp_path, stored_affinities[0], (32, 32, 32), RULES["plain"])
    run(Workflow.parse(content), runner="serial")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    own, other = cut(str(tmp_path), (0.6, 0.7))
    assert (own.dataset.url, other.dataset.url) == (str(tmp_path), f"{tmp_path}/cuts/0.7")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    first = measure(other)
    assert measure(cut(str(tmp_path), (0.7,))[0]) == first
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    content["stages"][0]["boundary_threshold"] = 0.7
    run(Workflow.parse(content), runner="serial", redo=True)
    assert measure(cut(str(tmp_path), (0.7,))[0]) != first


def test_dask_makes_the_same_cuts(stored_affinities, tmp_path):
    for folder, runner in (("serial", "serial"), ("dask", "dask")):
        content = content_of(tmp_path / folder, stored_affinities[0], (32, 32, 32), RULES["small and dust"])
        run(Workflow.parse(content), runner="serial")
        cut(str(tmp_path / folder), (0.5, 0.7), runner=runner, n_workers=1)
    for threshold in (0.5, 0.7):
        parts = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}
            for folder in (Path(cut_url(str(tmp_path / name), threshold)) for name in ("serial", "dask"))
        ]
        assert parts[0]
        assert parts[0] == parts[1]


def test_what_cannot_be_cut_is_refused(stored_affinities, tmp_path):
    with pytest.raises(InputError, match="there is no dataset at"):
        cut(str(tmp_path / "none"), (0.5,))
    content = content_of(tmp_path / "run", stored_affinities[0], (32, 32, 32), RULES["small and dust"])
    prepare(Workflow.parse(content))
    with pytest.raises(InputError, match="has the edges of 0 of 18 blocks: run its workflow to the end"):
        cut(str(tmp_path / "run"), (0.5,))
    run(Workflow.parse(content), runner="serial")
    with pytest.raises(InputError, match=r"threshold 0\.3: .*small_threshold is 0\.4, above threshold 0\.3"):
        cut(str(tmp_path / "run"), (0.3,))
    (made,) = cut(str(tmp_path / "run"), (0.5,))
    (tmp_path / "run" / "tables" / "edges" / "0" / "1_0_1.parquet").unlink()
    with pytest.raises(InputError, match=r"cuts/0\.7 could not be made: .* replay .*agglomeration\.reduce:1,0,1"):
        cut(str(tmp_path / "run"), (0.7,))
    with pytest.raises(InputError, match="has no edges of its own: give"):
        cut(made.dataset.url, (0.7,))


def test_a_workflow_may_begin_with_stored_edges(stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run", stored_affinities[0])
    first = run(Workflow.parse(content), runner="serial").dataset.volume("segmentation")
    again = {**content, "dataset": {"url": str(tmp_path / "again"), "edges": str(tmp_path / "run")}}
    outcome = run(Workflow.parse(again), runner="serial")
    assert list(outcome.plan.passes) == ["agglomeration.reduce", "agglomeration.expand", "segmentation"]
    assert checksum(outcome.dataset.volume("segmentation")) == checksum(first)
    assert Plan.from_record(outcome.plan.record()) == outcome.plan
    assert [row.n_tasks for row in estimate(outcome.plan)][-1] == 18
    with pytest.raises(InputError, match=r"the edges of .* lie in blocks of .*: set grid\.block to 32,32,32"):
        run(Workflow.parse({**again, "grid": {"block": [16, 32, 32]}}), runner="serial")
    again["stages"] = [{"stage": "agglomeration", "linkage": "maximum"}]
    with pytest.raises(InputError, match=r"agglomeration\.linkage is 'maximum', but edges\.linkage is 'mean'"):
        run(Workflow.parse(again), runner="serial")


def test_without_a_size_rule_a_higher_cut_is_one_of_the_table_of_merges(stored_affinities, tmp_path):
    """Greedy merges never get better, so that merges of at least a threshold are those of a run with it."""
    outcome = run(
        Workflow.parse(content_of(tmp_path, stored_affinities[0], (32, 32, 32), {"threshold": 0.4})), runner="serial"
    )
    tables = {
        name: outcome.dataset.table(name, outcome.plan.table(name).columns) for name in ("clusters", "seam", "merges")
    }
    ids = np.sort(tables["clusters"].read(0)["id"])
    seam, merges = tables["seam"].read(0), tables["merges"].read()
    for made in cut(str(tmp_path), (0.4, 0.55, 0.7)):
        least = np.uint64(Agglomeration(threshold=made.threshold).rule().threshold) << np.uint64(32)
        pairs = [(seam["a"][seam["linked"]], seam["b"][seam["linked"]])]
        pairs.append((merges["a"][merges["score"] >= least], merges["b"][merges["score"] >= least]))
        a, b = (np.searchsorted(ids, np.concatenate(end)) for end in zip(*pairs, strict=True))
        names = made.dataset.table("names", made.plan.table("names").columns).read(0)
        order = np.argsort(names["old"])
        got = apply_names({name: values[order] for name, values in names.items()}, ids)
        np.testing.assert_array_equal(got, ids[unite_pairs(ids.size, a, b)])
        assert measure(made).n_merges == (merges["score"] >= least).sum()


def test_a_cut_can_be_looked_at(stored_affinities, tmp_path):
    run(Workflow.parse(content_of(tmp_path, stored_affinities[0], (32, 32, 32), RULES["plain"])), runner="serial")
    (made,) = cut(str(tmp_path), (0.7,), write=True)
    assert {layer.name for layer in open_scene(made.dataset.url).layers} == {"fragments", "segmentation"}
