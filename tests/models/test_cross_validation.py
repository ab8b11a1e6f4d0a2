from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectome.geometry import Box
from connectome.models import Training
from connectome.models.cross_validation import CrossValidation
from connectome.models.sources import load_source
from connectome.workflow.workflow import load_yaml
from tests.conftest import ROOT
from tests.models.small_networks import configuration, toy

BOX = Box((1, 2, 3), (9, 19, 24))


@given(st.tuples(*[st.integers(1, 3)] * 3).filter(lambda parts: np.prod(parts) > 1))
def test_folds_part_the_box(parts: tuple[int, int, int]) -> None:
    """Every voxel is held out once, and learned from in all other folds."""
    n_folds = int(np.prod(parts))
    held, learned = np.zeros(BOX.shape, int), np.zeros(BOX.shape, int)
    for fold in range(n_folds):
        boxes, other = CrossValidation(parts=parts, held_out=fold).split(BOX)
        held[other.relative_to(BOX.start).slices] += 1
        for box in boxes:
            learned[box.relative_to(BOX.start).slices] += 1
    assert (held == 1).all()
    assert (learned == n_folds - 1).all()


def test_a_fold_has_its_own_name_and_sources() -> None:
    source = {"image": "toy#image", "labels": "toy#labels", "box": "0:24,0:28,0:32"}
    config = configuration(Path("unused"), sources=[source], cross_validation={"held_out": 3})
    learned, held_out = config.divided()
    assert [each.box for each in learned] == ["0:24,0:14,0:16", "0:24,0:14,16:32", "0:24,14:28,0:16"]
    assert [each.box for each in held_out] == ["0:24,14:28,16:32"]
    assert config.network_name == "small_fold3"
    assert config.command.endswith("small.yaml --set cross_validation.held_out=3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_validation": {"held_out": 4}}, "are 4, numbered from 0"),
        ({"cross_validation": {"parts": [1, 1, 1]}}, "two parts at least"),
        ({"cross_validation": {}}, "give every source a box"),
        ({"cross_validation": {}, "validation": [{"image": "a", "labels": "b"}]}, "leave validation away"),
        ({"scoring": {}}, "scoring wants volumes"),
        ({"sources": [{"image": "a", "labels": "b", "downsample": [1, 3, 1]}]}, "factors of 1 and 2"),
    ],
)
def test_bad_folds_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configuration(Path("unused"), **changes)


def test_a_source_may_be_pooled() -> None:
    source = {"image": "toy#image", "labels": "toy#labels", "box": "0:24,0:28,0:32", "downsample": [1, 2, 2]}
    config = configuration(Path("unused"), sources=[source])
    loaded = load_source(config.sources[0], config, lambda name: toy()[name], None)
    assert loaded.shape == (24, 14, 16)
    np.testing.assert_array_equal(loaded.own_labels, toy()["toy#labels"][:, ::2, ::2])
    assert abs(float(loaded.own_image.mean()) - float(toy()["toy#image"].mean())) < 1


def test_the_anisotropic_workflow_is_valid() -> None:
    config = Training.model_validate(load_yaml(str(ROOT / "workflows" / "train" / "vnc_stack1.yaml")))
    assert config.architecture.classes == ("membrane", "mitochondrion", "synapse")
    assert config.architecture.stride == (1, 8, 8)
    assert len(config.divided()[0]) == 3
    assert "NC" in config.licence
