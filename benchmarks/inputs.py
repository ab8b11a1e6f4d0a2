"""What the cases run on: derived from a real segmentation, predicted by a network, or made to hurt."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import derivation
from benchmarks.derivation import LONG_RANGE, NEAREST, Appearance, derive_affinities
from benchmarks.machine import ROOT
from connectome.geometry import Box, Triple

DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / "build" / "benchmarks"
PINKY40 = DATA / "pinky40_segmentation.ckl.gz"
FIB25 = DATA / "fib25_ts2.npz"

Affinities = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint64]


class UnavailableError(Exception):
    """A benchmark that cannot run here, and why."""


@dataclass(frozen=True)
class Truth:
    """What a segmentation is scored against: label 0 does not count.

    Attributes
    ----------
    labels : uint64 array (z, y, x)
    box : Box
        Where in the volume they are.
    """

    labels: Labels
    box: Box


@dataclass(frozen=True)
class Source:
    """How an input is made.

    Attributes
    ----------
    name : str
        As in the records.
    make : callable
        Affinities (3, z, y, x).
    truth : callable, optional
        Truth of the volume.
    long_range : callable, optional
        Affinities of the nearest and the long-range offsets (3 + 9, z, y, x).
    smaller : str, optional
        The same input with fewer voxels: it shows how time grows.
    is_quick : bool
        Whether it is part of `BENCH=quick`.
    """

    name: str
    make: Callable[[], Affinities]
    truth: Callable[[], Truth] | None = None
    long_range: Callable[[], Affinities] | None = None
    smaller: str | None = None
    is_quick: bool = True


class Volume:
    """One input with what follows from it, made when it is first wanted and kept while it is measured."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def affinities(self) -> Affinities:
        return np.ascontiguousarray(self.source.make())

    @cached_property
    def affinities_float(self) -> npt.NDArray[np.float32]:
        """The same from 0 to 1 in float32, as waterz wants them."""
        values = self.affinities.astype(np.float32)
        values /= np.float32(255)
        return values

    @property
    def voxels(self) -> int:
        return math.prod(self.box.shape)

    @cached_property
    def truth(self) -> Truth | None:
        return self.source.truth() if self.source.truth else None

    @cached_property
    def long_range(self) -> Affinities:
        if self.source.long_range is None:
            raise UnavailableError(f"{self.name} has no long-range affinities")
        return np.ascontiguousarray(self.source.long_range())

    @cached_property
    def box(self) -> Box:
        z, y, x = self.affinities.shape[1:]
        return Box((0, 0, 0), (z, y, x))

    @cached_property
    def fragments(self) -> Labels:
        """Fragments by our own kernel."""
        from connectome.kernels.fragments import fragments_by_affinity

        return fragments_by_affinity(self.affinities, self.box, self.box, self.box, low=0, high=255)[0]

    @cached_property
    def segments(self) -> Labels:
        """The dense truth where it covers the volume, else what our kernels make of the affinities."""
        if self.truth is not None and self.truth.box == self.box:
            return self.truth.labels
        from benchmarks.pipeline import segment

        return segment(self.affinities).segments


def _cached(name: str, make: Callable[[], Affinities], *depends_on: str) -> Affinities:
    """Make an array once; it is made anew when the derivation or what it depends on changes."""
    digest = hashlib.sha256(Path(derivation.__file__).read_bytes())
    for text in depends_on:
        digest.update(text.encode())
    path = CACHE / f"{name}-{digest.hexdigest()[:12]}.npy"
    if not path.exists():
        array = make()
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, array)
        unfinished.rename(path)
    return np.asarray(np.load(path), np.uint8)


def _pinky40(size: int) -> npt.NDArray[np.uint32]:
    """Cut the middle of the dense segmentation (z, y, x)."""
    try:
        import crackle
    except ImportError as error:
        raise UnavailableError("crackle-codec is not installed") from error
    if not PINKY40.exists():
        raise UnavailableError(f"{PINKY40} is not there")
    stored = crackle.decompress(gzip.decompress(PINKY40.read_bytes()))  # x y z, Fortran order
    margins = [(n - size) // 2 for n in stored.T.shape]
    return np.ascontiguousarray(stored.T[tuple(slice(m, m + size) for m in margins)])


def _pinky40_source(size: int, name: str, appearance: Appearance, *, is_quick: bool, has_long_range: bool) -> Source:
    def derive(offsets: tuple[Any, ...], suffix: str) -> Affinities:
        return _cached(name + suffix, lambda: derive_affinities(_pinky40(size), appearance, offsets), repr(appearance))

    return Source(
        name,
        make=lambda: derive(NEAREST, ""),
        truth=lambda: Truth(_pinky40(size).astype(np.uint64), Box((0, 0, 0), (size, size, size))),
        long_range=(lambda: derive((*NEAREST, *LONG_RANGE), "-long-range")) if has_long_range else None,
        is_quick=is_quick,
    )


def _fib25() -> Affinities:
    """Predict the affinities of the cube with the shipped network, in one pass."""
    from connectome.models import engine_name, load_network, predict_affinities

    if not FIB25.exists():
        raise UnavailableError(f"{FIB25} is not there")
    network = load_network("fib25")

    def predict() -> Affinities:
        with np.load(FIB25) as file:
            image = file["raw"]
        box = Box((0, 0, 0), image.shape)
        return predict_affinities(network, image, box, box, box)

    return _cached("fib25", predict, network.fingerprint, engine_name())


def _fib25_truth() -> Truth:
    """Voxels of the sections that the network did not see and that the flood-filling network labels."""
    with np.load(FIB25) as file:
        neurons, labelled = file["neurons"], file["ffn_published"] != 0
    box = Box((162, 0, 0), neurons.shape)
    return Truth(np.where(labelled, neurons, 0)[box.slices].astype(np.uint64), box)


def _constant(shape: Triple, n_channels: int = 3) -> Affinities:
    return np.full((n_channels, *shape), 128, np.uint8)


def _noise(shape: Triple, n_channels: int = 3) -> Affinities:
    return np.random.default_rng(1).integers(0, 256, (n_channels, *shape), np.uint8)


def _checkerboard(shape: Triple, n_channels: int = 3) -> Affinities:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.broadcast_to(np.where((z + y + x) % 2, 50, 200).astype(np.uint8), (n_channels, *shape)).copy()


def _hub(shape: Triple) -> Affinities:
    """Even sections and one row of the odd ones are one fragment; pairs of voxels fill the rest and touch it.

    A pair (200 inside) touches the hub (250 inside) with affinities from 90 to 165, and other pairs with less.
    """
    random = np.random.default_rng(2)
    affinities = random.integers(40, 90, (3, *shape), np.uint8)
    affinities[0] = random.integers(90, 165, shape, np.uint8)
    affinities[2, 1::2, :, 1::2] = 200
    affinities[1:, ::2] = 250
    affinities[:, :, 0] = 250
    affinities[1, :, 1] = np.where(np.arange(shape[0])[:, None] % 2, 90, 250)
    return affinities


def _two_sizes(name: str, make: Callable[..., Affinities], small: Triple, large: Triple) -> list[Source]:
    names = [f"{name}-{'x'.join(map(str, shape))}" for shape in (small, large)]
    n_channels = len(NEAREST) + len(LONG_RANGE)
    return [
        Source(
            own,
            make=partial(make, shape),
            long_range=None if make is _hub else partial(make, shape, n_channels),
            smaller=smaller,
            is_quick=smaller is None,
        )
        for own, shape, smaller in ((names[0], small, None), (names[1], large, names[0]))
    ]


SATURATED = Appearance(inside=1.1)
SOURCES: tuple[Source, ...] = (
    Source("fib25", _fib25, truth=_fib25_truth),
    _pinky40_source(256, "pinky40-256", Appearance(), is_quick=True, has_long_range=True),
    _pinky40_source(256, "pinky40-256-saturated", SATURATED, is_quick=False, has_long_range=False),
    _pinky40_source(128, "pinky40-128", Appearance(), is_quick=True, has_long_range=True),
    _pinky40_source(512, "pinky40-512", Appearance(), is_quick=False, has_long_range=False),
    *_two_sizes("constant", _constant, (128, 128, 128), (256, 256, 256)),
    *_two_sizes("noise", _noise, (128, 128, 128), (256, 256, 256)),
    *_two_sizes("checkerboard", _checkerboard, (128, 128, 128), (256, 256, 256)),
    *_two_sizes("hub", _hub, (160, 160, 160), (320, 160, 160)),
)
REAL = ("fib25", "pinky40-256", "pinky40-512")
ADVERSARIAL = tuple(source.name for source in SOURCES if not source.name.startswith(("fib25", "pinky40")))
