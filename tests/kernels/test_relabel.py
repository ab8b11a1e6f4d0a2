import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome.kernels.relabel import relabel
from tests.naive import relabel as naive


@given(st.integers(0, 2**32), st.sets(st.integers(0, 2**63)))
def test_relabel_equals_naive(seed, named):
    random = np.random.default_rng(seed)
    old = np.array(sorted(named), np.uint64)
    new = random.integers(0, 2**63, old.size).astype(np.uint64)
    pool = np.concatenate([old, np.array([0, 1, 5], np.uint64)])
    labels = random.choice(pool, (3, 4, 5))
    np.testing.assert_array_equal(relabel(labels, old, new), naive.relabel(labels, old, new))
