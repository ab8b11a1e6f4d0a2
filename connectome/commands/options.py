"""Options that several commands share, and what their text means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from connectome.errors import InputError
from connectome.runtime.pools import Limits
from connectome.runtime.pools import Workers as WorkersOfPools

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.SUB=VALUE", help="Set a value of the workflow; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
WorkflowFile = Annotated[str, typer.Argument(metavar="WORKFLOW", help="A workflow's YAML file.")]
Thresholds = typer.Option("--threshold", metavar="A,B,C", help="Affinities from 0 to 1.")
RunnerName = Annotated[str, typer.Option(help="serial, dask, or a scheduler's tcp:// address.")]
Workers = Annotated[
    str | None,
    typer.Option(metavar="N|POOL=N,...", help="Worker processes of the local cluster: 4, cpu=4,gpu=1, or 1-8 by need."),
]
PriceTable = Annotated[Path | None, typer.Option("--prices", help="Price table (YAML) for the bill.")]
VoxelSize = Annotated[
    str | None, typer.Option("--voxel-size", metavar="Z,Y,X", help="Voxel size in nm, where the source has none.")
]

LONGEST = 10**8
"""Voxels along an axis: a human brain at 2 nm. Estimates take time by the longest axis."""
MOST_VOXELS = 2**63 - 1


def triple(text: str, option: str) -> tuple[int, int, int]:
    """Read three whole numbers."""
    z, y, x = floats(text, 3, option)
    if any(value != int(value) for value in (z, y, x)):
        raise InputError(f"{option} takes whole numbers, got {text!r}")
    return int(z), int(y), int(x)


def shape_of(text: str, option: str) -> tuple[int, int, int]:
    """Read the shape of a volume."""
    shape = triple(text, option)
    if min(shape) < 1 or max(shape) > LONGEST or math.prod(shape) > MOST_VOXELS:
        raise InputError(
            f"{option} takes three positive numbers of voxels (z, y, x), at most {LONGEST:,} along an axis and "
            f"2^63 - 1 in all, got {text!r}: give the shape of a volume that can be"
        )
    return shape


def pair(text: str, option: str) -> tuple[float, float]:
    """Read two numbers."""
    low, high = floats(text, 2, option)
    return low, high


def floats(text: str, n: int, option: str) -> tuple[float, ...]:
    """Read `n` numbers with commas between."""
    try:
        values = tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        values = ()
    if len(values) != n or not all(map(math.isfinite, values)):
        raise InputError(f"{option} takes {n} numbers with commas between, got {text!r}")
    return values


def sizes(values: tuple[float, ...]) -> str:
    """Write sizes along the axes."""
    return " x ".join(f"{value:g}" for value in values)


def workers_of(text: str | None, option: str = "--workers") -> WorkersOfPools:
    """Read a number of worker processes, or limits such as 1-8; of one pool, or for each."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in pairs]
    try:
        if len(pairs) == 1 and not pairs[0][1]:
            return _limits(text)
        pools = {name: _limits(number) for name, (_, _, number) in zip(names, pairs, strict=True)}
    except ValueError as error:
        raise InputError(
            f"{option} takes a number or limits such as 1-8, or these of each pool: cpu=1-8,gpu=1; got {text!r}"
        ) from error
    if "" in pools or len(pools) < len(names):
        raise InputError(f"{option} takes each pool once and by its name, such as cpu=1-8,gpu=1; got {text!r}")
    return pools


def _limits(text: str) -> int | Limits:
    least, separator, most = text.partition("-")
    return Limits(int(least), int(most)) if separator else int(least)


def thresholds(text: str) -> list[float]:
    """Read affinities with commas between."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--threshold takes affinities from 0 to 1 with commas between, got {text!r}") from error
