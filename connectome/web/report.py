"""The page that every run leaves: what came out, what it took, what went wrong. One file, no scripts."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml

from connectome.errors import InputError
from connectome.runtime.history import History, read_history
from connectome.store.dataset import Dataset
from connectome.store.locations import write_key
from connectome.web.bill import bill_section, memory_section, traffic_section
from connectome.web.charts import Series, size_histogram
from connectome.web.markup import Markup, cell, element, head_cell, join, note, page, row, section, table
from connectome.web.pictures import Pictures
from connectome.web.quantities import dollars, duration, lengths, number, triple
from connectome.web.sample import SegmentSizes, segment_sizes
from connectome.web.scene import Scene, dataset_scene
from connectome.web.timeline import timeline_section
from connectome.workflow.plan import Plan

COUNTED_VOXELS = 1 << 25
"""Segments are counted on the finest level of at most this size."""

Summary = Mapping[str, Any]


def write_report(dataset: Dataset, plan: Plan, summary: Summary) -> str:
    """Write ``report.html`` into the dataset and return its path or URL.

    Parameters
    ----------
    dataset : Dataset
        Finished or not: what is missing is named on the page.
    plan : Plan
    summary : dict
        What ``Outcome.summary()`` returns.
    """
    url = f"{dataset.url}/report.html"
    title = f"{_name(dataset)}: segmentation report"
    write_key(dataset.url, "report.html", page(title, report_body(dataset, plan, summary)).encode())
    return url


def report_body(dataset: Dataset, plan: Plan, summary: Summary) -> Markup:
    """Return the page's content."""
    scene = dataset_scene(dataset, plan)
    pictures, history = Pictures(scene), read_history(dataset.ledger.legible_records())
    rows = pictures.rows()
    found, truth = (_sizes(scene, name, pictures.notes) for name in ("segmentation", "truth"))
    return join(
        _head(dataset, plan, summary),
        _tiles(summary, found),
        _trouble(dataset, summary, history),
        _pictures(rows, plan, found, pictures.notes),
        element("div", _histogram(found, truth), _accuracy(plan, summary), class_="columns"),
        bill_section(plan, summary),
        timeline_section(history.timeline, [stage.name for stage in plan.workflow.running_stages]),
        memory_section(plan, history),
        traffic_section(plan, summary),
        _parameters(plan),
    )


def _name(dataset: Dataset) -> str:
    return dataset.url.rstrip("/").rpartition("/")[2]


def _head(dataset: Dataset, plan: Plan, summary: Summary) -> Markup:
    shape, size = plan.domain.shape, plan.voxel_size_nm
    n_tasks = sum(len(each) for each in plan.passes.values())
    extent = lengths([n * nm for n, nm in zip(shape, size, strict=True)])
    facts = {
        "Dataset": element("code", dataset.url),
        **{f"From stored {name}": element("code", url) for name, url in sorted(plan.external.items())},
        "Volume": f"{triple(shape)} voxels (z, y, x) = {extent}, box {plan.domain}",
        "Voxel size": f"{triple(size)} nm",
        "Blocks": f"{triple(plan.grid.shape)} of {triple(plan.workflow.grid.block)} voxels; {n_tasks:,} tasks",
        "Written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by connectome {version('connectome')}",
    }
    is_finished = not summary["quarantined"] and not summary["blocked"]
    status = (
        element("span", "finished", class_="status")
        if is_finished
        else element("span", "unfinished", class_="status bad")
    )
    return element(
        "header",
        element("h1", _name(dataset), status),
        element("p", f"Described in the workflow as: {plan.workflow.description}")
        if plan.workflow.description
        else None,
        element("dl", *(join(element("dt", k), element("dd", v)) for k, v in facts.items()), class_="facts"),
    )


def _tiles(summary: Summary, sizes: SegmentSizes | None) -> Markup:
    scores, failed = summary["agreement"], len(summary["quarantined"])
    tiles = [(number(summary["voxels"]), "voxels")]
    if sizes is not None and sizes.ids.size:
        tiles.append((number(sizes.ids.size), "segments" if sizes.sample.is_whole else "segments in the centre"))
    if scores:
        tiles.append((f"{scores['voi_split'] + scores['voi_merge']:.3f}", "bits of VOI against truth"))
    tiles += [
        (duration(summary["seconds"]), "wall clock of the last run"),
        (f"{summary['core_hours']:.3g}", "core-hours, idle included"),
        (number(summary["voxels_per_core_hour"]), "voxels per core-hour"),
        (dollars(summary["usd_per_teravoxel"]), "per teravoxel"),
        (f"${summary['usd']:,.4f}" if summary["usd"] < 1 else dollars(summary["usd"]), "spent in all"),
    ]
    drawn = [element("div", element("b", value), element("span", name), class_="tile") for value, name in tiles]
    if failed:
        bad = element("div", element("b", f"{failed:,}"), element("span", "tasks quarantined"), class_="tile bad")
        drawn.append(bad)
    return element("div", *drawn, class_="tiles")


def _trouble(dataset: Dataset, summary: Summary, history: History) -> Markup | None:
    quarantined, n_blocked = summary["quarantined"], summary["blocked"]
    if not quarantined and not n_blocked:
        return None
    rows = []
    for task in quarantined:
        command = f"connectome replay {shlex.quote(dataset.url)} {shlex.quote(task)}"
        rows.append(
            row(
                head_cell(task), cell(history.quarantined.get(task, ""), "text"), cell(element("code", command), "text")
            )
        )
    explanation = (
        f"Tasks that failed at every try: {len(quarantined):,}. Tasks that wait for them: {n_blocked:,}. Replay a task "
        "to see its error; when the cause is gone, run the workflow again and it goes on."
    )
    listed = table(None, ("task", "error", "command that replays it"), rows) if rows else None
    title = "What went wrong" if quarantined else "What is not done"
    return section(title, element("p", explanation), listed, class_="alarm")


def _pictures(rows: Markup, plan: Plan, found: SegmentSizes | None, notes: list[str]) -> Markup:
    is_missing = "segmentation" in plan.writers and (found is None or not found.ids.size)
    box = element("input", type="checkbox", id="colours", checked="checked")
    return section(
        "Sections through the middle",
        note("There is no segmentation yet: run the workflow again, and it goes on.") if is_missing else None,
        element("label", box, "Show colours", class_="toggle"),
        rows,
        *map(note, notes),
    )


def _sizes(scene: Scene, name: str, notes: list[str]) -> SegmentSizes | None:
    layer = scene.layer(name)
    if layer is None or layer.kind != "labels":
        return None
    try:
        return segment_sizes(layer.volume, COUNTED_VOXELS)
    except (InputError, OSError) as error:
        notes.append(f"the sizes of {name} cannot be measured: {error}")
        return None


def _histogram(found: SegmentSizes | None, truth: SegmentSizes | None) -> Markup:
    if found is None or not found.ids.size:
        return section("Segment sizes", note("There are no segments yet."))
    series, key = [Series("segments", found.sizes, "segments")], [element("span", class_="key"), "segments"]
    if truth is not None and truth.ids.size:
        series.append(Series("true cells", truth.sizes, "truth"))
        key += [element("span", class_="key line"), "true cells"]
    chart = size_histogram(series, "size (voxels)", "objects per bin")
    return section("Segment sizes", chart, element("p", *key), element("p", _size_sentence(found), class_="soft"))


def _size_sentence(found: SegmentSizes) -> str:
    total, sample = int(found.sizes.sum()), found.sample
    n_most = int(np.searchsorted(np.cumsum(found.sizes), 0.9 * total)) + 1
    sentence = (
        f"{found.ids.size:,} segments; the median has {number(float(np.median(found.sizes)))} voxels, the largest "
        f"{number(float(found.sizes[0]))} ({100 * found.sizes[0] / total:.1f} % of what is labelled). "
        f"The {n_most:,} largest make up 90 %."
    )
    if sample.level == 0 and sample.is_whole:
        return sentence
    part = "" if sample.is_whole else f", and only in the centre, the box {sample.box} of that level"
    return (
        f"{sentence} Counted on mip level {sample.level}, whose voxels pool {triple(sample.factor)}{part}: "
        "small segments may be missing."
    )


def _accuracy(plan: Plan, summary: Summary) -> Markup:
    scores = summary["agreement"]
    if not scores:
        has_truth = plan.workflow.dataset.truth is not None or "truth" in plan.writers
        why = "It is scored when all tasks are done." if has_truth else "No truth is given (dataset.truth)."
        return section("Accuracy", note(why))
    lines = [
        ("VOI split", scores["voi_split"], "bits; cells in too many segments raise it"),
        ("VOI merge", scores["voi_merge"], "bits; falsely joined cells raise it"),
        ("VOI", scores["voi_split"] + scores["voi_merge"], "bits; 0 is perfect"),
        ("Adapted Rand error", scores["adapted_rand_error"], "0 is perfect, 1 the worst"),
    ]
    rows = [row(head_cell(name), cell(f"{value:.4f}"), cell(meaning, "text")) for name, value, meaning in lines]
    return section("Accuracy", table("Against truth; voxels where truth is 0 do not count.", (), rows))


def _parameters(plan: Plan) -> Markup:
    text = yaml.safe_dump(
        plan.workflow.plain(), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    lead = "The workflow with every parameter of every stage; saved as a file, it can be run as it stands."
    return section("Parameters", element("p", lead, class_="soft"), element("pre", text, tabindex="0"))
