"""Tables: Parquet parts with a declared schema, one part per block or node.

A part is one key of the store and is written whole or not at all.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from connectome.errors import InputError
from connectome.geometry import Triple
from connectome.store.locations import list_keys, read_keys, write_keys

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

    def write_part(self, level: int, index: Triple, columns: Columns) -> None:
        """Write one part."""
        write_parts([(self, level, index, columns)])

    def read_part(self, level: int, index: Triple) -> Columns:
        """Return the columns of one part."""
        return read_parts([(self, level, index)])[0]

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

    def encode(self, columns: Columns) -> bytes:
        """Return the bytes of a part with these columns."""
        arrays = {name: pa.array(columns[name].astype(dtype, copy=False)) for name, dtype in self.columns.items()}
        buffer = io.BytesIO()
        pq.write_table(pa.table(arrays), buffer, **self._encoding)
        return buffer.getvalue()

    def decode(self, content: bytes) -> Columns:
        """Return the columns of a part from its bytes."""
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        return {
            name: table[name].to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            for name, dtype in self.columns.items()
        }

    @property
    def _encoding(self) -> dict[str, Any]:
        """Return how parts are written.

        Whole numbers as differences: smaller, and three times as quick as Parquet's dictionaries. No statistics, since
        parts are read whole.
        """
        whole = {name: "DELTA_BINARY_PACKED" for name, dtype in self.columns.items() if np.dtype(dtype).kind in "ui"}
        return {
            "compression": "zstd",
            "use_dictionary": False,
            "write_statistics": False,
            "column_encoding": whole or None,
        }


def write_parts(parts: Sequence[tuple[Table, int, Triple, Columns]]) -> None:
    """Write parts (table, level, index, columns) of several tables together."""
    places = [posixpath.split(table.part_path(level, index)) for table, level, index, _ in parts]
    contents = [table.encode(columns) for table, _, _, columns in parts]
    write_keys([(*place, content) for place, content in zip(places, contents, strict=True)])


def read_parts(parts: Sequence[tuple[Table, int, Triple]]) -> list[Columns]:
    """Return the columns of parts (table, level, index) of several tables, read together."""
    paths = [table.part_path(level, index) for table, level, index in parts]
    contents = read_keys([posixpath.split(path) for path in paths])
    found = []
    for n, (table, _, _) in enumerate(parts):
        content, contents[n] = contents[n], None  # let go when it is decoded
        if content is None:
            raise InputError(
                f"table part {paths[n]} is missing: connectome audit names the command that makes it again"
            )
        found.append(table.decode(content))
    return found
