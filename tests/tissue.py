"""Small volumes for tests of stages and runs: phantom cells with noisy affinities."""

import numpy as np

from connectome.geometry import Box, Grid
from connectome.phantom import generate
from connectome.store.volume import Volume

VOXEL_SIZE_NM = (20.0, 20.0, 20.0)


def noisy_affinities(shape, seed=3):
    """(affinities uint8 (3, z, y, x), truth uint64): truth blurred by noise, so that ties and errors occur."""
    box = Box.of_shape(shape)
    _, truth = generate(box, seed=seed, voxel_size_nm=VOXEL_SIZE_NM)
    random = np.random.default_rng(seed)
    affinities = np.zeros((3, *shape), np.int64)
    for axis in range(3):
        same = truth == np.roll(truth, 1, axis)
        affinities[axis] = np.where(same, 215, 60) + random.integers(-40, 41, shape)
    return (np.clip(affinities, 0, 255) // 8 * 8).astype(np.uint8), truth


def write_volume(url, array, block=(32, 32, 32), voxel_size_nm=VOXEL_SIZE_NM, offset=(0, 0, 0)):
    """Write an array as OME-Zarr and return its URL."""
    box = Box.of_shape(array.shape[-3:]).shift(offset)
    n_channels = array.shape[0] if array.ndim == 4 else None
    volume = Volume.create(
        str(url), box=box, dtype=array.dtype, voxel_size_nm=voxel_size_nm, write_shape=block, n_channels=n_channels
    )
    grid = Grid(box, volume.write_shape)
    for index in grid.indices():
        part = grid.box_at(index)
        volume.write(part, array[(..., *part.relative_to(box.start).slices)])
    return volume.url


def workflow_content(folder, affinities_url, block=(32, 32, 32), **dataset):
    """Plain values of a workflow from stored affinities to a segmentation."""
    return {
        "dataset": {"url": str(folder), "affinities": affinities_url, **dataset},
        "grid": {"block": list(block)},
        "stages": [
            {"stage": "fragments", "cap_nm": 80, "boundary_threshold": 0.55},
            {"stage": "edges"},
            {"stage": "agglomeration", "threshold": 0.6, "small_size": 60, "small_threshold": 0.4},
            {"stage": "segmentation"},
        ],
    }
