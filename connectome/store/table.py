"""Tables: Parquet parts with a declared schema, one part per block or node.

A part is one key of the store and is written whole or not at all.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from connectome.errors import InputError
from connectome.geometry import Triple
from connectome.store.locations import list_keys, read_key, write_key

Columns = dict[str, npt.NDArray[Any]]


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
        write_key(*posixpath.split(self.part_path(level, index)), buffer.getvalue())
        return buffer.tell()

    def read_part(self, level: int, index: Triple) -> Columns:
        """Return the columns of one part."""
        path = self.part_path(level, index)
        content = read_key(*posixpath.split(path))
        if content is None:
            raise InputError(f"table part {path} is missing: connectome audit names the command that makes it again")
        table = pq.read_table(io.BytesIO(content))
        return {
            name: table[name].to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            for name, dtype in self.columns.items()
        }

    def read(self, level: int | None = None) -> Columns:
        """Return all parts (of one level) in the order of their names."""
        parts = []
        for key in sorted(key for key in list_keys(self.url) if key.endswith(".parquet")):
            part_level, name = key.split("/")
            if level is None or int(part_level) == level:
                z, y, x = (int(number) for number in name.removesuffix(".parquet").split("_"))
                parts.append(self.read_part(int(part_level), (z, y, x)))
        empty = {name: np.zeros(0, dtype) for name, dtype in self.columns.items()}
        return {name: np.concatenate([part[name] for part in [empty, *parts]]) for name in self.columns}
