from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from connectome.geometry import Halo
from connectome.models.architecture import Architecture
from connectome.models.unet import UNet
from tests.models.small_networks import CUBIC, FLAT, geometry_network

ARCHITECTURES = {"cubic": CUBIC, "flat": FLAT}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return Architecture.model_validate(ARCHITECTURES[request.param])


def test_geometry_of_known_networks() -> None:
    cubic = Architecture.model_validate(CUBIC)
    assert cubic.stride == (2, 2, 2)
    # Output [0, 2) reads level 0 at [-1, 3), thus level 1 at [-1, 2), whose encoder reads [-2, 3) of the
    # pooled map: [-4, 6) of the finest level, and one voxel more for its encoder.
    assert cubic.halo == Halo.symmetric((5, 5, 5))
    # One voxel, [0, 1), needs the level below at [-1, 1) only.
    assert cubic.receptive_field == (10, 10, 10)
    assert Architecture.model_validate(FLAT).stride == (1, 6, 4)


def test_output_has_the_promised_shape(architecture: Architecture) -> None:
    for factor in (1, 3):
        output = tuple(factor * stride for stride in architecture.stride)
        image = torch.zeros(1, 1, *architecture.input_shape(output))
        assert UNet(architecture, auxiliary=False)(image).shape == (1, 3, *output)
    channels = 3 * (1 + len(architecture.long_range))
    assert UNet(architecture, auxiliary=True)(image).shape[1] == channels


def test_receptive_field_is_what_a_changed_voxel_shows(architecture: Architecture) -> None:
    network = geometry_network(architecture)
    output = tuple(2 * stride for stride in architecture.stride)
    image = torch.rand(1, 1, *architecture.input_shape(output), dtype=torch.float64)
    image.requires_grad_()
    result = network(image)
    widest = [0, 0, 0]
    for place in torch.cartesian_prod(*(torch.arange(n) for n in output)):
        (gradient,) = torch.autograd.grad(result[(0, 0, *place)], image, retain_graph=True)
        for axis in range(3):
            seen = gradient[0, 0].abs().sum(dim=[a for a in range(3) if a != axis]).nonzero()[:, 0]
            span = architecture._input_span(axis, (int(place[axis]), int(place[axis]) + 1))
            low = architecture.halo.low[axis]
            assert span[0] + low <= int(seen.min())
            assert int(seen.max()) < span[1] + low
            widest[axis] = max(widest[axis], span[1] - span[0])
    assert tuple(widest) == architecture.receptive_field


def test_no_voxel_of_the_receptive_field_is_idle(architecture: Architecture) -> None:
    # Maximum pooling passes one voxel of several on: raise each border voxel until it is the one.
    network = geometry_network(architecture)
    output = architecture.stride
    shape = architecture.input_shape(output)
    plain = torch.ones(1, 1, *shape, dtype=torch.float64)
    with torch.no_grad():
        reference = network(plain)
        for axis in range(3):
            for end in (0, shape[axis] - 1):
                changed = plain.clone()
                changed.select(2 + axis, end).fill_(5.0)
                assert not torch.equal(network(changed), reference)


def test_the_halo_is_symmetric_as_mirrored_inference_needs(architecture: Architecture) -> None:
    assert architecture.halo.low == architecture.halo.high


def test_output_depends_on_nothing_but_its_receptive_field(architecture: Architecture) -> None:
    # One stride further inside a larger image, the same voxels give the same values.
    torch.manual_seed(0)
    network = UNet(architecture, auxiliary=False).double()
    stride = architecture.stride
    large = torch.rand(1, 1, *architecture.input_shape(tuple(3 * s for s in stride)), dtype=torch.float64)
    cut = tuple(slice(s, s + n) for s, n in zip(stride, architecture.input_shape(stride), strict=True))
    inner = tuple(slice(s, 2 * s) for s in stride)
    with torch.no_grad():
        torch.testing.assert_close(network(large)[(..., *inner)], network(large[(..., *cut)]))


def test_flops_count_every_convolution() -> None:
    architecture = Architecture.model_validate({"levels": [{"features": 2, "encoder": [[3, 3, 3]]}]})
    assert architecture.flops_per_voxel((4, 4, 4)) == 2 * 2 * 27 + 2 * 2 * 3


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([{"features": 2, "encoder": [[2, 3, 3]]}], "odd"),
        ([{"features": 2, "encoder": [[3, 3, 3]], "pool": [2, 2, 2]}], "last wants neither"),
        ([{"features": 2, "encoder": [[3, 3, 3]]}, {"features": 2, "encoder": [[3, 3, 3]]}], "wants both"),
        ([{"features": 2, "encoder": [[3, 3, 3]], "kernel": 3}], "Extra inputs"),
    ],
)
def test_impossible_levels_are_refused(levels: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Architecture.model_validate({"levels": levels})


def test_tiles_off_the_stride_are_refused() -> None:
    with pytest.raises(ValueError, match="choose positive multiples"):
        Architecture.model_validate(CUBIC).input_shape((7, 8, 8))
