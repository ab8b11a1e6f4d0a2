from __future__ import annotations

import numpy as np
import pytest
import torch

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.models import Network, load_network, predict_affinities, working_bytes
from connectome.models.engine import Engine, available_engine, load_module, run_tile
from connectome.models.inference import RECENT_BYTES, _recent, _RecentTiles, forget_tiles
from connectome.models.inference import predict as predict_head
from connectome.models.tiles import tiles_of
from tests.models.small_networks import FLAT, class_network_file, random_network

DOMAIN = Box((5, -3, 2), (19, 18, 29))


@pytest.fixture(scope="module", params=["cubic", "flat"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "cubic":
        return random_network(folder)
    return random_network(
        folder, architecture=FLAT, augmentation={"symmetry": "section"}, patch=(1, 6, 4), tile=(3, 6, 8)
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, DOMAIN.shape, np.uint8)


def predict(network: Network, image: np.ndarray, box: Box, domain: Box = DOMAIN) -> np.ndarray:
    read_box = network.image_box(domain, box)
    part = image[read_box.relative_to(domain.start).slices]
    return predict_affinities(network, part, read_box, domain, box)


@pytest.mark.parametrize("block_shape", [(5, 11, 13), (8, 12, 16), (14, 30, 7)])
def test_every_box_gives_the_same_bytes(network: Network, image: np.ndarray, block_shape: tuple[int, int, int]) -> None:
    whole = predict(network, image, DOMAIN)
    assert whole.dtype == np.uint8
    assert whole.std() > 10
    grid = Grid(DOMAIN, block_shape)
    for index in grid.indices():
        box = grid.box_at(index)
        _recent._tiles.clear()
        inside = (slice(None), *box.relative_to(DOMAIN.start).slices)
        np.testing.assert_array_equal(predict(network, image, box), whole[inside])


def test_single_voxels_at_the_corners(network: Network, image: np.ndarray) -> None:
    whole = predict(network, image, DOMAIN)
    for corner in (DOMAIN.start, tuple(n - 1 for n in DOMAIN.stop), (12, 9, 15)):
        box = Box(corner, tuple(n + 1 for n in corner))
        inside = (slice(None), *box.relative_to(DOMAIN.start).slices)
        np.testing.assert_array_equal(predict(network, image, box), whole[inside])


def test_tiles_equal_the_network_on_the_whole_image(network: Network, image: np.ndarray) -> None:
    # In double precision, one pass over the reflected whole: at most the last grey level may differ.
    halo, stride = network.halo, network.architecture.stride
    extra = [-n % s for n, s in zip(DOMAIN.shape, stride, strict=True)]
    margins = [(low, high + more) for low, high, more in zip(halo.low, halo.high, extra, strict=True)]
    padded = torch.from_numpy(np.pad(image, margins, mode="reflect").astype(np.float64))
    module = load_module(network, Engine("cpu", "float32"))
    normalisation = network.manifest.normalisation
    with torch.inference_mode():
        normalised = (padded - normalisation.mean) / normalisation.standard_deviation
        probability = torch.sigmoid(module.double()(normalised[None, None]))[0].numpy()
    load_module.cache_clear()
    expected = probability[(slice(None), *Box.of_shape(DOMAIN.shape).slices)] * 255
    exact = available_engine().precision == "float32"
    difference = np.abs(predict(network, image, DOMAIN) - expected)
    assert difference.max() <= (0.51 if exact else 16)
    assert difference.mean() < (0.3 if exact else 1.5)


def test_both_precisions_are_close(network: Network, image: np.ndarray) -> None:
    box = Box.of_shape(network.architecture.input_shape(network.architecture.stride))
    tile = np.ascontiguousarray(np.resize(image, box.shape))
    exact = run_tile(network, Engine("cpu", "float32"), tile).astype(int)
    rounded = run_tile(network, Engine("cpu", "bfloat16"), tile).astype(int)
    assert np.abs(exact - rounded).max() <= 24


def test_a_volume_smaller_than_the_halo(network: Network) -> None:
    domain = Box.of_shape((2, 1, 3))
    image = np.array([[[10, 200, 90]], [[0, 255, 30]]], np.uint8)
    whole = predict(network, image, domain, domain)
    assert whole.shape == (3, 2, 1, 3)
    one = Box((1, 0, 2), (2, 1, 3))
    np.testing.assert_array_equal(predict(network, image, one, domain), whole[:, 1:, :, 2:])


def test_recent_tiles_change_nothing_and_stay_bounded(network: Network, image: np.ndarray) -> None:
    _recent._tiles.clear()
    first = predict(network, image, DOMAIN)
    assert len(_recent._tiles) > 1
    np.testing.assert_array_equal(predict(network, image, DOMAIN), first)
    other = 255 - image
    assert not np.array_equal(predict(network, other, DOMAIN), first)
    recent = _RecentTiles()
    for key in range(5):
        recent.put(bytes([key]), np.zeros(RECENT_BYTES // 3, np.uint8))
    assert recent.get(b"\x01") is None
    assert recent.get(b"\x04") is not None


def test_blank_tiles_run_no_network_and_are_the_same_from_every_box(
    network: Network, image: np.ndarray, monkeypatch
) -> None:
    """A tile whose image has one grey value, halo included; one other voxel in the halo makes it a tile like others."""
    domain = Box.of_shape((40, 50, 60))
    halo, tile = network.halo, network.tile
    blank = np.full(domain.shape, 77, np.uint8)
    calls = []
    monkeypatch.setattr("connectome.models.engine.run_tile", lambda *a, **k: calls.append(a) or run_tile(*a, **k))
    forget_tiles()
    assert not predict_affinities(network, blank, domain, domain, domain).any()
    assert calls == []
    blank[tuple(n + low - 1 for n, low in zip(tile, halo.high, strict=True))] = 200
    whole = predict_affinities(network, blank, domain, domain, domain)
    n_seen = sum(
        tile.grow(halo).contains(Box((place := tuple(np.argwhere(blank != 77)[0])), tuple(n + 1 for n in place)))
        for tile in tiles_of(domain, domain, network.tile, network.tile_step)
    )
    assert 0 < len(calls) <= n_seen < len(list(tiles_of(domain, domain, network.tile, network.tile_step)))
    for box in (Box((3, 5, 7), (33, 44, 60)), Box.of_shape((9, 13, 17))):
        forget_tiles()
        part = predict_affinities(network, blank, domain, domain, box)
        np.testing.assert_array_equal(part, whole[(slice(None), *box.slices)])


def test_threads_of_the_caller_change_nothing(network: Network, image: np.ndarray) -> None:
    once = predict(network, image, DOMAIN)
    _recent._tiles.clear()
    torch.set_num_threads(2)
    np.testing.assert_array_equal(predict(network, image, DOMAIN), once)
    assert torch.get_num_threads() == 1


def test_mirrored_tiles_average_what_each_mirror_predicts(network: Network) -> None:
    stride = network.architecture.stride
    shape = network.architecture.input_shape(tuple(2 * n for n in stride))
    tile = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    engine = Engine("cpu", "float32")
    total = np.zeros((3, *(2 * n for n in stride)))
    count = np.zeros_like(total)
    for flips in np.ndindex(2, 2, 2):
        turn = tuple(slice(None, None, -1 if flipped else 1) for flipped in flips)
        predicted = run_tile(network, engine, np.ascontiguousarray(tile[turn]))
        for channel in range(3):
            # Place by place: the pair (i - 1, i) is (n - 1 - i, n - i) in the mirror.
            for place in np.ndindex(*total.shape[1:]):
                source = [n - 1 - p if f else p for p, n, f in zip(place, total.shape[1:], flips, strict=True)]
                source[channel] += flips[channel]
                if source[channel] < total.shape[1 + channel]:
                    total[(channel, *place)] += predicted[(channel, *source)]
                    count[(channel, *place)] += 1
    difference = np.abs(run_tile(network, engine, tile, mirrored=True) - total / count)
    assert difference.max() <= 1.01


def test_mirrored_prediction_is_the_same_from_every_box(network: Network, image: np.ndarray) -> None:
    whole = predict_affinities(network, image, DOMAIN, DOMAIN, DOMAIN, mirrored=True)
    box = Box((9, 2, 6), (16, 13, 21))
    inside = (slice(None), *box.relative_to(DOMAIN.start).slices)
    part = predict_affinities(network, image, DOMAIN, DOMAIN, box, mirrored=True)
    np.testing.assert_array_equal(part, whole[inside])
    assert not np.array_equal(whole, predict(network, image, DOMAIN))


def test_wrong_boxes_and_images_are_refused(network: Network, image: np.ndarray) -> None:
    box = Box(DOMAIN.start, tuple(n + 1 for n in DOMAIN.start))
    with pytest.raises(InputError, match="must be uint8, got uint16"):
        predict_affinities(network, image.astype(np.uint16), DOMAIN, DOMAIN, box)
    with pytest.raises(ValueError, match="leaves the volume"):
        predict_affinities(network, image, DOMAIN, DOMAIN, DOMAIN.shift((1, 0, 0)))
    with pytest.raises(ValueError, match="read image_box"):
        predict_affinities(network, image[:1, :1, :1], box, DOMAIN, box)
    with pytest.raises(ValueError, match="read that box"):
        predict_affinities(network, image[1:], DOMAIN, DOMAIN, box)


def test_working_memory_counts_the_tile(network: Network) -> None:
    assert working_bytes(network) > RECENT_BYTES


def test_a_head_that_is_not_there_is_refused() -> None:
    network = load_network("fib25")
    box = Box.of_shape((4, 4, 4))
    with pytest.raises(InputError, match=r"'fib25' predicts no classes, but affinities: choose another network"):
        predict_head(network, np.zeros((4, 4, 4), np.uint8), box, box, box, head="classes")


def test_classes_are_mirrored_back_in_place() -> None:
    network = load_network(class_network_file())
    image = np.random.default_rng(0).integers(0, 256, network.architecture.input_shape((8, 8, 8))).astype(np.uint8)
    engine = Engine("cpu", "float32")
    plain = run_tile(network, engine, image, mirrored=True)
    turned = run_tile(network, engine, np.ascontiguousarray(image[:, ::-1]), mirrored=True)
    assert np.abs(turned[3:, :, ::-1].astype(int) - plain[3:]).max() <= 1
