"""Faces between labels, and the one that stands for a contact."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels.contact_faces import contact_faces
from tests.naive import contact_faces as naive


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 6)] * 3), st.integers(1, 6))
def test_faces_and_middles_equal_the_plain_twin(seed, shape, n_labels):
    labels = np.random.default_rng(seed).integers(0, n_labels + 1, shape).astype(np.uint64)
    labels[labels == 2] = 2**63 + 5
    faces, wanted = contact_faces(labels), naive.contact_faces(labels)
    assert [tuple(map(int, pair)) for pair in faces.pairs] == sorted(wanted)
    middles = faces.central_voxels()
    for number, pair in enumerate(sorted(wanted)):
        mine = faces.pair == number
        found = sorted((int(a), tuple(map(int, v))) for a, v in zip(faces.axis[mine], faces.voxel[mine], strict=True))
        assert found == sorted(wanted[pair])
        assert tuple(map(int, middles[number])) == naive.central_voxel([voxel for _, voxel in wanted[pair]])


def test_the_middle_does_not_depend_on_what_is_around():
    labels = np.zeros((9, 9, 9), np.uint64)
    labels[2:7, 2:7, 3], labels[2:7, 2:6, 4] = 1, 2
    whole, part = contact_faces(labels), contact_faces(labels[1:, 2:, 3:])
    np.testing.assert_array_equal(whole.central_voxels(), part.central_voxels() + np.array([1, 2, 3]))
    assert tuple(whole.central_voxels()[0]) == (4, 3, 4)
