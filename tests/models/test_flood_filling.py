"""Flood filling: the published weights, the search against its plain twin, and what a batch may change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import peak_local_max

from connectome.errors import InputError
from connectome.models.engine import Engine
from connectome.models.flood_filling import FillOptions, flood_fill, logit
from connectome.models.flood_filling_module import predict
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.models.object_growth import best_moves
from connectome.models.seeds import MIN_DISTANCE, _peaks, boundary_peaks
from tests.conftest import ROOT
from tests.models.filling_networks import DELTAS, FIELD, hand_made, random_weights, save
from tests.naive import flood_filling as naive

DATA = ROOT.parent / "shared" / "data"
SMALL = FillOptions(min_segment_size=1)
FLOAT32 = Engine("cpu", "float32")


def blobs(wall):
    """Two bright boxes side by side in the dark, `wall` voxels apart."""
    image = np.full((12, 12, 24), 50, np.uint8)
    image[2:10, 2:10, 2:11] = image[2:10, 2:10, 11 + wall : 22] = 200
    return image


def test_bright_blob_is_filled_and_a_boundary_stops_it():
    image = blobs(wall=2)
    labels, statistics = flood_fill(hand_made(), image, SMALL, seeds=[(5, 5, 5), (6, 6, 15)])
    assert set(np.unique(labels[:, :, :11])) == {0, 1}
    assert set(np.unique(labels[:, :, 13:])) == {0, 2}
    assert (image[labels > 0] == 200).all()
    assert (labels > 0).sum() > 0.9 * (image == 200).sum(), "corners apart, where no field of view is centred"
    assert (statistics.n_objects, statistics.n_voxels) == (2, (labels > 0).sum())


def test_without_a_boundary_there_is_one_object():
    labels, statistics = flood_fill(hand_made(), blobs(wall=0), SMALL, seeds=[(5, 5, 5), (6, 6, 15)])
    assert labels.max() == 1
    assert statistics.n_inside == 1


def test_every_seed_has_one_end():
    image = blobs(wall=2)
    image[:, :, 13:22] = 50
    image[5, 5, 20] = 200
    seeds = [(0, 5, 5), (5, 5, 5), (5, 5, 6), (5, 5, 11), (5, 5, 16), (5, 5, 20)]
    _, statistics = flood_fill(hand_made(), image, FillOptions(min_segment_size=100), seeds=seeds)
    assert statistics.n_border == statistics.n_inside == statistics.n_near == 1
    assert (statistics.n_weak, statistics.n_small, statistics.n_objects) == (1, 1, 1)
    assert statistics.n_seeds_done == statistics.n_seeds == len(seeds)


noise = st.tuples(st.integers(0, 2**32 - 1), st.integers(60, 200), st.integers(1, 12))


@settings(deadline=None, max_examples=30)
@given(noise, st.sampled_from([1, 2, 5]))
def test_search_equals_its_plain_twin(drawn, n_at_once):
    """Objects grown together are those grown alone: fields of view that turn out wrong are evaluated again."""
    seed, mean, smallest = drawn
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (7, 8, 9), np.uint8)
    network = hand_made(mean)
    seeds = [tuple(map(int, place)) for place in random.integers(0, image.shape, (9, 3))]
    options = FillOptions(min_segment_size=smallest, n_at_once=n_at_once)
    labels, statistics = flood_fill(network, image, options, seeds=seeds)
    thresholds = [logit(p) for p in (options.move_threshold, options.segment_threshold, options.padding)]

    def alone(part, logits):
        return network.predict(part[None], logits[None])[0]

    wanted = naive.flood_fill(
        alone, network.normalised(image), seeds, FIELD, DELTAS, *thresholds, logit(options.initial), smallest
    )
    np.testing.assert_array_equal(labels, wanted)
    assert statistics.n_seeds_done == statistics.n_seeds
    assert statistics.n_voxels == (labels > 0).sum()


def test_progress_is_told_and_grows():
    seen = []
    flood_fill(
        hand_made(), blobs(2), SMALL, seeds=[(5, 5, 5), (6, 6, 15)], progress=lambda s: seen.append(s.n_seeds_done)
    )
    assert seen == sorted(seen)
    assert seen[-1] == 2


def test_moves_go_to_the_best_places_of_faces():
    logits = np.zeros((9, 9, 9), np.float32)
    logits[4, 2, 5], logits[6, 3, 4], logits[8, 8, 8] = 3.0, 5.0, 9.0
    assert best_moves(logits, (2, 2, 2), 1.0) == [(5.0, (2, -1, 0)), (3.0, (0, -2, 1))]
    assert best_moves(logits, (0, 2, 2), 1.0) == [(3.0, (0, -2, 1))]


@pytest.mark.parametrize("depth", [1, 3])
def test_stack_equals_its_plain_twin(depth, tmp_path):
    network = FloodFillingNetwork(random_weights(tmp_path / "random.npz", depth, 5), (7, 9, 5), (2, 2, 2))
    images, logits = np.random.default_rng(0).normal(0, 1, (2, 3, 7, 9, 5)).astype(np.float32)
    wanted = [naive.update(network.weights, *pair) for pair in zip(images, logits, strict=True)]
    assert network.depth == depth
    np.testing.assert_allclose(predict(network, images, logits, FLOAT32), wanted, rtol=1e-4, atol=1e-4)


def test_published_weights_give_what_plain_numpy_gives():
    """One field of view of FIB-25: the plain computation takes double precision, the network single."""
    weights, cube = DATA / "ffn_fib25_weights.npz", DATA / "fib25_ts2.npz"
    if not (weights.exists() and cube.exists()):
        pytest.skip(f"the published weights and FIB-25 are not in {DATA}")
    network = FloodFillingNetwork(weights)
    assert (network.depth, network.field_of_view, network.deltas) == (12, (33, 33, 33), (8, 8, 8))
    with np.load(cube) as file:
        image = network.normalised(file["raw"][100:133, 100:133, 100:133])
    logits = np.full(image.shape, logit(0.05), np.float32)
    logits[16, 16, 16] = logit(0.95)
    exact = {name: array.astype(np.float64) for name, array in network.weights.items()}
    wanted = naive.update(exact, image.astype(np.float64), logits.astype(np.float64))
    assert (wanted >= logit(0.9)).sum() > 1000, "a field of view of tissue is not filled"
    np.testing.assert_allclose(predict(network, image[None], logits[None], FLOAT32)[0], wanted, atol=2e-3)


def test_seeds_lie_in_the_middle_of_cells():
    image = np.full((30, 30, 62), 180, np.float32)
    image[:, :, 20:22] = image[:, :, 40:42] = 40
    seeds = boundary_peaks(image)
    assert len(seeds)
    assert np.isin(seeds[:, 2], [30, 31]).all()
    assert [tuple(seed) for seed in seeds] == sorted(map(tuple, seeds))
    assert boundary_peaks(np.zeros((9, 9, 9), np.float32)).shape == (0, 3)


def test_peaks_are_those_of_scikit_image():
    height = np.random.default_rng(1).random((20, 24, 28))
    wanted = peak_local_max(height, min_distance=MIN_DISTANCE, threshold_abs=0, threshold_rel=0)
    assert list(map(tuple, _peaks(height))) == sorted(map(tuple, wanted))


def test_fingerprint_follows_weights_and_settings(tmp_path):
    network = hand_made()
    other = FloodFillingNetwork(random_weights(tmp_path / "random.npz", 1, 3), FIELD, DELTAS, 128.0, 1.0)
    assert network.fingerprint == hand_made().fingerprint
    assert len({network.fingerprint, hand_made(100.0).fingerprint, other.fingerprint}) == 3


def test_files_that_are_no_network_are_refused(tmp_path):
    with pytest.raises(InputError, match="are not at"):
        _ = FloodFillingNetwork(tmp_path / "nothing.npz").weights
    np.savez(tmp_path / "other.npz", image=np.zeros(3))
    with pytest.raises(InputError, match="no layer"):
        _ = FloodFillingNetwork(tmp_path / "other.npz").weights
    flat = np.zeros((3, 3, 3, 2, 4))
    save(tmp_path / "wide.npz", {"conv0_a": flat, "conv0_b": flat, "conv_lom": flat})
    with pytest.raises(InputError, match="conv0_b"):
        _ = FloodFillingNetwork(tmp_path / "wide.npz").weights
    with pytest.raises(InputError, match="odd"):
        FloodFillingNetwork(tmp_path / "nothing.npz", (32, 33, 33))
    with pytest.raises(InputError, match="steps"):
        FloodFillingNetwork(tmp_path / "nothing.npz", (33, 33, 33), (8, 8, 17))


def test_images_that_are_no_images_are_refused():
    with pytest.raises(InputError, match="uint8"):
        flood_fill(hand_made(), np.zeros((5, 5, 5), np.float32))


@pytest.mark.parametrize("content", [b"nonsense", b"PK\x03\x04broken", b""])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as weights"):
        FloodFillingNetwork(tmp_path / "weights.npz").weights  # noqa: B018


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "weights.npy", np.zeros(3))
    with pytest.raises(InputError, match="cannot be read as weights"):
        FloodFillingNetwork(tmp_path / "weights.npy").weights  # noqa: B018
