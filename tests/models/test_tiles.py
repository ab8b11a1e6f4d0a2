from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.geometry import Box
from connectome.models.architecture import Architecture
from connectome.models.tiles import gather, image_box, reflect, tiles_of
from tests.models.small_networks import CUBIC, FLAT

TILE, STRIDE = (8, 12, 16), (2, 6, 4)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, Box]:
    """Draw a domain that need not start at zero, and a box inside it."""
    start = [draw(st.integers(-9, 9)) for _ in range(3)]
    shape = [draw(st.integers(1, 40)) for _ in range(3)]
    low = [draw(st.integers(0, n - 1)) for n in shape]
    high = [draw(st.integers(a + 1, n)) for a, n in zip(low, shape, strict=True)]
    domain = Box.of_shape(shape).shift(start)
    return domain, Box(tuple(low), tuple(high)).shift(start)


@given(st.integers(-5, 5), st.integers(1, 6), st.integers(-30, 30), st.integers(0, 40))
def test_reflect_is_what_numpy_pads(low: int, size: int, start: int, length: int) -> None:
    before, after = max(0, low - start), max(0, start + length - low - size)
    padded = np.pad(np.arange(low, low + size), (before, after), mode="reflect")
    first = start - (low - before)
    assert reflect(start, start + length, low, low + size).tolist() == padded[first : first + length].tolist()


@given(boxes())
def test_tiles_cover_the_domain_once(domain_and_box: tuple[Box, Box]) -> None:
    domain, _ = domain_and_box
    covered = np.zeros(domain.shape, int)
    for tile in tiles_of(domain, domain, TILE, STRIDE):
        covered[tile.intersect(domain).relative_to(domain.start).slices] += 1
        assert all((a - d) % n == 0 for a, d, n in zip(tile.start, domain.start, TILE, strict=True))
        assert all(size % s == 0 for size, s in zip(tile.shape, STRIDE, strict=True))
    assert (covered == 1).all()


@given(boxes())
def test_tiles_of_a_box_are_those_of_the_domain_that_meet_it(domain_and_box: tuple[Box, Box]) -> None:
    domain, box = domain_and_box
    every = list(tiles_of(domain, domain, TILE, STRIDE))
    assert list(tiles_of(box, domain, TILE, STRIDE)) == [t for t in every if not t.intersect(box).is_empty]


@given(boxes(), st.sampled_from([CUBIC, FLAT]))
def test_image_box_holds_all_that_tiles_gather(
    domain_and_box: tuple[Box, Box], architecture: dict[str, object]
) -> None:
    domain, box = domain_and_box
    network = Architecture.model_validate(architecture)
    tile_shape = tuple(2 * s for s in network.stride)
    read_box = image_box(network.halo, network.stride, tile_shape, domain, box)
    assert domain.contains(read_box)
    assert read_box.contains(box)
    image = np.random.default_rng(0).integers(0, 256, domain.shape, np.uint8)
    part = image[read_box.relative_to(domain.start).slices]
    for tile in tiles_of(box, domain, tile_shape, network.stride):
        wanted = tile.grow(network.halo)
        gathered = gather(part, read_box.start, wanted, domain)
        assert gathered.shape == wanted.shape
        np.testing.assert_array_equal(gathered, gather(image, domain.start, wanted, domain))


def test_an_empty_box_reads_nothing() -> None:
    domain = Box.of_shape((9, 9, 9))
    empty = Box((3, 3, 3), (3, 4, 4))
    network = Architecture.model_validate(CUBIC)
    assert image_box(network.halo, network.stride, (8, 8, 8), domain, empty).is_empty


def test_reading_is_bounded_by_tile_and_halo() -> None:
    network = Architecture.model_validate(CUBIC)
    domain = Box.of_shape((1000, 1000, 1000))
    read_box = image_box(network.halo, network.stride, (8, 8, 8), domain, Box((500, 503, 507), (501, 509, 520)))
    assert read_box == Box((491, 491, 499), (509, 517, 525))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 2), (3, 1, 9)])
def test_a_volume_smaller_than_the_halo_is_reflected_for_ever(shape: tuple[int, int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    domain = Box.of_shape(shape)
    grown = Box((-7, -7, -7), tuple(n + 8 for n in shape))
    expected = np.pad(image, [(7, 8)] * 3, mode="reflect")
    np.testing.assert_array_equal(gather(image, (0, 0, 0), grown, domain), expected)
