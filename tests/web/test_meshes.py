"""Meshes lie where the voxels are, are closed, and keep their volume when smoothed."""

import neuroglancer.local_volume
import numpy as np
import pytest

from connectome.geometry import Box
from connectome.store.array_volume import ArrayVolume
from connectome.web.meshes import mesh_source, segments_to_show, smooth

SIZE = (40.0, 10.0, 10.0)


def _decode(encoded):
    n = int(np.frombuffer(encoded, "<u4", 1)[0])
    vertices = np.frombuffer(encoded, "<f4", 3 * n, 4).reshape(n, 3).astype(np.float64)
    return vertices, np.frombuffer(encoded, "<u4", offset=4 + 12 * n).reshape(-1, 3)


def _enclosed(vertices, triangles):
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    return abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6


def _ball(radius=12, n=40):
    grid = np.indices((n, n, n)) - n / 2 + 0.5
    return ((grid**2).sum(axis=0) < radius**2).astype(np.uint64) * 7


def _source(labels, start, size=SIZE):
    volume = ArrayVolume("a", labels, Box.of_shape(labels.shape), None, None)
    return mesh_source(volume, size, start, 5)


@pytest.mark.parametrize("start", [(0, 0, 0), (100, -20, 3)])
def test_a_mesh_lies_around_its_voxels(start):
    labels = np.zeros((24, 30, 36), np.uint64)
    labels[4:14, 0:20, 16:36] = 9
    source = _source(labels, start)
    vertices, _ = _decode(source.volume.get_object_mesh(9))
    # As the viewer places it: voxels of the source, then its transform.
    scales = source.volume.dimensions.scales
    placed = vertices / scales + np.array(source.translation)
    np.testing.assert_allclose(placed.min(axis=0), np.array((4, 0, 16)) + start, atol=0.6)
    np.testing.assert_allclose(placed.max(axis=0), np.array((14, 20, 36)) + start, atol=0.6)
    np.testing.assert_allclose(scales, np.array(SIZE) * 1e-9)


def test_a_coarse_mesh_lies_at_the_same_place(monkeypatch):
    monkeypatch.setattr("connectome.web.meshes.MESH_VOXELS", 24 * 30 * 36 // 2)
    labels = np.zeros((24, 30, 36), np.uint64)
    labels[4:14, 4:20, 16:32] = 9
    source = _source(labels, (10, 0, 0), (10.0, 10.0, 10.0))
    assert source.size_nm == (20.0, 20.0, 20.0)
    vertices, _ = _decode(source.volume.get_object_mesh(9))
    placed = (vertices / source.volume.dimensions.scales + np.array(source.translation)) * 2
    np.testing.assert_allclose(placed.min(axis=0), (14, 4, 16), atol=1.2)
    np.testing.assert_allclose(placed.max(axis=0), (24, 20, 32), atol=1.2)


def test_meshes_are_closed_at_the_faces_of_the_volume():
    labels = np.full((6, 7, 8), 5, np.uint64)
    _, triangles = _decode(_source(labels, (0, 0, 0)).volume.get_object_mesh(5))
    directed = {(int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)}
    assert all((b, a) in directed for a, b in directed)


def test_smoothing_keeps_the_volume_and_evens_the_surface():
    labels = _ball()
    local = neuroglancer.LocalVolume(
        labels,
        dimensions=neuroglancer.CoordinateSpace(names=["z", "y", "x"], units="", scales=[1, 1, 1]),
        mesh_options={"max_quadrics_error": -1.0},
    )
    vertices, triangles = _decode(local.get_object_mesh(7))
    smoothed = smooth(vertices, triangles)
    assert _enclosed(smoothed, triangles) == pytest.approx(np.count_nonzero(labels), rel=0.02)
    assert _roughness(smoothed) < 0.7 * _roughness(vertices)


def _roughness(vertices):
    return np.linalg.norm(vertices - vertices.mean(axis=0), axis=1).std()


def test_what_hides_the_rest_is_not_shown_at_first():
    labels = np.repeat(np.arange(1, 41, dtype=np.uint64), 10)
    big = np.concatenate([labels, np.full(600, 99, np.uint64), np.zeros(5, np.uint64)]).reshape(1, 1, -1)
    assert segments_to_show(big, 3) == (1, 2, 3)
    assert segments_to_show(np.array([[[1, 1, 2, 0]]], np.uint64), 3) == (1, 2)
    assert segments_to_show(np.zeros((2, 2, 2), np.uint64), 3) == ()
