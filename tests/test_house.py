"""The habits that a machine can check: layout, types, style, layers."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=lambda command: command[0] + command[1] * (len(command) > 2) if len(command) > 1 else command[0],
)
def test_checker_is_content(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


LIBRARY_HOMES = {
    "dask": ("runtime",),
    "distributed": ("runtime",),
    "tensorstore": ("store",),
    "zarr": ("store",),
    "fsspec": ("store",),
    "pyarrow": ("store",),
    "torch": ("models",),
    "onnxruntime": ("models",),
    "numba": ("kernels",),
    "scipy": ("models",),
    "cc3d": ("kernels",),
    "typer": ("cli.py", "commands"),
}


def test_one_library_has_one_home():
    for path in (ROOT / "connectome").rglob("*.py"):
        home = path.relative_to(ROOT / "connectome").parts[0]
        for line in path.read_text().splitlines():
            words = line.split()
            if (
                len(words) > 1
                and words[0] in ("import", "from")
                and (library := words[1].split(".")[0]) in LIBRARY_HOMES
            ):
                assert home in LIBRARY_HOMES[library], f"{path} imports {library}"


def test_names_say_something():
    banned = {"utils", "util", "common", "core", "base", "helpers", "manager", "handler", "misc"}
    names = {part for path in (ROOT / "connectome").rglob("*.py") for part in (*path.parts[:-1], path.stem)}
    assert not names & banned
