"""The phantom is a pure function of place and seed, dense, and connected."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box
from connectome.phantom import generate

WHOLE = Box((-20, -31, 5), (21, 17, 52))


def crops() -> st.SearchStrategy[Box]:
    spans = [
        st.tuples(st.integers(a, b - 1), st.integers(1, 29)).map(lambda s, b=b: (s[0], min(b, s[0] + s[1])))
        for a, b in zip(WHOLE.start, WHOLE.stop, strict=True)
    ]
    return st.tuples(*spans).map(lambda s: Box(tuple(a for a, _ in s), tuple(b for _, b in s)))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(box=crops())
def test_crop_is_the_same_crop(box: Box) -> None:
    image, truth = generate(WHOLE, seed=5)
    part_image, part_truth = generate(box, seed=5)
    place = box.relative_to(WHOLE.start).slices
    np.testing.assert_array_equal(part_truth, truth[place])
    np.testing.assert_array_equal(part_image, image[place])
