"""Tables of results on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from connectome.runtime.accuracy import Scored
    from connectome.runtime.recut import Cut, CutFigures


def table_of(title: str, first: str, *others: str) -> Table:
    """Return an empty table whose first column holds words and the others numbers."""
    table = Table(title=title)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def show(table: Table) -> None:
    """Print a table whole even where the terminal is narrow or there is none."""
    console = Console()
    Console(width=max(110, console.width)).print(table)


def show_bill(summary: dict[str, Any]) -> None:
    """Print what a run took, by stage and in all."""
    titles = ("tasks", "busy s", "voxels / core-h", "core-h / Tvx", "GPU-h / Tvx", "$ / Tvx")
    table = table_of(summary["dataset"], "stage", *titles)
    for name, stage in summary["stages"].items():
        table.add_row(name, f"{stage['tasks']:,}", f"{stage['busy_seconds']:.1f}", *rate_texts(stage))
    table.add_row("store", "", "", "", "", "", f"{summary['store']['usd_per_teravoxel']:,.2f}")
    table.add_section()
    held = 3600 * sum(pool["held_hours"] for pool in summary["pools"].values())
    table.add_row("all, idle included", "", f"{held:.1f}", *rate_texts(summary))
    table.caption = f"${summary['usd']:,.4f} spent; Tvx: teravoxel, scaled from this volume; idle time is in the stages"
    show(table)


def rate_texts(rates: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return voxels per core-hour, and core-hours, GPU-hours and dollars per teravoxel."""
    return (
        f"{rates['voxels_per_core_hour']:,}",
        f"{rates['core_hours_per_teravoxel']:,.1f}",
        f"{rates['gpu_hours_per_teravoxel']:,.1f}",
        f"{rates['usd_per_teravoxel']:,.2f}",
    )


def show_cuts(dataset: str, cuts: Sequence[Cut], figures: Sequence[CutFigures]) -> None:
    """Print what cuts of a dataset are like, and where they lie in it."""
    table = table_of(dataset, "threshold", "segments", "largest, voxels", "merges", "lies in")
    for cut, found in zip(cuts, figures, strict=True):
        counts = (found.n_segments, found.largest, found.n_merges)
        place = f"cuts/{cut.threshold}" if cut.is_apart else "the dataset itself"
        table.add_row(f"{cut.threshold:g}", *(f"{count:,}" for count in counts), place)
    show(table)


def show_scores(dataset: str, scored: Sequence[Scored], best: int) -> None:
    """Print the scores of cuts, and mark the one at position `best`."""
    titles = ["voi split", "voi merge", "voi, bits", "adapted rand error"]
    has_lengths = scored[best].run_length is not None
    table = table_of(dataset, "threshold", *titles, *(["expected run length, nm"] if has_lengths else []), "")
    for n, each in enumerate(scored):
        score = each.agreement
        values = (score.voi_split, score.voi_merge, score.voi, score.adapted_rand_error)
        texts = [f"{value:.4f}" for value in values]
        if each.run_length is not None:
            texts.append(f"{each.run_length.expected_nm:,.0f}")
        table.add_row(f"{each.threshold:g}", *texts, "best" if n == best else "")
    show(table)
