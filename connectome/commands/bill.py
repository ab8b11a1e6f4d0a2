"""Commands about time and money: how a run stands, and what a larger one would take."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from connectome.commands import options
from connectome.errors import InputError
from connectome.runtime.terminal import rate_texts, show, table_of

commands = typer.Typer()


@commands.command()
def status(
    dataset: Annotated[str, typer.Argument(help="A dataset, of a run that goes on or not.")],
    prices: options.PriceTable = None,
    as_json: options.AsJson = False,
) -> None:
    """Print how a run stands, from its ledger: done, rate, time left, workers, spend, quarantine."""
    from connectome.runtime.prices import Prices
    from connectome.runtime.status import status_of

    found = status_of(dataset, Prices.load(prices))
    if as_json:
        print(json.dumps(found.plain()))
        return
    titles = ("done", "quarantined", "failed tries", "lost", "tasks/s", "voxels/s", "seconds per task")
    table = table_of(f"{found.dataset}: {found.state}", "pass", *titles)
    for each in found.passes:
        counts = (each.quarantined, each.failed, each.lost)
        seconds = "" if each.seconds_per_task is None else f"{each.seconds_per_task:.3g}"
        rates = (f"{each.tasks_per_s:g}", f"{each.voxels_per_s:,.0f}")
        table.add_row(each.name, f"{each.done:,}/{each.total:,}", *(f"{n:,}" for n in counts), *rates, seconds)
    show(table)
    if found.driver is not None:
        is_held = "held by" if found.driver.is_running else "last held by"
        print(f"{is_held} process {found.driver.pid} on {found.driver.host}, last heartbeat {found.driver.seen}")
    workers = ", ".join(f"{pool} {n:,}" for pool, n in found.workers.items()) or "none"
    print(f"workers{'' if found.state == 'running' else ' of the last run'}: {workers}")
    print(f"spent ${found.usd_spent:,.4f}{_to_come(found.seconds_left, found.usd_to_come, found.is_lower_bound)}")
    for item in found.quarantined:
        print(f"quarantined: {item.task}: {item.error}\n  {item.replay}")


@commands.command()
def estimate(
    workflow: options.WorkflowFile,
    shape: Annotated[str, typer.Option(metavar="Z,Y,X", help="Shape of the volume, in voxels.")],
    pool: Annotated[str, typer.Option(metavar="POOL=N,...", help="Workers, such as cpu=200 or cpu=200,gpu=8.")],
    settings: options.Settings = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="DATASET", help="A smaller run that is done; repeatable. Else dataset.url."),
    ] = None,
    prices: options.PriceTable = None,
    as_json: options.AsJson = False,
) -> None:
    """Predict time and cost of a larger volume from the receipts of smaller runs."""
    from connectome.runtime.estimate import PastRun
    from connectome.runtime.estimate import estimate as estimate_run
    from connectome.runtime.pools import pools_of
    from connectome.runtime.prepare import plan_workflow
    from connectome.runtime.prices import Prices
    from connectome.workflow.workflow import Workflow

    parsed, table, size = (
        Workflow.load(workflow, settings or []),
        Prices.load(prices),
        options.shape_of(shape, "--shape"),
    )
    pools = pools_of(options.workers_of(pool, "--pool"))
    workers = {name: each.minimum for name, each in pools.items() if each.minimum == each.maximum}
    if len(workers) < len(pools) or min(workers.values()) < 1:
        raise InputError(f"--pool takes numbers of 1 and more, got {pool!r}")
    past = [PastRun.read(url) for url in runs or [parsed.dataset.url]]
    found = estimate_run(plan_workflow(parsed, size), workers, past, table)
    if as_json:
        print(json.dumps(found))
        return
    _show_estimate(found)


def _show_estimate(found: dict[str, Any]) -> None:
    title = f"{' x '.join(f'{n:,}' for n in found['shape'])} voxels, {found['tasks']:,} tasks"
    titles = ("tasks", "busy h", "voxels / core-h", "core-h / Tvx", "GPU-h / Tvx", "$ / Tvx", "$")
    table = table_of(title, "stage", *titles)
    for name, stage in found["stages"].items():
        hours = f"{stage['busy_seconds'] / 3600:,.3f}"
        table.add_row(name, f"{stage['tasks']:,}", hours, *rate_texts(stage), f"{stage['usd']:,.4f}")
    store = found["store"]
    table.add_row("store", "", "", "", "", "", f"{store['usd_per_teravoxel']:,.2f}", f"{store['usd']:,.4f}")
    table.add_section()
    held = sum(pool["held_hours"] for pool in found["pools"].values())
    table.add_row("all, idle included", "", f"{held:,.3f}", *rate_texts(found), f"{found['usd']:,.4f}")
    show(table)
    workers = ", ".join(f"{n:,} {pool}" for pool, n in found["workers"].items())
    print(
        f"{_clock(found['seconds'])} on {workers}, {100 * found['utilisation']:.0f} % busy "
        f"({100 * found['runs_utilisation']:.0f} % in the runs it is from, starts and tops of trees aside)"
    )
    for text in found["differences"]:
        print(f"not to be trusted: {text}; give --from a run with the same, or set it here")
    for text in found["cautions"]:
        print(f"not to be trusted: {text}")
    for each in found["held_out"]:
        if "error" in each:
            print(f"left out, {each['dataset']}: cannot be predicted: {each['error']}")
        else:
            print(
                f"left out, {each['dataset']} ({each['voxels']:,} voxels): ${each['predicted_usd']:,.4f} predicted, "
                f"${each['measured_usd']:,.4f} measured: {100 * each['usd_error']:+.1f} %"
            )


def _to_come(seconds: float | None, usd: float | None, is_lower_bound: bool) -> str:
    if seconds is None or usd is None:
        return "; what is to come is not known yet"
    if not seconds and not usd and not is_lower_bound:
        return ""
    return f"; to come{' at least' if is_lower_bound else ''} {_clock(seconds)} and ${usd:,.4f}"


def _clock(seconds: float) -> str:
    days, rest = divmod(round(seconds), 86400)
    return f"{days:,} d " * bool(days) + time.strftime("%H:%M:%S", time.gmtime(rest))
