"""Options that several commands share, and what their text means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectome.errors import InputError

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.SUB=VALUE", help="Set a value of the workflow; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
WorkflowFile = Annotated[str, typer.Argument(metavar="WORKFLOW", help="A workflow's YAML file.")]
Thresholds = typer.Option("--threshold", metavar="A,B,C", help="Affinities from 0 to 1.")
RunnerName = Annotated[str, typer.Option(help="serial, dask, or a scheduler's tcp:// address.")]
Workers = Annotated[
    str | None,
    typer.Option(metavar="N|POOL=N,...", help="Worker processes of the local cluster, such as 4 or cpu=4,gpu=1."),
]
PriceTable = Annotated[Path | None, typer.Option("--prices", help="Price table (YAML) for the bill.")]
VoxelSize = Annotated[
    str | None, typer.Option("--voxel-size", metavar="Z,Y,X", help="Voxel size in nm, where the source has none.")
]


def triple(text: str, option: str) -> tuple[int, int, int]:
    """Read three whole numbers."""
    z, y, x = floats(text, 3, option)
    if any(value != int(value) for value in (z, y, x)):
        raise InputError(f"{option} takes whole numbers, got {text!r}")
    return int(z), int(y), int(x)


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
    if len(values) != n:
        raise InputError(f"{option} takes {n} numbers with commas between, got {text!r}")
    return values


def sizes(values: tuple[float, ...]) -> str:
    """Write sizes along the axes."""
    return " x ".join(f"{value:g}" for value in values)


def pools(text: str | None) -> int | dict[str, int] | None:
    """Read a number of worker processes, or one for each pool."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        if len(pairs) == 1 and not pairs[0][1]:
            return int(text)
        pools = {name.strip(): int(number) for name, _, number in pairs}
    except ValueError as error:
        raise InputError(f"--workers takes a number, or one for each pool such as cpu=4,gpu=1, got {text!r}") from error
    return pools


def thresholds(text: str) -> list[float]:
    """Read affinities with commas between."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--threshold takes affinities from 0 to 1 with commas between, got {text!r}") from error
