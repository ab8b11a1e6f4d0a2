"""What is done to label volumes: names and mip pyramid, contact areas, contingency."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cases.segmentation import dense_fragments, n_labels, voxel_size
from benchmarks.inputs import Labels, Volume
from benchmarks.measure import Contest, Peer

N_MIPS = 4
PAIR_BYTES = 40


def relabel_pyramid(volume: Volume) -> Contest:
    """Fragments to segments under their names, with 4 mips."""
    from connectome.kernels.relabel import relabel_pyramid as kernel

    labels, dense = volume.fragments, dense_fragments(volume)
    old = np.flatnonzero(np.bincount(dense.ravel().astype(np.int64))).astype(np.uint64)
    names = np.random.default_rng(3).integers(1, 1 << 40, old.size, np.uint64)
    table = np.zeros(int(old[-1]) + 1, np.uint64)
    table[old.astype(np.int64)] = names
    first = np.zeros(table.size, np.uint64)
    first[dense.ravel()] = labels.ravel()
    keys = first[old.astype(np.int64)]
    factor = (2, 2, 2)

    renamed = np.zeros(dense.shape, np.uint64)
    levels = kernel(labels, keys, names, [factor] * N_MIPS)

    def take() -> Any:
        import tinybrain

        # Without a mode numpy renames into memory of its own first, and copies.
        np.take(table, dense, out=renamed, mode="clip")
        return tinybrain.downsample_segmentation(renamed.T, factor, num_mips=N_MIPS)

    def remap() -> Any:
        import fastremap
        import tinybrain

        remapped = fastremap.remap(dense, new_names, in_place=False)
        return tinybrain.downsample_segmentation(remapped.T, factor, num_mips=N_MIPS)

    peers = [
        Peer(
            "numpy+tinybrain",
            "tinybrain",
            take,
            note="numpy.take from a dense table into memory used again, fragments numbered 1, 2, ... before; "
            "then tinybrain, x fastest, which takes memory of its own for the mips.",
        )
    ]
    if volume.name == "pinky40-256":
        new_names = dict(zip(old.tolist(), names.tolist(), strict=True))
        peers.append(Peer("fastremap+tinybrain", "fastremap", remap, note="fastremap.remap by a dict made before."))
    n_written = sum(8 * volume.voxels // 8**level for level in range(N_MIPS + 1))
    return Contest(
        ours=lambda: kernel(labels, keys, names, [factor] * N_MIPS, out=levels),
        peers=peers,
        voxels=volume.voxels,
        bytes_moved=labels.nbytes + n_written,
        count=lambda _: (n_labels(labels), None),
        note="Every fragment has a new name; 4 mips of 2 x 2 x 2; into memory used again.",
    )


def contacts_of_fragments(volume: Volume) -> Contest:
    """Contact areas of fragments: many small ones."""
    return _contacts(volume, volume.fragments)


def contacts_of_segments(volume: Volume) -> Contest:
    """Contact areas of segments: few large ones."""
    return _contacts(volume, volume.segments)


def _contacts(volume: Volume, labels: Labels) -> Contest:
    from connectome.kernels.contacts import contacts as kernel

    def cc3d_contacts() -> Any:
        import cc3d

        return cc3d.contacts(labels.T, connectivity=6, surface_area=True, anisotropy=size[::-1])

    size = voxel_size(volume)
    n_pairs = kernel(labels)["a"].size
    return Contest(
        ours=lambda: kernel(labels),
        peers=[Peer("cc3d", "connected-components-3d", cc3d_contacts, note="Its result is a dict of areas.")],
        voxels=volume.voxels,
        bytes_moved=labels.nbytes + PAIR_BYTES * n_pairs,
        count=lambda table: (None, table["a"].size),
    )


def contingency(volume: Volume) -> Contest:
    """How many voxels each pair of segment and fragment shares."""
    from connectome.kernels.contingency import contingency as kernel

    def skimage_table() -> Any:
        from skimage.metrics import contingency_table

        return contingency_table(segments, dense)

    segments, dense = volume.segments, dense_fragments(volume)
    return Contest(
        ours=lambda: kernel(segments, dense),
        peers=[Peer("skimage", "scikit-image", skimage_table)],
        voxels=volume.voxels,
        bytes_moved=segments.nbytes + dense.nbytes,
        note="Segments against fragments.",
    )
