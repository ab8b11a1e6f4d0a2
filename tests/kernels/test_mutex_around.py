import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels.mutex_around import LANES, strong_sides


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 64), st.integers(1, 255))
def test_strong_sides_are_those_of_the_voxel_alone(seed, n_sides, weight):
    around = np.random.default_rng(seed).integers(0, 256, 3 * n_sides + LANES, np.uint8)
    for voxel in range(3):
        own = around[voxel * n_sides : (voxel + 1) * n_sides].tolist()
        expected = sum(1 << side for side, found in enumerate(own) if found >= weight)
        assert int(strong_sides(around, voxel, n_sides, weight)) == expected
