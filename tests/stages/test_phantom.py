"""The phantom stage makes the tissue of the library, shifted to a volume that starts at zero."""

import numpy as np
import pytest
from pydantic import ValidationError

from connectome.geometry import Block, Box
from connectome.phantom import generate
from connectome.stages.phantom import Phantom


def test_blocks_are_crops_of_the_tissue():
    stage = Phantom(shape=(20, 30, 40), start=(-5, 100, 7), seed=4, voxel_size_nm=(20.0, 10.0, 10.0))
    box = Box((3, 10, 0), (20, 30, 33))
    domain, size = stage.domain()
    made = stage.process(Block(box, domain, size))
    image, truth = generate(box.shift((-5, 100, 7)), seed=4, voxel_size_nm=size)
    np.testing.assert_array_equal(made["image"], image)
    np.testing.assert_array_equal(made["truth"], truth)


@pytest.mark.parametrize("wrong", [{"shape": (0, 4, 4)}, {"shape": (4, 4, 4), "voxel_size_nm": (500.0, 8.0, 8.0)}])
def test_odd_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        Phantom(**wrong)
