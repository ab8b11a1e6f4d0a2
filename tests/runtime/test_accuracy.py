"""Run lengths and worst errors of volumes and cuts: block by block as of the whole."""

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.kernels.contingency import contingency
from connectome.metrics.run_length import run_length
from connectome.metrics.skeletons import find_pieces, join_pieces
from connectome.metrics.worst_errors import worst_errors
from connectome.runtime import error_spots, evaluation, run_lengths
from connectome.runtime.accuracy import measure_accuracy
from connectome.runtime.recut import cut
from connectome.runtime.run import run
from connectome.workflow.workflow import Workflow
from tests.tissue import VOXEL_SIZE_NM, noisy_affinities, workflow_content, write_volume

SHAPE, START = (40, 44, 52), (5, -6, 7)
PART = Box((7, -6, 9), (45, 36, 57))
SPACING_NM = 160.0


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """(URL of a segmentation with errors, of truth, of a mask, and the arrays)."""
    folder = tmp_path_factory.mktemp("accuracy")
    _, truth = noisy_affinities(SHAPE)
    _, small = np.unique(truth, return_inverse=True)
    segments = (small.reshape(SHAPE) // 2 * 3 + np.indices(SHAPE)[2] // 29).astype(np.uint64)
    mask = (np.indices(SHAPE)[1] > 3).astype(np.uint8)
    arrays = {"segments": segments, "truth": truth, "mask": mask}
    offsets = {"segments": START, "truth": (0, 0, 0), "mask": (1, 2, 3)}
    urls = {name: write_volume(folder / name, array, offset=offsets[name]) for name, array in arrays.items()}
    return urls, arrays


def measure(urls, **options):
    settings = {"mask_url": urls["mask"], "box": PART, "spacing_nm": SPACING_NM, "n_worst": 3}
    return measure_accuracy(urls["segments"], urls["truth"], **{**settings, **options})


def test_it_is_what_the_whole_gives(volumes):
    urls, arrays = volumes
    inside = PART.relative_to(START).slices
    truth, segments = (np.ascontiguousarray(arrays[name][inside]) for name in ("truth", "segments"))
    truth = np.where(arrays["mask"][inside] != 0, truth, 0)
    found = measure(urls)
    table = contingency(truth, segments)
    assert [error for error, _ in found.worst] == [*worst_errors(*table, "merge", 3), *worst_errors(*table, "split", 3)]
    skeletons = join_pieces([find_pieces(truth, PART, PART, PART, (8, 8, 8))], VOXEL_SIZE_NM)
    z, y, x = (skeletons.voxels - np.array(PART.start)).T
    wanted = run_length(skeletons, segments[z, y, x])
    assert found.scored[0].run_length == wanted
    assert 0 < wanted.expected_nm < wanted.total_nm
    for error, spot in found.worst:
        here = tuple(np.array(spot.voxel) - np.array(PART.start))
        assert (int(truth[here]), int(segments[here])) in error.pair
        assert _touches(truth, segments, error, here) == (spot.n_faces > 0)


def _touches(truth, segments, error, here):
    """Whether the two first parts meet at a voxel."""
    first, second = (set(pair) for pair in error.pair)
    for axis in range(3):
        for step in (-1, 1):
            near = tuple(n + step * (k == axis) for k, n in enumerate(here))
            if all(0 <= n < size for n, size in zip(near, truth.shape, strict=True)):
                pairs = [{int(truth[place]), int(segments[place])} for place in (here, near)]
                if pairs in ([first, second], [second, first]):
                    return True
    return False


def test_blocks_change_nothing_but_where_one_looks(volumes, monkeypatch):
    """Scores, errors and skeletons are those of the whole; a spot is where a block has most faces."""
    urls, _ = volumes
    whole = measure(urls)
    for module in (evaluation, run_lengths, error_spots):
        monkeypatch.setattr(module, "BLOCK", (16, 24, 24))
    found = measure(urls)
    assert found.scored == whole.scored
    assert [error for error, _ in found.worst] == [error for error, _ in whole.worst]
    assert all(PART.contains(Box(s.voxel, tuple(n + 1 for n in s.voxel))) for _, s in found.worst)
    assert all((a.n_faces > 0) == (b.n_faces > 0) for (_, a), (_, b) in zip(found.worst, whole.worst, strict=True))


def test_a_perfect_segmentation_has_no_errors(volumes):
    urls, _ = volumes
    found = measure_accuracy(urls["truth"], urls["truth"], spacing_nm=SPACING_NM, n_worst=3)
    scored = found.scored[0]
    assert (scored.agreement.voi, found.worst, scored.run_length.n_merged) == (0, (), 0)


def test_cuts_are_scored_as_their_segmentations(tmp_path):
    affinities, truth = noisy_affinities((32, 48, 48))
    url, truth_url = (write_volume(tmp_path / name, a) for name, a in (("a", affinities), ("truth", truth)))
    run(Workflow.parse(workflow_content(tmp_path / "run", url)), runner="serial")
    dataset, thresholds = str(tmp_path / "run"), (0.5, 0.7)
    swept = measure_accuracy(dataset, truth_url, thresholds=thresholds, spacing_nm=SPACING_NM, n_worst=4)
    alone = [
        measure_accuracy(each.dataset.volume_url("segmentation"), truth_url, spacing_nm=SPACING_NM, n_worst=4)
        for each in cut(dataset, thresholds, write=True)
    ]
    for each, one in zip(swept.scored, alone, strict=True):
        assert (each.agreement, each.run_length) == (one.scored[0].agreement, one.scored[0].run_length)
    assert swept.worst == alone[swept.best].worst


def test_cubes_that_are_none_or_too_large_are_refused(volumes):
    for spacing in (0.0, -5.0):
        with pytest.raises(InputError, match="give a length above 0"):
            measure(volumes[0], spacing_nm=spacing)
