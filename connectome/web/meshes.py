"""Meshes of segments, made when the viewer asks for them, from a coarse level in memory."""

from __future__ import annotations

from dataclasses import dataclass

import neuroglancer
import numpy as np
import numpy.typing as npt

from connectome.kernels.contingency import contingency
from connectome.store.layout import VoxelSize
from connectome.web.sample import read_pooled_labels
from connectome.web.scene import AnyVolume

MESH_VOXELS = 1 << 22
"""Marching cubes over a coarse level of this size takes a second, and its meshes some tens of MB."""
LARGEST_SHARE = 0.06
"""Segments with more than this share of all labelled voxels hide the rest."""
NO_SIMPLIFICATION = {"max_quadrics_error": -1.0}
"""Collapsing edges takes ten times as long as it takes to send the triangles to this machine's browser."""


@dataclass(frozen=True)
class MeshSource:
    """Meshes of one layer.

    Attributes
    ----------
    volume : neuroglancer.LocalVolume
        The coarse level with a border of background, which closes meshes at the volume's faces.
    size_nm : (z, y, x)
        Voxel size of the coarse level.
    translation : (z, y, x)
        Where its first voxel's centre lies, in its voxels.
    shown : tuple of int
        Ids of the segments that are shown at first.
    """

    volume: neuroglancer.LocalVolume
    size_nm: VoxelSize
    translation: tuple[float, float, float]
    shown: tuple[int, ...]


class _SmoothMeshes(neuroglancer.LocalVolume):  # type: ignore[misc]
    """A volume whose meshes do not show the steps of its voxels."""

    def get_object_mesh(self, object_id: int) -> bytes:
        """Return the mesh as Neuroglancer reads it: vertex count, vertices, triangles."""
        encoded: bytes = super().get_object_mesh(object_id)
        n = int(np.frombuffer(encoded, "<u4", 1)[0])
        vertices = np.frombuffer(encoded, "<f4", 3 * n, 4).reshape(n, 3)
        triangles = np.frombuffer(encoded, "<u4", offset=4 + 12 * n).reshape(-1, 3)
        smoothed: bytes = smooth(vertices, triangles).astype("<f4").tobytes()
        return encoded[:4] + smoothed + encoded[4 + 12 * n :]


def smooth(
    vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.uint32], n_rounds: int = 8
) -> npt.NDArray[np.float64]:
    """Smooth a mesh without shrinking it: steps towards the neighbours' mean, and back a little farther.

    Parameters
    ----------
    vertices : float array, shape (n, 3)
    triangles : integer array, shape (m, 3)
    n_rounds : int
        Pairs of steps; O(n + m) each.

    Returns
    -------
    float64 array, shape (n, 3)

    References
    ----------
    Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995, section 3.1
    (lambda 0.5, mu -0.53).
    """
    n = len(vertices)
    source, target = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    # Closed surfaces list each edge once per direction; at holes a vertex has one neighbour less.
    degree = np.maximum(np.bincount(source, minlength=n), 1)
    smoothed = vertices.astype(np.float64)
    for step in (0.5, -0.53) * n_rounds:
        for axis in range(3):
            mean = np.bincount(source, smoothed[target, axis], minlength=n) / degree
            smoothed[:, axis] += step * (mean - smoothed[:, axis])
    return smoothed


def mesh_source(volume: AnyVolume, voxel_size_nm: VoxelSize, start: tuple[int, int, int], n_shown: int) -> MeshSource:
    """Read a coarse level of `volume`, which is shown at `start` (voxels of level 0)."""
    labels, sample = read_pooled_labels(volume, voxel_size_nm, MESH_VOXELS)
    inside = [a - b for a, b in zip(sample.box.start, volume.level_box(sample.level).start, strict=True)]
    level = volume.level_factor(sample.level)
    corner = [a + i * f for a, i, f in zip(start, inside, level, strict=True)]
    z, y, x = (nm * f for nm, f in zip(voxel_size_nm, sample.factor, strict=True))
    # The border moves everything by one voxel; vertices count from voxel centres.
    tz, ty, tx = (a / f - 0.5 for a, f in zip(corner, sample.factor, strict=True))
    local = _SmoothMeshes(
        np.pad(labels, 1),
        dimensions=neuroglancer.CoordinateSpace(names=["z", "y", "x"], units="nm", scales=[z, y, x]),
        volume_type="segmentation",
        mesh_options=NO_SIMPLIFICATION,
    )
    return MeshSource(local, (z, y, x), (tz, ty, tx), segments_to_show(labels, n_shown))


def segments_to_show(labels: npt.NDArray[np.uint64], n: int) -> tuple[int, ...]:
    """Return the ids of the `n` largest segments, the largest first.

    What fills more than its share of the volume would hide all others in a 3-D view, and is left out
    unless little else remains.
    """
    pairs, counts = contingency(labels, labels, labels != 0)
    order = np.lexsort((pairs[:, 0], -counts))
    hiding = counts[order] > LARGEST_SHARE * counts.sum()
    chosen = order[~hiding] if np.count_nonzero(~hiding) >= np.count_nonzero(hiding) else order
    return tuple(int(i) for i in pairs[chosen[:n], 0])
