"""What every stage promises: one test over the whole registry.

A stage that is added to the folder is tested here without another word, once `EXAMPLES` says with
which parameters, and `SOURCES` where its outside inputs come from.
"""

import numpy as np
import pytest
from pydantic import ValidationError

from connectome.geometry import Block, Box, Grid
from connectome.stages import BlockStage, TreeStage, registry
from connectome.stages.stage import TableArtifact, VolumeArtifact
from tests.models.filling_networks import DELTAS, FIELD, hand_made_file
from tests.models.small_networks import class_network_file
from tests.tissue import VOXEL_SIZE_NM, noisy_affinities

SHAPE = (24, 30, 36)
DOMAIN = Box.of_shape(SHAPE)
FILLING = {
    "weights": hand_made_file(),
    "field_of_view": FIELD,
    "deltas": DELTAS,
    "image_mean": 215.0,
    "image_standard_deviation": 1.0,
    "subvolume": (12, 15, 18),
}
EXAMPLES = {
    "phantom": {"shape": SHAPE, "voxel_size_nm": VOXEL_SIZE_NM},
    "affinities": {"network": "fib25"},
    "masked_affinities": {"network": "fib25"},
    "class_probabilities": {"network": class_network_file()},
    "flood_filling": {**FILLING, "margin": (4, 4, 4), "min_segment_size": 5},
    "reconciliation": {"subvolume": (12, 15, 18), "depth": (2, 2, 2)},
    "unscored_edges": {},
    "resegmented_edges": {**FILLING, "radius": (6, 6, 6)},
    "fragments": {"cap_nm": 80},
    "edges": {},
    "agglomeration": {"threshold": 0.6, "small_size": 50, "small_threshold": 0.4},
    "segmentation": {},
}
AFFINITY_ROUTE = ["fragments", "edges", "agglomeration", "segmentation"]
FILLING_ROUTE = ["flood_filling", "reconciliation", "unscored_edges", "agglomeration", "segmentation"]
SCORED_ROUTE = [*FILLING_ROUTE[:2], "resegmented_edges", *FILLING_ROUTE[3:]]
NETWORK_STAGES = ["affinities", "masked_affinities", "class_probabilities"]
ORDER = ["phantom", *NETWORK_STAGES, *FILLING_ROUTE[:3], "resegmented_edges", *AFFINITY_ROUTE]
VOXEL_SIZES = dict.fromkeys(NETWORK_STAGES, (10.0, 10.0, 10.0))


def make(name):
    return registry()[name].model_validate({"stage": name, **EXAMPLES[name]})


def outside(name, empty):
    """A volume that comes from outside: an image or affinities, or zeros."""
    if name == "affinities":
        return np.zeros((3, *SHAPE), np.uint8) if empty else noisy_affinities(SHAPE)[0]
    if name == "mask":
        return (np.indices(SHAPE).sum(axis=0) < 50).astype(np.uint8) * (not empty)
    assert name == "image"
    return np.zeros(SHAPE, np.uint8) if empty else np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def run_block_stage(stage, grid, volumes, tables):
    """Run a stage on all blocks of a grid; returns its volumes and table parts."""
    written = {
        a.name: np.zeros((*((a.n_channels,) if a.n_channels else ()), *SHAPE), a.dtype)
        for a in stage.outputs
        if isinstance(a, VolumeArtifact)
    }
    parts = {a.name: {} for a in stage.outputs if isinstance(a, TableArtifact)}
    for index in grid.indices():
        block = Block(grid.box_at(index), DOMAIN, VOXEL_SIZES.get(stage.name, VOXEL_SIZE_NM))
        inputs = {}
        for name in stage.inputs:
            if name in tables:
                inputs[name] = {k: v.copy() for k, v in tables[name][index].items()}
            else:
                inputs[name] = np.ascontiguousarray(volumes[name][(..., *stage.read_box(name, block).slices)])
        kept = {
            k: v.copy() if isinstance(v, np.ndarray) else {c: x.copy() for c, x in v.items()} for k, v in inputs.items()
        }
        outputs = stage.process(block, **inputs)
        for name, value in kept.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(inputs[name], value, err_msg=f"{stage.name} changed its input {name}")
            else:
                for column, values in value.items():
                    np.testing.assert_array_equal(inputs[name][column], values)
        assert set(outputs) == {a.name for a in stage.outputs}
        for artifact in stage.outputs:
            value = outputs[artifact.name]
            if isinstance(artifact, TableArtifact):
                assert set(value) == set(artifact.columns)
                assert {c: str(v.dtype) for c, v in value.items()} == dict(artifact.columns)
                parts[artifact.name][index] = value
            else:
                assert value.dtype == artifact.dtype
                written[artifact.name][(..., *block.write_box.slices)] = value
        assert stage.peak_bytes(block) > 0
    return written, parts


def run_tree_stage(stage, grid, tables):
    """Reduce in one step from all leaves to the root, then expand: {index: columns} per expanded table."""
    reduced = {
        index: stage.reduce(
            grid.box_at(index), [(grid.box_at(index), {n: tables[n][index] for n in stage.inputs})], DOMAIN
        )
        for index in grid.indices()
    }
    children = [
        (grid.box_at(i), {n: r[c] for n, c in zip(stage.inputs, stage.carried, strict=True)})
        for i, r in reduced.items()
    ]
    root = stage.reduce(DOMAIN, children, DOMAIN)
    declared = {a.name: dict(a.columns) for a in stage.outputs}
    for output in [root, *reduced.values()]:
        for name, columns in output.items():
            assert {c: str(v.dtype) for c, v in columns.items()} == declared[name]
    above = stage.expand(DOMAIN, {n: root[n] for n in stage.kept}, None, DOMAIN)
    final = {i: stage.expand(grid.box_at(i), {n: r[n] for n in stage.kept}, above, DOMAIN) for i, r in reduced.items()}
    return {name: {i: output[name] for i, output in final.items()} for name in stage.expanded}


def route(last):
    """Stages up to `last` from what comes from outside."""
    for stages in (AFFINITY_ROUTE, FILLING_ROUTE, SCORED_ROUTE):
        if last in stages:
            return stages[: stages.index(last) + 1]
    return [last]


def chain(block_shape, last, empty=False, stages=None):
    """Run `stages`, or those up to `last`, block by block; returns all volumes and tables."""
    grid = Grid(DOMAIN, block_shape)
    volumes, tables = {}, {}
    for name in stages or route(last):
        stage = make(name)
        for wanted in stage.inputs:
            if wanted not in volumes and wanted not in tables:
                volumes[wanted] = outside(wanted, empty)
        if isinstance(stage, TreeStage):
            tables |= run_tree_stage(stage, grid, tables)
        else:
            written, parts = run_block_stage(stage, grid, volumes, tables)
            volumes |= written
            tables |= parts
    return volumes, tables


def test_every_stage_is_covered():
    """Other tests add stages of their own."""
    ours = sorted(name for name, stage in registry().items() if stage.__module__.startswith("connectome."))
    assert ours == sorted(ORDER) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", ORDER)
def test_round_trip_and_unknown_key(name):
    stage = make(name)
    assert registry()[name].model_validate({"stage": name, **stage.parameters}) == stage
    with pytest.raises(ValidationError):
        registry()[name].model_validate({"stage": name, **EXAMPLES[name], "unknown": 1})
    with pytest.raises(ValidationError):
        stage.stage = "other"


@pytest.mark.parametrize("name", ORDER)
def test_empty_blocks_are_no_special_case(name):
    chain((12, 15, 18), name, empty=True)


@pytest.mark.parametrize("name", [name for name in ORDER if issubclass(registry()[name], BlockStage)])
def test_two_block_shapes_agree(name):
    """Volumes are equal bit for bit; fragments and what is cut by blocks are compared by the segmentation."""
    stages = next((each for each in (FILLING_ROUTE, SCORED_ROUTE) if name in each[1:3]), None)
    if name in ("fragments", "edges", *FILLING_ROUTE[1:3], SCORED_ROUTE[2]):
        name = "segmentation"
    stage, shapes = make(name), [SHAPE, (12, 15, 18)]
    results = [chain(shape, name, stages=stages)[0] for shape in shapes]
    for artifact in [each for each in stage.outputs if isinstance(each, VolumeArtifact)]:
        np.testing.assert_array_equal(results[0][artifact.name], results[1][artifact.name])


@pytest.mark.parametrize("name", ORDER)
def test_stage_has_a_row_in_the_docs(name):
    from tests.conftest import ROOT

    assert f"`{name}`" in (ROOT / "docs" / "stages.md").read_text()
