"""Random small volumes with heavy ties, and boxes inside them."""

import numpy as np
from hypothesis import strategies as st

from connectome.geometry import Box

LEVELS = ([0, 255], [10, 128, 250], [128], list(range(256)))


@st.composite
def affinity_volumes(draw, most=7, row=None):
    """(affinities of the whole domain, domain): uint8 (3, z, y, x) with few levels, at some offset; `row` draws x."""
    shape = (*(draw(st.integers(1, most)) for _ in range(2)), draw(st.integers(1, most) if row is None else row))
    offset = draw(st.sampled_from([(0, 0, 0), (3, 1, 20)]))
    levels = np.array(draw(st.sampled_from(LEVELS)), np.uint8)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.choice(levels, size=(3, *shape)), Box.of_shape(shape).shift(offset)


@st.composite
def boxes_in(draw, domain):
    """A random non-empty box inside `domain`."""
    start, stop = [], []
    for a, b in zip(domain.start, domain.stop, strict=True):
        low = draw(st.integers(a, b - 1))
        start.append(low)
        stop.append(draw(st.integers(low + 1, b)))
    return Box(tuple(start), tuple(stop))


def crop(array, domain, box):
    """Cut `box` out of an array (with or without channels) that covers `domain`."""
    return np.ascontiguousarray(array[(..., *box.relative_to(domain.start).slices)])
