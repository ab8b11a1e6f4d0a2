import hashlib

import numpy as np
import pytest

from connectome.geometry import Box, Grid
from connectome.store.array_volume import ArrayVolume
from connectome.store.checksum import checksum
from connectome.store.volume import Volume


def held(array, start=(0, 0, 0)):
    box = Box.of_shape(array.shape[-3:]).shift(start)
    return ArrayVolume("array", array, box, array.shape[0] if array.ndim == 4 else None, None)


@pytest.mark.parametrize("block", [(300, 20, 30), (64, 16, 16), (50, 20, 7)])
def test_blocks_and_offset_do_not_count(block, tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (300, 20, 30)).astype(np.uint64)
    volume = Volume.create(
        str(tmp_path),
        box=Box.of_shape(array.shape).shift((5, 6, 7)),
        dtype="uint64",
        voxel_size_nm=(1, 1, 1),
        write_shape=block,
    )
    grid = Grid(volume.box, block)
    for index in grid.indices():
        box = grid.box_at(index)
        volume.write(box, array[box.relative_to(volume.box.start).slices])
    assert checksum(volume) == checksum(held(array))


def test_it_is_what_it_says():
    array = np.random.default_rng(0).integers(0, 9, (2, 300, 3, 4)).astype(np.uint16)
    cells = [hashlib.sha256(array[:, :256].tobytes()), hashlib.sha256(array[:, 256:].tobytes())]
    whole = hashlib.sha256(b"2 (300, 3, 4) uint16" + b"".join(cell.digest() for cell in cells))
    assert checksum(held(array)) == whole.hexdigest()
    assert checksum(held(array.astype(">u2"))) == whole.hexdigest()


def test_everything_else_counts():
    array = np.zeros((4, 4, 4), np.uint8)
    changed = array.copy()
    changed[1, 2, 3] = 1
    arrays = [array, changed, array.astype(np.uint16), array.view(np.int8), array[:2], array[np.newaxis]]
    arrays += [array.reshape(2, 4, 8), array.reshape(2, 2, 4, 4)]
    assert len({checksum(held(each)) for each in arrays}) == len(arrays)
