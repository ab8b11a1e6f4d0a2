"""Flood filling as a stage: the same objects from all blocks, and tables that say what happened."""

import numpy as np
import pytest
from pydantic import ValidationError

from connectome.errors import InputError
from connectome.geometry import Block, Box, Grid
from connectome.kernels.components import connected_pieces
from connectome.models.flood_filling import flood_fill
from connectome.models.subvolumes import Subvolumes, name_objects, slab_objects
from connectome.stages.flood_filling import FloodFilling
from tests.models.filling_networks import DELTAS, FIELD, hand_made, hand_made_file

DOMAIN = Box((3, 5, 7), (27, 35, 43))
SETTINGS = {
    "weights": hand_made_file(),
    "field_of_view": FIELD,
    "deltas": DELTAS,
    "image_mean": 128.0,
    "image_standard_deviation": 1.0,
    "subvolume": (12, 15, 18),
    "margin": (6, 6, 6),
    "min_segment_size": 20,
}


def rods(seed=0):
    """Bright rods along x in the dark, which cross subvolumes."""
    z, y, _ = np.indices(DOMAIN.shape)
    image = np.where((z % 8 < 5) & (y % 8 < 5), 200, 50)
    return np.clip(image + np.random.default_rng(seed).normal(0, 5, DOMAIN.shape), 0, 255).astype(np.uint8)


def run(block_shape, image, **changes):
    """Objects of the whole domain, and the tables of all blocks."""
    stage, objects, tables = FloodFilling(**SETTINGS | changes), np.zeros(DOMAIN.shape, np.uint64), []
    grid = Grid(DOMAIN, block_shape)
    for index in grid.indices():
        block = Block(grid.box_at(index), DOMAIN, (10.0, 10.0, 10.0))
        read = stage.read_box("image", block).relative_to(DOMAIN.start)
        made = stage.process(block, image=image[read.slices])
        objects[block.write_box.relative_to(DOMAIN.start).slices] = made.pop("objects")
        tables.append(made)
    return objects, tables


def test_objects_are_those_of_the_subvolume_from_any_block():
    """Blocks may hold several subvolumes, or cut them."""
    image = rods()
    objects, _ = run((24, 30, 36), image)
    assert len(np.unique(objects)) > 8
    for block_shape in ((12, 15, 18), (24, 30, 20)):
        np.testing.assert_array_equal(run(block_shape, image)[0], objects)
    stage = FloodFilling(**SETTINGS)
    box = Box(DOMAIN.start, (15, 20, 25))
    filled = box.grow(stage.halo("image", (10.0, 10.0, 10.0))).intersect(DOMAIN).relative_to(DOMAIN.start)
    labels, _ = flood_fill(hand_made(), image[filled.slices], stage.options)
    wanted = connected_pieces(labels[:12, :15, :18].view(np.uint32), box, DOMAIN)
    np.testing.assert_array_equal(objects[:12, :15, :18], wanted)


def test_fills_tell_how_each_subvolume_went():
    _, tables = run((12, 15, 18), rods())
    assert [int(table["fills"]["subvolume"][0]) for table in tables] == list(range(8))
    for fills in (table["fills"] for table in tables):
        assert fills["n_objects"] > 0
        ends = ("n_border", "n_inside", "n_near", "n_weak", "n_small", "n_objects")
        assert sum(int(fills[name][0]) for name in ends) == fills["n_seeds"][0]


def test_overlaps_hold_what_a_subvolume_sees_below_its_faces():
    subvolumes = Subvolumes((12, 15, 18), (6, 6, 6), (4, 4, 4))
    labels = np.random.default_rng(0).integers(0, 4, (18, 21, 24)).astype(np.int32)
    objects, pieces, overlaps = name_objects(labels, 7, subvolumes, DOMAIN)
    box = subvolumes.box(7, DOMAIN)
    filled = subvolumes.filled_box(box, DOMAIN)
    inside = labels[box.relative_to(filled.start).slices]
    assert box.shape == objects.shape == (12, 15, 18)
    owner = dict(zip(pieces["piece"].tolist(), pieces["object"].tolist(), strict=True))
    names = {0: 0} | {int(label): owner[int(objects[inside == label].min())] for label in (1, 2, 3)}
    for piece, label in {(int(p), int(lab)) for p, lab in zip(objects.ravel(), inside.ravel(), strict=True) if p}:
        assert owner[piece] == names[label]
    for axis in range(3):
        slab = subvolumes.slab(box, axis, DOMAIN)
        seen = labels[slab.relative_to(filled.start).slices]
        np.testing.assert_array_equal(slab_objects(overlaps, 7, axis, slab), np.vectorize(names.get)(seen))
    assert subvolumes.slab(subvolumes.box(0, DOMAIN), 0, DOMAIN).is_empty


def test_settings_that_cannot_work_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="half the field of view"):
        FloodFilling(**SETTINGS | {"margin": (2, 6, 6)})
    with pytest.raises(InputError, match="no file is there"):
        FloodFilling(**SETTINGS | {"weights": str(tmp_path / "none.npz")}).identity()
    with pytest.raises(InputError, match="does not fit the image's voxel size"):
        FloodFilling(**SETTINGS).check(DOMAIN, (10.0, 10.0, 14.0))
    FloodFilling(**SETTINGS).check(DOMAIN, (10.0, 10.0, 12.0))


def test_identity_is_what_the_result_depends_on():
    one = FloodFilling(**SETTINGS)
    for change in ({"margin": (7, 6, 6)}, {"image_mean": 127.0}, {"n_at_once": 4}):
        assert FloodFilling(**SETTINGS | change).identity() != one.identity()
    assert hand_made_file() not in str(one.identity())
