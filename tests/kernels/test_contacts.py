import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.errors import InputError
from connectome.geometry import Box, Halo
from connectome.kernels.contacts import _contacts_of_large, _contacts_of_small, areas_nm2, contacts, pool_contacts
from tests.naive import contacts as naive
from tests.naive.fragments import grown
from tests.strategies import boxes_in, crop

IDS = ([0, 1], [1, 2**63, 7], [0, 5, 2**64 - 1, 3, 900], list(range(12)), list(range(400, 0, -1)))


@st.composite
def label_volumes(draw, most=8):
    shape = tuple(draw(st.integers(1, most)) for _ in range(3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = random.choice(np.array(draw(st.sampled_from(IDS)), np.uint64), size=shape)
    if draw(st.booleans()):
        labels = labels.repeat(draw(st.integers(1, 12)), axis=draw(st.integers(0, 2)))
    return labels


def _rows(table):
    pairs = zip(table["a"].tolist(), table["b"].tolist(), strict=True)
    return dict(zip(pairs, zip(*(table[axis].tolist() for axis in "zyx"), strict=True), strict=True))


def _expected(faces):
    return [(pair, tuple(counts)) for pair, counts in sorted(faces.items())]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_contacts_equal_naive(data):
    labels = data.draw(label_volumes())
    before = labels.copy()
    assert list(_rows(contacts(labels)).items()) == _expected(naive.contacts(labels))
    assert np.array_equal(labels, before)
    small = (labels % 2**32).astype(np.uint32)
    assert list(_rows(contacts(small)).items()) == _expected(naive.contacts(small))
    turned = labels.transpose(2, 0, 1)
    assert list(_rows(contacts(turned)).items()) == _expected(naive.contacts(turned))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_block_owns_the_faces_to_its_lower_neighbours(data):
    labels = data.draw(label_volumes())
    domain = Box.of_shape(labels.shape)
    box = data.draw(boxes_in(domain))
    read_box = grown(box, Halo(low=(1, 1, 1)), domain)
    margin = tuple(a - r for a, r in zip(box.start, read_box.start, strict=True))
    block = crop(labels, domain, read_box)
    for count in (_contacts_of_large, _contacts_of_small):
        assert list(_rows(count(block, margin)).items()) == _expected(naive.contacts(block, margin))
    assert list(_rows(contacts(block, read_box, box)).items()) == _expected(naive.contacts(block, margin))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_blocks_add_up_to_the_whole(data):
    labels = data.draw(label_volumes())
    domain = Box.of_shape(labels.shape)
    steps = [data.draw(st.integers(1, n)) for n in domain.shape]
    tables = []
    for start in itertools.product(*map(range, domain.start, domain.stop, steps)):
        box = Box(start, tuple(min(a + n, b) for a, n, b in zip(start, steps, domain.stop, strict=True)))
        read_box = grown(box, Halo(low=(1, 1, 1)), domain)
        tables.append(contacts(crop(labels, domain, read_box), read_box, box))
    pooled, whole = pool_contacts(data.draw(st.permutations(tables))), contacts(labels)
    assert pooled.keys() == whole.keys()
    assert all(np.array_equal(pooled[name], whole[name]) and pooled[name].dtype == whole[name].dtype for name in whole)


def test_many_pairs_of_large_labels_grow_the_table():
    labels = np.arange(1, 1 + 20**3, dtype=np.uint64).reshape(20, 20, 20)
    large, small = _contacts_of_large(labels, (0, 0, 0)), _contacts_of_small(labels, (0, 0, 0))
    assert large["a"].size == 3 * 19 * 20 * 20
    assert all(np.array_equal(large[name], small[name]) for name in large)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_runs_end_with_words_strips_and_margins(dtype):
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, (2, 35, 9)).astype(dtype).repeat(2, axis=1).repeat(31, axis=2)
    labels = np.ascontiguousarray(labels[..., 7:-3])
    for margin in itertools.product((0, 1), repeat=3):
        assert list(_rows(_contacts_of_large(labels, margin)).items()) == _expected(naive.contacts(labels, margin))


def test_areas_are_those_of_faces():
    table = {"z": np.array([2]), "y": np.array([3]), "x": np.array([5])}
    assert areas_nm2(table, (40, 16, 8)).tolist() == [2 * 16 * 8 + 3 * 40 * 8 + 5 * 40 * 16]


def test_boxes_must_fit():
    labels = np.ones((4, 4, 4), np.uint64)
    box = Box.of_shape((4, 4, 4))
    with pytest.raises(InputError, match="give both boxes or none"):
        contacts(labels, box)
    with pytest.raises(InputError, match="read one voxel"):
        contacts(labels, box, Box((2, 0, 0), (4, 4, 4)))
