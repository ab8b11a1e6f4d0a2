"""The report's bill: time, money and memory by stage and in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectome.web.charts import meter
from connectome.web.markup import Markup, cell, head_cell, note, row, section, table
from connectome.web.quantities import dollars, duration, number, share, size
from connectome.workflow.plan import Plan, estimate

TIME_TITLES = (
    "stage",
    "tasks",
    "busy",
    "share of held time",
    "",
    "voxels per core-hour",
    "core-hours per teravoxel",
    "dollars per teravoxel",
)
MEMORY_TITLES = ("stage", "predicted peak", "", "measured peak", "", "read in all", "written in all")
NOT_RUN = {"tasks": 0, "busy_seconds": 0.0, "peak_bytes": 0, "read_bytes": 0, "written_bytes": 0}


def bill_section(plan: Plan, summary: Mapping[str, Any]) -> Markup:
    """Return timings and costs by stage, idle time, and the sum."""
    stages, prices = _by_stage(plan, summary), summary["prices"]
    held, busy = summary["core_hours"] * 3600, sum(stage["busy_seconds"] for stage in stages.values())
    whole, idle = max(held, busy), max(0.0, held - busy)
    rows = [_stage_row(plan, name, stage, whole) for name, stage in stages.items()]
    idle_cells = ("", duration(idle), share(idle, whole))
    rows.append(
        row(head_cell("idle"), *map(cell, idle_cells), cell(meter(idle, whole, "meter idle"), "bar"), *[cell("")] * 3)
    )
    n_tasks = sum(stage["tasks"] for stage in stages.values())
    total = row(
        head_cell("all, idle included"),
        *map(cell, (f"{n_tasks:,}", duration(held), share(whole, whole), "")),
        *_rate_cells(summary),
    )
    caption = (
        "Core-seconds over all runs on this dataset. Held time is workers times wall clock; what of it is idle "
        "is billed too."
    )
    source = f" ({prices['source']})" if prices.get("source") else ""
    price = (
        f"Price table: {prices['name']}, ${prices['usd_per_core_hour']:g} per core-hour{source}. "
        "Figures per teravoxel (10^12 voxels) are scaled from this volume, not measured on one."
    )
    return section("Time and money", table(caption, TIME_TITLES, rows, total), note(price))


def memory_section(plan: Plan, summary: Mapping[str, Any]) -> Markup:
    """Return the predicted and measured peak of each stage's largest task, and its traffic."""
    predicted: dict[str, int] = {}
    for each in estimate(plan):
        name = plan.passes[each.name].stage.name
        predicted[name] = max(predicted.get(name, 0), each.peak_bytes)
    stages = _by_stage(plan, summary)
    most = max([1, *predicted.values(), *(stage["peak_bytes"] for stage in stages.values())])
    rows = [
        row(
            head_cell(name),
            cell(size(peak)),
            cell(meter(peak, most, "meter idle"), "bar"),
            cell(size(stages[name]["peak_bytes"]) if stages[name]["tasks"] else "not run"),
            cell(meter(stages[name]["peak_bytes"], most), "bar"),
            cell(size(stages[name]["read_bytes"])),
            cell(size(stages[name]["written_bytes"])),
        )
        for name, peak in predicted.items()
    ]
    caption = (
        "Peak memory of the largest task, its worker process included. A worker that compiles kernels, which happens "
        "once per installation, takes some hundred MB more."
    )
    return section("Memory and traffic", table(caption, MEMORY_TITLES, rows))


def _by_stage(plan: Plan, summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the stages in the order of the data, those without a finished task too."""
    return {stage.name: summary["stages"].get(stage.name, NOT_RUN) for stage in plan.workflow.running_stages}


def _stage_row(plan: Plan, name: str, stage: Mapping[str, Any], whole: float) -> Markup:
    planned = sum(len(each) for each in plan.passes.values() if each.stage.name == name)
    tasks = f"{stage['tasks']:,}" if stage["tasks"] == planned else f"{stage['tasks']:,} of {planned:,}"
    busy = stage["busy_seconds"]
    return row(
        head_cell(name),
        *map(cell, (tasks, duration(busy), share(busy, whole))),
        cell(meter(busy, whole), "bar"),
        *(_rate_cells(stage) if stage["tasks"] else [cell("")] * 3),
    )


def _rate_cells(rates: Mapping[str, Any]) -> list[Markup]:
    return [
        cell(number(rates["voxels_per_core_hour"])),
        cell(f"{rates['core_hours_per_teravoxel']:,.1f}"),
        cell(dollars(rates["usd_per_teravoxel"])),
    ]
