"""Steps in the place of a tree's upper levels: which tasks there are, and what each reads, computed from indices.

The top nodes are the shards. First each opens its contacts with its lower neighbours and unites what is
linked over their faces; where faces meet, one task does; and every shard takes the new names. Then, in each
round of falling thresholds, clusters are grouped by components, shards move the rows inside components to the
groups, groups merge, and shards update. The last update knows the final names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from connectome.geometry import Box, Grid, Halo, Triple, as_triple

Phase = Literal["open", "link", "update", "group", "move", "merge"]
FIRST: tuple[Phase, ...] = ("open", "link", "update")
ROUND: tuple[Phase, ...] = ("group", "move", "merge", "update")
ALONE: Triple = (0, 0, 0)
"""Grid position of a task that is alone at its level."""


class Part(NamedTuple):
    """One part of a table that a step reads."""

    table: str
    level: int
    position: Triple


@dataclass(frozen=True)
class RootSteps:
    """Steps above the top nodes of a tree; they are numbered as levels are, after the top nodes' own.

    Attributes
    ----------
    shape : (z, y, x)
        Number of top nodes along each axis.
    top_level : int
        Their level.
    n_rounds : int
        Rounds of falling thresholds.
    """

    shape: Triple
    top_level: int
    n_rounds: int

    @property
    def last_level(self) -> int:
        return self.top_level + len(FIRST) + self.n_rounds * len(ROUND)

    def phase(self, level: int) -> Phase:
        """Return what the tasks of a level do."""
        step = level - self.top_level - 1
        return FIRST[step] if step < len(FIRST) else ROUND[(step - len(FIRST)) % len(ROUND)]

    def round_of(self, level: int) -> int:
        """Return the round that a level belongs to; an update belongs to the round that it prepares."""
        step = level - self.top_level - 1 - len(FIRST)
        return 0 if step < 0 else step // len(ROUND) + (self.phase(level) == "update")

    def shape_at(self, level: int) -> Triple:
        """Return the number of tasks of a level along each axis."""
        return (1, 1, 1) if self.phase(level) in ("link", "group") else self.shape

    def number(self, index: Triple) -> int:
        """Return the number of the shard, and group, at a grid position."""
        return Grid(Box.of_shape(self.shape), (1, 1, 1)).number(index)

    def reads(self, level: int, index: Triple) -> Iterator[Part]:
        """Yield the parts of tables that a task reads, its shard's own first."""
        phase, before = self.phase(level), level - 1
        if phase == "open":
            yield from self._neighbours(index)
        elif phase in ("link", "group"):
            for shard in self._all():
                yield Part("root_pairs", before, shard)
        elif phase == "move":
            yield Part("root_rows", before - 1, index)
            yield Part("root_groups", before, ALONE)
        elif phase == "merge":
            for shard in self._all():
                yield Part("root_moved", before, shard)
        elif before == self.top_level + 2:
            yield Part("root_rows", before - 1, index)
            yield Part("root_own", before - 1, index)
            yield Part("root_names", before, ALONE)
            around = Box(index, as_triple([i + 1 for i in index])).grow(Halo.symmetric((1, 1, 1)))
            for shard in self._positions(around.intersect(Box.of_shape(self.shape))):
                yield Part("root_names", before - 1, shard)
        else:
            yield Part("root_rows", before, index)
            yield Part("root_rows", before - 1, index)
            yield Part("root_own", level - len(ROUND), index)
            for group in self._all():
                yield Part("root_names", before, group)

    def _neighbours(self, index: Triple) -> Iterator[Part]:
        for table in ("node_clusters", "node_edges", "node_seam", "node_alias"):
            yield Part(table, self.top_level, index)
        z, y, x = index
        for z_low, y_low, x_low in ((z - 1, y, x), (z, y - 1, x), (z, y, x - 1)):
            if min(z_low, y_low, x_low) >= 0:
                for table in ("node_clusters", "node_alias"):
                    yield Part(table, self.top_level, (z_low, y_low, x_low))

    def _all(self) -> Iterator[Triple]:
        yield from self._positions(Box.of_shape(self.shape))

    def _positions(self, box: Box) -> Iterator[Triple]:
        for z in range(box.start[0], box.stop[0]):
            for y in range(box.start[1], box.stop[1]):
                for x in range(box.start[2], box.stop[2]):
                    yield z, y, x
