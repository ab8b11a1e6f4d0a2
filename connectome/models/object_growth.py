"""One object of flood filling: its map in logit space, and where its field of view goes next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple

Logits = npt.NDArray[np.float32]
Move = tuple[float, Triple]
UNDECIDED = 0.0
"""Logit of probability 1/2."""
LIKELY = float(np.log(4))
"""Logit of probability 0.8."""


@dataclass(frozen=True)
class GrowthRule:
    """What growth needs to know, probabilities as logits.

    Attributes
    ----------
    field_of_view, deltas : Triple
        Size and steps of the field of view (z, y, x).
    initial, padding : float
        Object map at the seed, and where nothing is known.
    move_threshold : float
        Least logit at a position, and at the seed, for the field of view to go there.
    freeze_share : float
        A voxel that was judged outside stays so where more than this share of the field is above `move_threshold`.
    """

    field_of_view: Triple
    deltas: Triple
    initial: float
    padding: float
    move_threshold: float
    freeze_share: float


def best_moves(logits: Logits, deltas: Triple, threshold: float) -> list[Move]:
    """Return the best place of each face of the box of +- `deltas` around the centre.

    Parameters
    ----------
    logits : float32 array, shape (z, y, x)
        Object map of one field of view.
    deltas : Triple
        Distance of the faces from the centre; no faces along an axis where it is 0.
    threshold : float
        Places below it are left out.

    Returns
    -------
    list of (score, offset from the centre), best first.
    """
    centre = [size // 2 for size in logits.shape]
    box = [slice(c - d, c + d + 1) for c, d in zip(centre, deltas, strict=True)]
    moves: set[Move] = set()
    for axis, delta in enumerate(deltas):
        for step in (-delta, delta) if delta else ():
            place: list[slice] = list(box)
            place[axis] = slice(centre[axis] + step, centre[axis] + step + 1)
            face = logits[tuple(place)]
            best = np.unravel_index(int(face.argmax()), face.shape)
            offset = [int(b) - d for b, d in zip(best, deltas, strict=True)]
            offset[axis] = step
            if face[best] >= threshold:
                moves.add((float(face[best]), (offset[0], offset[1], offset[2])))
    return sorted(moves, reverse=True)


class Growth:
    """An object that grows from a seed, one field of view after the other.

    `position` is where the next field of view must be evaluated, None when the object is complete. Objects made
    before, in `labels`, are only looked at: no field of view is centred in them. `n_deleted` counts voxels that were
    likely inside and are judged outside after all.
    """

    def __init__(self, rule: GrowthRule, labels: npt.NDArray[np.int32], seed: Triple) -> None:
        self.seed = seed
        self.visited: list[Triple] = []
        self.n_deleted = 0
        self._rule, self._labels = rule, labels
        self._logits = np.full(labels.shape, np.nan, np.float32)
        self._logits[seed] = rule.initial
        self._queue: deque[Triple] = deque([seed])
        self._done: set[Triple] = set()
        self.position = self._next()

    @property
    def is_weak(self) -> bool:
        """Whether the seed fell below the threshold of moves."""
        return bool(self._logits[self.seed] < self._rule.move_threshold)

    def known(self) -> Logits:
        """Return the object map of the field of view at `position`, padded where nothing is known."""
        assert self.position is not None
        field = self._logits[self._field(self.position)]
        return np.where(np.isnan(field), np.float32(self._rule.padding), field)

    def field_at(self, image: Logits) -> Logits:
        """Return the part of an image under the field of view at `position`."""
        assert self.position is not None
        return image[self._field(self.position)]

    def advance(self, logits: Logits) -> None:
        """Take the network's answer at `position`, and go on to the next one."""
        assert self.position is not None
        rule, here = self._rule, self._field(self.position)
        old = self._logits[here]
        self.n_deleted += int(np.count_nonzero((old >= LIKELY) & (logits < UNDECIDED)))
        if rule.freeze_share >= 0 and np.mean(logits >= rule.move_threshold) > rule.freeze_share:
            # Not a number is neither below nor above: what was never seen is free.
            logits = np.where((old < UNDECIDED) & (logits > old), old, logits)
        self._logits[here] = logits
        self.visited.append(self.position)
        self._done.add(self._cell(self.position))
        z, y, x = self.position
        for _, (dz, dy, dx) in best_moves(logits, rule.deltas, rule.move_threshold):
            self._queue.append((z + dz, y + dy, x + dx))
        self.position = self._next()

    def mask(self, threshold: float) -> tuple[tuple[slice, ...], npt.NDArray[np.bool_]]:
        """Return the box that was seen, and in it which voxels are at least `threshold`."""
        reach = np.array(self._rule.field_of_view) // 2
        low, high = np.min(self.visited, axis=0) - reach, np.max(self.visited, axis=0) + reach + 1
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return box, self._logits[box] >= threshold

    def _next(self) -> Triple | None:
        if self.is_weak:
            return None
        while self._queue:
            position = self._queue.popleft()
            if self._cell(position) not in self._done and self._is_open(position):
                return position
        return None

    def _is_open(self, position: Triple) -> bool:
        if self._logits[position] < self._rule.move_threshold or self._labels[position] > 0:
            return False
        return fits(position, self._rule.field_of_view, self._labels.shape)

    def _cell(self, position: Triple) -> Triple:
        """Cell of the lattice of `deltas` whose cell at the seed has the seed in its middle."""
        z, y, x = (
            (p - s + d // 2) // max(d, 1) for p, s, d in zip(position, self.seed, self._rule.deltas, strict=True)
        )
        return z, y, x

    def _field(self, position: Triple) -> tuple[slice, ...]:
        sizes = self._rule.field_of_view
        return tuple(slice(p - n // 2, p + n // 2 + 1) for p, n in zip(position, sizes, strict=True))


def fits(position: Triple, field_of_view: Triple, shape: tuple[int, ...]) -> bool:
    """Tell whether a field of view at `position` lies in a volume of `shape`."""
    return all(n // 2 <= p < size - n // 2 for p, n, size in zip(position, field_of_view, shape, strict=True))
