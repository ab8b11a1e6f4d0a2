"""The report: complete, self-contained, coloured; and honest about unfinished runs."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from connectome.runtime.accounting import Accounts
from connectome.runtime.prices import Prices
from connectome.runtime.run import run
from connectome.stages.segmentation import Segmentation
from connectome.store.dataset import Dataset
from connectome.web.quantities import triple
from connectome.web.report import write_report
from connectome.web.scene import dataset_scene
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow
from tests.tissue import noisy_affinities, workflow_content, write_volume
from tests.web.conftest import hues, pixels


@pytest.fixture(scope="module")
def report(outcome):
    """(path, content) of the report of a finished run."""
    path = write_report(outcome.dataset, outcome.plan, outcome.summary())
    return path, Path(path).read_text(encoding="utf-8")


def test_all_that_was_asked_for_is_there(report, outcome):
    path, text = report
    assert path == f"{outcome.dataset.url}/report.html"
    summary = outcome.summary()
    for word in (
        "Sections through the middle", "Segment sizes", "Accuracy", "Time and money", "Memory and tries", "Traffic",
        "Workers over time",
        "Parameters", triple((64, 80, 96)), f"{triple((20, 20, 20))} nm",
         "voxels per core-hour", "all, idle included", "finished",
        summary["prices"]["name"], summary["prices"]["source"], f"{summary['agreement']['voi_split']:.4f}",
        *summary["stages"],
    ):  # fmt: skip
        assert word in text, word
    # image, segmentation, truth and affinities in three planes, each with a text for those who do not see it
    assert text.count('class="picture"') == 12
    assert len(re.findall(r"<title>(yx|zx|zy) plane: ", text)) == 12
    assert "plane at z = 32 (640 nm)" in text


def test_the_parameters_can_be_run_again(report, outcome):
    content = re.search(r"<pre[^>]*>(.*?)</pre>", report[1], re.DOTALL)[1]
    assert Workflow.parse(yaml.safe_load(content.replace("&#x27;", "'"))) == outcome.plan.workflow


def test_it_is_one_file(report):
    assert len(report[1]) < 1_000_000
    assert "<script" not in report[1]
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\' >)]+)', report[1])
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)


def test_overlays_are_coloured_and_can_be_hidden(report, page):
    page.goto(f"file://{report[0]}")
    pictures = page.locator("svg.picture")
    assert pictures.count() == 12
    for row in range(3):
        image, segmentation, truth, affinities = (pictures.nth(4 * row + n) for n in range(4))
        assert hues(pixels(image)) == 0
        assert hues(pixels(segmentation)) >= 5
        assert hues(pixels(truth)) >= 5
        assert np.std(pixels(affinities)[..., 2]) > 10
        boxes = [each.bounding_box() for each in (image, segmentation)]
        assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx([96 / 80, 96 / 64, 80 / 64][row], rel=0.02)
        assert boxes[0]["height"] == boxes[1]["height"]
    page.locator("#colours").uncheck()
    assert hues(pixels(pictures.nth(1))) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.errors == []
    assert page.foreign == []


def test_what_is_written_in_a_dataset_is_text(outcome):
    evil = "<img src=x onerror=alert(1)> $body & more"
    workflow = outcome.plan.workflow.model_copy(update={"description": evil})
    prices = {**outcome.summary()["prices"], "name": evil}
    plan = dataclasses.replace(outcome.plan, workflow=workflow)
    text = _text(outcome, plan=plan, prices=prices)
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt; $body &amp; more") == 3


@pytest.fixture
def small_affinities(tmp_path):
    affinities, truth = noisy_affinities((24, 32, 40))
    return write_volume(tmp_path / "affinities", affinities, block=(24, 32, 40)), truth


def _text(outcome, dataset=None, plan=None, **changes):
    path = write_report(dataset or outcome.dataset, plan or outcome.plan, {**outcome.summary(), **changes})
    return Path(path).read_text(encoding="utf-8")


def test_a_run_with_quarantined_tasks(small_affinities, tmp_path, monkeypatch):
    def fail(self, block, *steps, **inputs):
        raise RuntimeError("no <b>luck</b>")

    monkeypatch.setattr(Segmentation, "process_levels", fail)
    content = {**workflow_content(tmp_path / "a run", small_affinities[0], (24, 32, 40)), "attempts": 1}
    text = _text(run(Workflow.parse(content), runner="serial"))
    assert "unfinished" in text
    assert f"connectome replay &#x27;{tmp_path}/a run&#x27; segmentation:0,0,0" in text
    assert "no &lt;b&gt;luck&lt;/b&gt;" in text
    assert "There is no segmentation yet" in text
    assert "segmentation: not finished yet, missing blocks are blank" in text
    assert "There are no segments yet" in text
    assert "0 of 1" in text
    # No image: the affinities are drawn, and their mean lies below labels.
    assert "image is" not in text
    assert text.count('class="picture"') == 6


def test_a_dataset_of_stored_affinities_alone(small_affinities, tmp_path):
    text = _text(run(Workflow.parse(workflow_content(tmp_path / "run", small_affinities[0])), runner="serial"))
    assert "No truth is given" in text
    assert text.count('class="picture"') == 6
    assert 'id="below-yx-whole_field"' in text


def test_what_is_missing_or_does_not_fit_is_a_note(small_affinities, tmp_path):
    wrong = write_volume(tmp_path / "wrong", small_affinities[1][:, :, :20].copy(), block=(24, 32, 20))
    outcome = run(Workflow.parse(workflow_content(tmp_path / "run", small_affinities[0])), runner="serial")
    outcome.dataset.delete_volume("segmentation")
    for truth, note in (
        (f"{tmp_path}/nowhere", "truth cannot be shown: there is no"),
        (wrong, "its shape is (24, 32, 20)"),
    ):
        dataset = outcome.plan.workflow.dataset.model_copy(update={"truth": truth})
        workflow = outcome.plan.workflow.model_copy(update={"dataset": dataset})
        plan = dataclasses.replace(outcome.plan, workflow=workflow)
        scene = dataset_scene(outcome.dataset, plan)
        assert [layer.name for layer in scene.layers] == ["affinities", "fragments"]
        assert note in " ".join(scene.notes)
        assert "segmentation cannot be shown" in " ".join(scene.notes)
        assert note.partition(" there")[0] in _text(outcome, plan=plan, agreement=None)


def test_nothing_ran_at_all(small_affinities, tmp_path):
    workflow = Workflow.parse(workflow_content(tmp_path / "run", small_affinities[0]))
    outcome = run(workflow, runner="serial")
    empty = Dataset(str(tmp_path / "empty"))
    plan = Plan(outcome.plan.workflow, outcome.plan.domain, outcome.plan.voxel_size_nm, outcome.plan.external)
    nothing = Accounts().bill(1, Prices.load())
    text = _text(outcome, dataset=empty, plan=plan, agreement=None, blocked=4, **nothing)
    assert "Tasks that wait for them: 4" in text
    assert "not run" in text
