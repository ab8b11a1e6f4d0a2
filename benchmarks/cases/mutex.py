"""The mutex watershed with long-range repulsion, beside mwatershed."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.derivation import LONG_RANGE, NEAREST
from benchmarks.inputs import Volume
from benchmarks.measure import Contest, Peer

OFFSETS = (*NEAREST, *LONG_RANGE)


def mutex_watershed(volume: Volume) -> Contest:
    """Long-range affinities to segments."""
    from connectome.kernels.mutex_watershed import mutex_watershed as kernel

    affinities = volume.long_range
    signed = affinities / np.float64(255)
    signed[len(NEAREST) :] -= 1
    n_edges = _count_edges(signed)
    return Contest(
        ours=lambda: kernel(affinities, OFFSETS, len(NEAREST)),
        peers=[Peer("mwatershed", "mwatershed", lambda: _mwatershed(signed), note="Signed float64 affinities.")],
        voxels=volume.voxels,
        bytes_moved=affinities.nbytes + 8 * volume.voxels,
        count=lambda labels: (int(np.unique(labels).size), n_edges),
        note="3 attractive and 9 repulsive offsets. Edges are those of the graph of voxels that it takes.",
    )


def _count_edges(signed: Any) -> int:
    """Count the edges that weigh anything and whose other voxel lies in the volume."""
    count = 0
    for channel, offset in zip(signed, OFFSETS, strict=True):
        inside = tuple(slice(max(0, -step), n - max(0, step)) for step, n in zip(offset, channel.shape, strict=True))
        count += int(np.count_nonzero(channel[inside]))
    return count


def _mwatershed(signed: Any) -> Any:
    import mwatershed

    return mwatershed.agglom(signed, OFFSETS)
