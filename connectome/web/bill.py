"""The report's bill: time, money and memory by stage and in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectome.runtime.history import History
from connectome.web.charts import meter
from connectome.web.markup import Markup, cell, head_cell, note, row, section, table
from connectome.web.quantities import dollars, duration, number, share, size
from connectome.workflow.estimates import estimate
from connectome.workflow.plan import Plan

TIME_TITLES = (
    "stage",
    "tasks",
    "busy",
    "share of held time",
    "",
    "voxels per core-hour",
    "core-h / Tvx",
    "GPU-h / Tvx",
    "$ / Tvx",
)
MEMORY_TITLES = ("pass", "predicted peak", "", "measured peak", "", "tries", "failed", "lost")
TRAFFIC_TITLES = ("stage", "read", "requests", "written", "requests")
TRAFFIC = ("read_bytes", "read_requests", "written_bytes", "written_requests")
NOT_RUN = {"tasks": 0, "busy_seconds": 0.0, "peak_bytes": 0, **dict.fromkeys(TRAFFIC, 0)}


def bill_section(plan: Plan, summary: Mapping[str, Any]) -> Markup:
    """Return timings and costs by stage, idle time, the store, and the sum."""
    stages, pools, store = _by_stage(plan, summary), summary["pools"], summary["store"]
    held, busy = _held_s(summary), sum(stage["busy_seconds"] for stage in stages.values())
    whole, idle = max(held, busy), max(0.0, held - busy)
    rows = [_stage_row(plan, name, stage, whole) for name, stage in stages.items()]
    idle_cells = ("", duration(idle), share(idle, whole))
    in_stages = cell("in the stages", "text")
    rows.append(
        row(
            head_cell("idle"),
            *map(cell, idle_cells),
            cell(meter(idle, whole, "meter idle"), "bar"),
            in_stages,
            *[cell("")] * 3,
        )
    )
    rows.append(row(head_cell("store"), *[cell("")] * 7, cell(dollars(store["usd_per_teravoxel"]))))
    n_tasks = sum(stage["tasks"] for stage in stages.values())
    total = row(
        head_cell("all, idle included"),
        *map(cell, (f"{n_tasks:,}", duration(held), share(whole, whole), "")),
        *_rate_cells(summary),
    )
    caption = (
        "Over all runs on this dataset. Held time is workers times wall clock; what of it is idle is billed too: a "
        "stage bears the share of its pool's held time that it has of the pool's busy time. Core-hours, GPU-hours and "
        "dollars are per teravoxel (Tvx, 10^12 voxels)."
    )
    held_by_pool = ", ".join(
        f"{name} {duration(3600 * pool['held_hours'])} ({share(pool['busy_hours'], pool['held_hours']) or '0 %'} busy)"
        for name, pool in pools.items()
    )
    spent = f"In all ${summary['usd']:,.4f}, of which ${store['usd']:,.4f} for the store. "
    return section(
        "Time and money",
        table(caption, TIME_TITLES, rows, total),
        note(spent + (f"Workers were held for: {held_by_pool}." if held_by_pool else "")),
        note(_price_sentence(summary["prices"])),
    )


def memory_section(plan: Plan, history: History) -> Markup:
    """Return the predicted and measured peak of each pass's largest task, and what went wrong in it."""
    predicted = {each.name: each.peak_bytes for each in estimate(plan)}
    measured = {name: history.of(name) for name in predicted}
    most = max([1, *predicted.values(), *(each.peak_bytes for each in measured.values())])
    rows = [
        row(
            head_cell(name),
            cell(size(peak)),
            cell(meter(peak, most, "meter idle"), "bar"),
            cell(size(measured[name].peak_bytes) if measured[name].n_tasks else "not run"),
            cell(
                meter(
                    measured[name].peak_bytes,
                    most,
                    "meter over" if _is_over(measured[name].peak_bytes, peak) else "meter",
                ),
                "bar",
            ),
            *(cell(f"{n:,}") for n in (measured[name].tries, measured[name].failed, measured[name].lost)),
        )
        for name, peak in predicted.items()
    ]
    caption = (
        "Peak memory of the largest task, its worker process included; red where it is more than predicted. A worker "
        "that compiles kernels, which happens once per installation, takes some hundred MB more. Tries of finished "
        "tasks, tries that failed, and tasks that were sent again because a worker or the scheduler went."
    )
    return section("Memory and tries", table(caption, MEMORY_TITLES, rows))


def traffic_section(plan: Plan, summary: Mapping[str, Any]) -> Markup:
    """Return what each stage read from the store and wrote to it."""
    stages = _by_stage(plan, summary)
    rows = [row(head_cell(name), *_traffic_cells(stage)) for name, stage in stages.items()]
    total = row(head_cell("all"), *_traffic_cells(summary["store"]))
    caption = "Bytes as they lie in the store, and requests to it; listings are charged as writes."
    return section("Traffic", table(caption, TRAFFIC_TITLES, rows, total))


def _traffic_cells(counts: Mapping[str, Any]) -> list[Markup]:
    return [cell(size(counts[name]) if name.endswith("bytes") else f"{counts[name]:,}") for name in TRAFFIC]


def _is_over(measured: int, predicted: int) -> bool:
    return measured > predicted


def _held_s(summary: Mapping[str, Any]) -> float:
    return 3600 * float(sum(pool["held_hours"] for pool in summary["pools"].values()))


def _price_sentence(prices: Mapping[str, Any]) -> str:
    def spot(pool: Mapping[str, Any]) -> str:
        return "" if pool["spot_usd_per_hour"] is None else f" (spot ${pool['spot_usd_per_hour']:g})"

    pools = ", ".join(
        f"{name} ${pool['usd_per_hour']:g}{spot(pool)} per worker-hour" for name, pool in prices["pools"].items()
    )
    store = prices["store"]
    source = f" Source: {prices['source']}." if prices.get("source") else ""
    return (
        f"Price table: {prices['name']}: {pools}; store ${store['usd_per_gb_read']:g} per GB read, "
        f"${store['usd_per_gb_month']:g} per GB and month for {store['months_kept']:g} months, "
        f"${store['usd_per_1000_reads']:g} and ${store['usd_per_1000_writes']:g} per 1,000 reads and writes.{source} "
        "Figures per teravoxel are scaled from this volume, not measured on one."
    )


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
        *(_rate_cells(stage) if stage["tasks"] else [cell("")] * 4),
    )


def _rate_cells(rates: Mapping[str, Any]) -> list[Markup]:
    return [
        cell(number(rates["voxels_per_core_hour"])),
        cell(f"{rates['core_hours_per_teravoxel']:,.1f}"),
        cell(f"{rates['gpu_hours_per_teravoxel']:,.1f}"),
        cell(dollars(rates["usd_per_teravoxel"])),
    ]
