"""The command line. Results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from connectome.commands import bill, checks, cluster, evaluate, networks, options
from connectome.errors import InputError
from connectome.runtime.terminal import show, show_bill, show_cuts, table_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Raw electron-microscopy volumes to segmentations: exact, whole, simple.",
)
app.add_typer(bill.commands)
app.add_typer(evaluate.commands)
app.add_typer(cluster.commands)
app.add_typer(checks.commands)
app.add_typer(networks.commands, name="networks")
_ERRORS = Console(stderr=True)


@app.command()
def run(
    workflow: options.WorkflowFile,
    settings: options.Settings = None,
    runner: options.RunnerName = "dask",
    workers: options.Workers = None,
    redo: Annotated[bool, typer.Option(help="Compute again what changed parameters make stale.")] = False,
    secure: Annotated[bool, typer.Option("--secure", help="Encrypt the local cluster's connections.")] = False,
    prices: options.PriceTable = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics-port",
            metavar="[HOST:]PORT",
            help="Serve Prometheus metrics, to this machine only where no host is given; 0 takes a free port.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a workflow, or go on with it where it stopped."""
    from connectome.kernels.cache import is_cold
    from connectome.runtime.prices import Prices
    from connectome.runtime.progress import ProgressDisplay
    from connectome.runtime.run import run as run_workflow
    from connectome.web.report import write_report
    from connectome.workflow.workflow import Workflow

    parsed, table = Workflow.load(workflow, settings or []), Prices.load(prices)
    try:
        with ProgressDisplay(_ERRORS) as display:
            if is_cold():
                display.say(
                    "kernels are compiled at their first call, once per installation: little moves for a minute or "
                    "two, which the bill counts (connectome warm does it ahead)"
                )
            outcome = run_workflow(
                parsed,
                runner=runner,
                n_workers=options.workers_of(workers),
                is_secure=secure,
                redo=redo,
                prices=table,
                display=display,
                metrics=metrics,
            )
    except KeyboardInterrupt:
        _ERRORS.print("stopped; run the same command to go on")
        raise typer.Exit(130) from None
    summary = outcome.summary()
    report = write_report(outcome.dataset, outcome.plan, summary)
    for task in outcome.ended.quarantined:
        _ERRORS.print(
            f"[red]quarantined:[/] {task}; see its error with: connectome replay {outcome.dataset.url} {task}",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.ended.n_blocked:
        _ERRORS.print(f"{outcome.ended.n_blocked} tasks wait for them; run the same command to go on", highlight=False)
    if as_json:
        print(json.dumps(summary))
    else:
        _print_summary(summary, report)
    if not outcome.is_complete:
        raise typer.Exit(1)


@app.command()
def plan(
    workflow: options.WorkflowFile,
    settings: options.Settings = None,
    shape: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Plan for a volume of this shape.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print tasks, bytes and peak memory per task before anything runs."""
    from connectome.runtime.prepare import plan_workflow
    from connectome.workflow.estimates import check_memory, estimate
    from connectome.workflow.memory import readable_bytes, worker_memory
    from connectome.workflow.workflow import Workflow

    size = None if shape is None else options.shape_of(shape, "--shape")
    planned = plan_workflow(Workflow.load(workflow, settings or []), size)
    rows = [dataclasses.asdict(row) for row in estimate(planned)]
    total = sum(row["n_tasks"] for row in rows)
    if as_json:
        print(json.dumps({"shape": planned.domain.shape, "tasks": total, "passes": rows}))
        return
    title = f"{planned.domain} at {options.sizes(planned.voxel_size_nm)} nm, blocks {planned.workflow.grid.block}"
    table = table_of(title, "pass", "tasks", "read per task", "written per task", "peak per task")
    for row in rows:
        sizes = [readable_bytes(row[key]) for key in ("read_bytes", "written_bytes", "peak_bytes")]
        table.add_row(row["name"], f"{row['n_tasks']:,}", *sizes)
    show(table)
    for row in rows:
        if again := {name: times for name, times in row["recomputed"].items() if times > 1}:
            print(f"{row['name']}: " + ", ".join(f"{n} computes {t:.2f} voxels for one" for n, t in again.items()))
    print(f"{total:,} tasks")
    try:
        check_memory(planned, worker_memory(None, os.cpu_count() or 1))
    except InputError as error:
        print(f"One worker per core of this machine would be too small: {error}")


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="TIFF, folder of sections, HDF5, MRC, npy, npz (#name) or a volume.")],
    target: Annotated[str, typer.Argument(help="Where the OME-Zarr goes.")],
    voxel_size: options.VoxelSize = None,
    offset: Annotated[str, typer.Option(metavar="Z,Y,X", help="Offset of the first voxel, in voxels.")] = "0,0,0",
    block: Annotated[str, typer.Option(metavar="Z,Y,X", help="Shard shape.")] = "128,128,128",
    window: Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="Scale these values to 0-255.")] = None,
    volume_format: Annotated[
        str, typer.Option("--format", help="ome-zarr-0.5, ome-zarr-0.4, zarr-v3, zarr-v2, n5 or precomputed.")
    ] = "ome-zarr-0.5",
) -> None:
    """Bring a foreign volume into OME-Zarr with a mip pyramid, slab by slab."""
    from connectome.runtime.progress import ProgressDisplay
    from connectome.store.ingest import ingest as ingest_volume

    with ProgressDisplay(_ERRORS) as display:
        volume = ingest_volume(
            source,
            target,
            voxel_size_nm=options.floats(voxel_size, 3, "--voxel-size") if voxel_size else None,
            offset=options.triple(offset, "--offset"),
            block=options.triple(block, "--block"),
            window=options.pair(window, "--window") if window else None,
            format=volume_format,
            progress=lambda done, total: display.moved("ingest volume", done, total),
        )
    size = options.sizes(volume.voxel_size_nm)
    print(f"{volume.url}: {volume.box} {volume.dtype} at {size} nm, {volume.n_levels} levels")


@app.command()
def agglomerate(
    dataset: Annotated[str, typer.Argument(help="A dataset whose edges are made.")],
    threshold: Annotated[str, options.Thresholds],
    write: Annotated[bool, typer.Option("--write", help="Write the segmentations too.")] = False,
    runner: options.RunnerName = "dask",
    workers: options.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Agglomerate again at other thresholds, from stored edges; voxels are read for --write alone."""
    from connectome.runtime.progress import ProgressDisplay
    from connectome.runtime.recut import cut, measure

    with ProgressDisplay(_ERRORS) as display:
        cuts = cut(
            dataset,
            options.thresholds(threshold),
            write=write,
            runner=runner,
            n_workers=options.workers_of(workers),
            display=display,
        )
    figures = [measure(each) for each in cuts]
    if not as_json:
        show_cuts(dataset, cuts, figures)
        return
    rows = [
        {"threshold": each.threshold, **dataclasses.asdict(found), "url": each.dataset.url}
        for each, found in zip(cuts, figures, strict=True)
    ]
    print(json.dumps({"dataset": dataset, "cuts": rows}))


@app.command()
def checksum(volume: Annotated[str, typer.Argument(help="Any volume.")]) -> None:
    """Print a hash of the voxels, the same whatever the chunking, format and store."""
    from connectome.store.checksum import checksum as checksum_volume
    from connectome.store.sources import open_volume

    print(checksum_volume(open_volume(volume)))


@app.command()
def view(
    dataset: Annotated[str, typer.Argument(help="A dataset, or a volume.")],
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Serve image and segmentation in Neuroglancer on this machine; no internet is needed."""
    from connectome.web.view import serve

    serve(dataset, port=port, open_browser=browser)


@app.command()
def export(
    volume: Annotated[str, typer.Argument(help="Volume, such as runs/demo#segmentation.")],
    target: Annotated[str, typer.Argument(help="Where the precomputed volume goes.")],
    kind: Annotated[
        Literal["image", "segmentation"] | None, typer.Option(help="Told by the width of the integers if not given.")
    ] = None,
) -> None:
    """Write Neuroglancer precomputed: sharded, compressed, with all mip levels."""
    from connectome.export.precomputed import export_precomputed
    from connectome.runtime.progress import ProgressDisplay
    from connectome.store.sources import open_volume

    opened = open_volume(volume)
    are_labels = opened.dtype.kind in "ui" and opened.dtype.itemsize > 2
    told: Literal["image", "segmentation"] = "segmentation" if are_labels else "image"
    with ProgressDisplay(_ERRORS) as display:
        export_precomputed(
            opened, target, kind=kind or told, progress=lambda done, total: display.moved("export", done, total)
        )
    print(target)


@app.command()
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A training's YAML file.")],
    settings: options.Settings = None,
) -> None:
    """Train a network; write weights, manifest and a page that shows how it goes."""
    from connectome.kernels.memory import keep_freed_memory
    from connectome.runtime.training import train_network
    from connectome.web.training import write_training_page

    keep_freed_memory()
    print(train_network(config, settings or [], _ERRORS, write_training_page))


@app.command()
def replay(
    dataset: Annotated[str, typer.Argument(help="A dataset.")],
    task: Annotated[str, typer.Argument(help="A task, as a run names it: stage:z,y,x or stage@level:z,y,x.")],
) -> None:
    """Run one task again in this process, with its full error."""
    from connectome.runtime.run import replay as replay_task
    from connectome.workflow.plan import Task

    try:
        print(replay_task(dataset, Task.parse(task)))
    except InputError:
        raise
    except Exception:
        traceback.print_exc()
        raise typer.Exit(1) from None


@app.command()
def dashboard(
    results: Annotated[Path, typer.Argument(help="Folder of benchmark records.")] = Path("benchmarks/results"),
    output: Annotated[Path, typer.Option(help="The HTML file.")] = Path("build/dashboard.html"),
) -> None:
    """Write the records of the benchmarks as one page."""
    from connectome.web.dashboard.page import write_dashboard

    print(write_dashboard(results, output))


@app.command()
def warm(
    check: Annotated[bool, typer.Option("--check", help="Fail if there was anything to compile.")] = False,
) -> None:
    """Compile every kernel into numba's cache, so that workers that start from it compile nothing."""
    from connectome.runtime.warm import warm as warm_kernels

    n = len(warm_kernels())
    print(f"{n} functions compiled")
    if check and n:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit code 2."""
    # A pre-empted driver is asked to end by SIGTERM: like Ctrl-C, it writes its ledger first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}; free or choose another place and run again")
    except KeyboardInterrupt:
        _ERRORS.print("stopped; run the same command to go on")
        sys.exit(130)


def _fail(message: str) -> None:
    from connectome.store.url_secrets import hide_secrets

    _ERRORS.print(f"connectome: {hide_secrets(message)}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(2)


def _print_summary(summary: dict[str, Any], report: str) -> None:
    show_bill(summary)
    if summary["agreement"]:
        scores = summary["agreement"]
        print(
            f"against truth: voi split {scores['voi_split']:.3f} + merge {scores['voi_merge']:.3f}, "
            f"adapted rand error {scores['adapted_rand_error']:.3f}"
        )
    print(f"report: {report}")
    print(f"look at it: connectome view {summary['dataset']}")


if __name__ == "__main__":
    main()
