"""The command that scores segmentations against truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from connectome.commands import options
from connectome.errors import InputError
from connectome.geometry import Box
from connectome.runtime.accuracy import Accuracy, Scored
from connectome.runtime.terminal import show_scores

commands = typer.Typer()


@commands.command()
def evaluate(
    segmentation: Annotated[str, typer.Argument(help="Volume to score; a dataset with --threshold.")],
    truth: Annotated[str, typer.Argument(help="Truth of the same shape; voxels with 0 do not count.")],
    threshold: Annotated[str | None, options.Thresholds] = None,
    mask: Annotated[str | None, typer.Option(help="Only voxels where this volume is not 0 count.")] = None,
    box: Annotated[str | None, typer.Option(metavar="Z0:Z1,Y0:Y1,X0:X1", help="Only this box counts.")] = None,
    run_length: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Expected run length too, along skeletons with a node every so many nm."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the worst merges and splits, with pictures, to this HTML file.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image for the page, where the dataset of the segmentation has none.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Score a segmentation against truth: variation of information, adapted Rand error, expected run length."""
    from connectome.runtime.accuracy import measure_accuracy
    from connectome.runtime.progress import ProgressDisplay
    from connectome.web.accuracy import N_WORST, write_accuracy

    thresholds = None if threshold is None else options.thresholds(threshold)
    with ProgressDisplay(Console(stderr=True)) as display:
        found = measure_accuracy(
            segmentation,
            truth,
            thresholds=thresholds,
            mask_url=mask,
            box=None if box is None else _box(box),
            spacing_nm=run_length,
            n_worst=N_WORST if page is not None else 0,
            display=display,
        )
    if page is not None:
        write_accuracy(page, segmentation, truth, found, image)
    if as_json:
        print(json.dumps(_plain(segmentation, found, is_swept=thresholds is not None)))
    elif thresholds is not None:
        show_scores(segmentation, found.scored, found.best)
    else:
        _print_scores(found.scored[0])
    if page is not None and not as_json:
        print(page)


def _box(text: str) -> Box:
    try:
        return Box.parse(text)
    except ValueError as error:
        raise InputError(f"--box: {error}") from error


def _print_scores(scored: Scored) -> None:
    scores, lengths = scored.agreement, scored.run_length
    print(f"voi split {scores.voi_split:.4f} + merge {scores.voi_merge:.4f} = {scores.voi:.4f} bits")
    print(f"adapted rand error {scores.adapted_rand_error:.4f} over {scores.n_voxels:,} voxels")
    if lengths is not None:
        print(
            f"expected run length {lengths.expected_nm:,.0f} nm along {lengths.n_skeletons:,} skeletons of "
            f"{lengths.total_nm:,.0f} nm; {lengths.n_merged:,} segments merged"
        )


def _plain(segmentation: str, found: Accuracy, *, is_swept: bool) -> dict[str, Any]:
    rows = [_values(each) for each in found.scored]
    values: dict[str, Any] = rows[0]
    if is_swept:
        cuts = [{"threshold": each.threshold, **row} for each, row in zip(found.scored, rows, strict=True)]
        values = {"dataset": segmentation, "cuts": cuts, "best": found.scored[found.best].threshold}
    if found.worst:
        values["worst"] = [
            {**dataclasses.asdict(error), "voxel": spot.voxel, "n_faces": spot.n_faces} for error, spot in found.worst
        ]
    return values


def _values(scored: Scored) -> dict[str, Any]:
    values = {**dataclasses.asdict(scored.agreement), "voi": scored.agreement.voi}
    if scored.run_length is not None:
        values["run_length"] = dataclasses.asdict(scored.run_length)
    return values
