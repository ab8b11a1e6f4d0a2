"""Tables: Parquet parts with a declared schema, one part per block or node, through fsspec.

A part is written whole or not at all: local files appear by renaming, objects by a single put.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from connectome.errors import DiskFullError, InputError
from connectome.geometry import Triple

Columns = dict[str, npt.NDArray[Any]]

# gcsfs probes for hierarchical namespaces with a client that no emulator answers; plain buckets need none.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


@dataclass(frozen=True)
class Table:
    """A table below `url`, its parts named by level and grid position.

    Attributes
    ----------
    url : str
        Folder of the parts.
    columns : mapping of str to str
        Column names to numpy dtypes.
    """

    url: str
    columns: Mapping[str, str]

    def part_path(self, level: int, index: Triple) -> str:
        """Return the URL of one part."""
        return posixpath.join(self.url, str(level), "_".join(map(str, index)) + ".parquet")

    def write_part(self, level: int, index: Triple, columns: Columns) -> int:
        """Write one part; return its size in bytes."""
        arrays = {name: pa.array(columns[name].astype(dtype)) for name, dtype in self.columns.items()}
        buffer = io.BytesIO()
        pq.write_table(pa.table(arrays), buffer, compression="zstd")
        write_whole(self.part_path(level, index), buffer.getvalue())
        return buffer.tell()

    def read_part(self, level: int, index: Triple) -> Columns:
        """Return the columns of one part."""
        path = self.part_path(level, index)
        system, place = _filesystem(path)
        try:
            content = system.cat_file(place)
        except FileNotFoundError as error:
            raise InputError(
                f"table part {path} is missing: choose another dataset.url, or make this stage again with --redo"
            ) from error
        table = pq.read_table(io.BytesIO(content))
        return {
            name: table[name].to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            for name, dtype in self.columns.items()
        }

    def read(self, level: int | None = None) -> Columns:
        """Return all parts (of one level) in the order of their names."""
        system, place = _filesystem(self.url)
        paths = sorted(path for path in system.find(place) if path.endswith(".parquet"))
        parts = []
        for path in paths:
            part_level, name = path.split("/")[-2:]
            if level is None or int(part_level) == level:
                z, y, x = (int(number) for number in name.removesuffix(".parquet").split("_"))
                parts.append(self.read_part(int(part_level), (z, y, x)))
        empty = {name: np.zeros(0, dtype) for name, dtype in self.columns.items()}
        return {name: np.concatenate([part[name] for part in [empty, *parts]]) for name in self.columns}


def write_whole(url: str, content: bytes) -> None:
    """Write `content` to `url` such that no reader ever sees a part of it."""
    system, place = _filesystem(url)
    try:
        if "file" in _protocols(system):
            system.makedirs(posixpath.dirname(place), exist_ok=True)
            hidden = posixpath.join(posixpath.dirname(place), f".{uuid.uuid4().hex}.partial")
            try:
                with open(hidden, "wb") as file:  # noqa: PTH123
                    file.write(content)
                os.replace(hidden, place)  # noqa: PTH105
            finally:
                if os.path.exists(hidden):  # noqa: PTH110
                    os.remove(hidden)  # noqa: PTH107
        else:
            system.pipe_file(place, content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full: writing {url} failed; free space and run the command again"
            ) from error
        raise


def delete_folder(url: str) -> None:
    """Delete everything below `url`; there need not be anything."""
    system, place = _filesystem(url)
    if system.exists(place):
        system.rm(place, recursive=True)


def _filesystem(url: str) -> tuple[Any, str]:
    system, place = fsspec.core.url_to_fs(url)
    return system, place


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
