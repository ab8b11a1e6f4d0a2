"""Randomness for synthetic tissue: hashes and smooth noise that are pure functions of a place.

Only +, -, *, / and floor are used on floats, so that a voxel gets the same bits in every crop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint64]
Kinds = npt.NDArray[np.int8]
Volume = npt.NDArray[np.float32]


def as_seed(seed: int) -> np.uint64:
    """Fold any integer into the 64 bits that the kernels take."""
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


@jit
def mix(value: np.uint64) -> np.uint64:
    """Scramble 64 bits (the finaliser of splitmix64; Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@jit
def hash4(seed: np.uint64, kind: int, a: int, b: int, c: int) -> np.uint64:
    """Hash a place (three integers) and a kind to 64 random bits."""
    value = seed + np.uint64(kind) * np.uint64(0x9E3779B97F4A7C15)
    value = mix(value + np.uint64(a) * np.uint64(0xD1342543DE82EF95))
    value += np.uint64(b) * np.uint64(0xA0761D6478BD642F) + np.uint64(c) * np.uint64(0xE7037ED1A0B428DB)
    return mix(value)


@jit
def uniform(bits: np.uint64) -> float:
    """Turn 64 random bits into a number in [0, 1)."""
    return float(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@jit
def fade(t: float) -> float:
    """Ease from 0 to 1 with two vanishing derivatives (Perlin 2002)."""
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@jit
def noise_along(seed: np.uint64, kind: int, place: float) -> float:
    """Smooth noise in [-1, 1] along a line."""
    index = math.floor(place)
    low = uniform(hash4(seed, kind, int(index), 0, 0))
    high = uniform(hash4(seed, kind, int(index) + 1, 0, 0))
    return 2.0 * (low + (high - low) * fade(place - index)) - 1.0


@jit
def _smooth_noise(
    start: Indices,
    spacing: Floats,
    pitch: float,
    seed: np.uint64,
    channel: int,
    out: Volume,
) -> None:
    low, size = np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(3):
        low[k] = math.floor((start[k] + 0.5) * spacing[k] / pitch)
        size[k] = math.floor((start[k] + out.shape[k] - 0.5) * spacing[k] / pitch) + 2 - low[k]
    nodes = np.empty((size[0], size[1], size[2]))
    for a in range(size[0]):
        for b in range(size[1]):
            for c in range(size[2]):
                nodes[a, b, c] = 2.0 * uniform(hash4(seed, channel, low[0] + a, low[1] + b, low[2] + c)) - 1.0
    row = np.empty(size[2])
    for z in range(out.shape[0]):
        place = (start[0] + z + 0.5) * spacing[0] / pitch
        a = math.floor(place)
        wz = fade(place - a)
        a -= low[0]
        for y in range(out.shape[1]):
            place = (start[1] + y + 0.5) * spacing[1] / pitch
            b = math.floor(place)
            wy = fade(place - b)
            b -= low[1]
            for c in range(size[2]):
                near = nodes[a, b, c] + (nodes[a, b + 1, c] - nodes[a, b, c]) * wy
                far = nodes[a + 1, b, c] + (nodes[a + 1, b + 1, c] - nodes[a + 1, b, c]) * wy
                row[c] = near + (far - near) * wz
            for x in range(out.shape[2]):
                place = (start[2] + x + 0.5) * spacing[2] / pitch
                c = math.floor(place)
                wx = fade(place - c)
                c -= low[2]
                out[z, y, x] = row[c] + (row[c + 1] - row[c]) * wx


def smooth_noise(
    start: Sequence[int],
    shape: Sequence[int],
    voxel_size_nm: Sequence[float],
    pitch_nm: float,
    seed: int,
    channel: int,
) -> Volume:
    """Sample a smooth random field at the centres of voxels.

    Parameters
    ----------
    start, shape
        Global voxel coordinates of the first voxel (may be negative) and the shape, zyx.
    voxel_size_nm
        Voxel size, zyx.
    pitch_nm
        Distance between the random nodes, which lie at its multiples from the global origin.
    seed, channel
        Which field; fields of different channels are independent.

    Returns
    -------
    float32 array of `shape` in [-1, 1]: value noise with the quintic ease of Perlin (2002). O(voxels).
    """
    if pitch_nm <= 0 or min(voxel_size_nm) <= 0:
        raise ValueError(f"pitch and voxel size must be above 0 nm, got {pitch_nm} and {tuple(voxel_size_nm)}")
    out = np.empty(tuple(shape), np.float32)
    if out.size:
        corner, spacing = np.array(start, np.int64), np.array(voxel_size_nm, np.float64)
        _smooth_noise(corner, spacing, float(pitch_nm), as_seed(seed), channel, out)
    return out
