import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome.kernels.positions import positions

IDS = st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1))


@given(st.sets(IDS), st.lists(IDS))
def test_positions_equal_naive(ids, wanted):
    ids = sorted(ids)
    found = positions(np.array(ids, np.uint64), np.array(wanted + ids, np.uint64))
    assert found.tolist() == [ids.index(one) if one in ids else -1 for one in wanted + ids]
