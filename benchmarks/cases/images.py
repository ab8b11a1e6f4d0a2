"""Distance transform and mean pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cases.segmentation import voxel_size
from benchmarks.inputs import Volume
from benchmarks.measure import Contest, Peer


def distance_transform(volume: Volume) -> Contest:
    """Affinities to the distance from the nearest boundary."""
    from connectome.kernels.distance_fragments import DistanceParameters, distance_heights

    def edt_of_mask() -> Any:
        import edt

        return edt.edt(mask, anisotropy=parameters.voxel_size, black_border=False, parallel=1)

    parameters = DistanceParameters(boundary_sum=459, voxel_size=voxel_size(volume), cap=100, n_smoothing=0)
    mask = volume.affinities.astype(np.uint16).sum(0) >= parameters.boundary_sum
    return Contest(
        ours=lambda: distance_heights(volume.affinities, volume.box, volume.box, parameters),
        peers=[Peer("edt", "edt", edt_of_mask, note="edt of a mask made before, without cap, float32.")],
        voxels=volume.voxels,
        bytes_moved=volume.affinities.nbytes + 4 * volume.voxels,
        note="Ours finds the boundary in the affinities, and caps distances at 100 nm.",
    )


def downsample_mean(volume: Volume) -> Contest:
    """Halve the resolution of an image."""
    from connectome.kernels.downsample import downsample_mean as kernel

    def tinybrain_mean() -> Any:
        import tinybrain

        return tinybrain.downsample_with_averaging(image.T, (2, 2, 2), num_mips=1)

    image = np.ascontiguousarray(volume.affinities[2])
    return Contest(
        ours=lambda: kernel(image, (2, 2, 2)),
        peers=[Peer("tinybrain", "tinybrain", tinybrain_mean, note="x fastest, as it likes best.")],
        voxels=volume.voxels,
        bytes_moved=image.nbytes + image.nbytes // 8,
        note="uint8, one mip of 2 x 2 x 2.",
    )
