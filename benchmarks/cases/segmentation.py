"""Fragments, edges and agglomeration, beside waterz and scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import pipeline
from benchmarks.inputs import Labels, UnavailableError, Volume
from benchmarks.measure import Contest, Peer
from benchmarks.pipeline import THRESHOLD
from connectome.kernels.linkage import LinkageName

EDGE_BYTES = 32
WATERZ_MEDIAN = "OneMinus<HistogramQuantileAffinity<RegionGraphType, 50, ScoreValue, 256, {}>>"
WATERZ_MAXIMUM = "OneMinus<MaxAffinity<RegionGraphType, ScoreValue>>"
GIVEN = "waterz gets fragments: the watershed is not in its time."


def waterz(volume: Volume, threshold: float, **options: Any) -> Labels:
    """Run waterz on float32 affinities that were made before, to the end."""
    import waterz as peer

    (segments,) = peer.agglomerate(volume.affinities_float, [threshold], **options)
    labels: Labels = segments
    return labels


def fragments(volume: Volume) -> Contest:
    """Affinities to fragments, the affinity flavour."""

    @cache
    def own_fragments() -> Labels:
        return waterz(volume, 0.0)

    def whole() -> Labels:
        return waterz(volume, 0.0)

    peers = [
        Peer("waterz", "waterz", whole, note="waterz at threshold 0 includes its region graph."),
        Peer(
            "waterz-watershed",
            "waterz",
            whole,
            less=lambda: waterz(volume, 0.0, fragments=own_fragments()),
            note="Difference of two calls: the whole, and with its own fragments given; memory is of the whole.",
        ),
    ]
    if volume.name == "pinky40-128":
        height = 255 - (volume.affinities.astype(np.uint16).sum(0) // 3).astype(np.uint8)
        peers.append(Peer("skimage", "scikit-image", lambda: _skimage_watershed(height), note=SKIMAGE))
    return Contest(
        ours=lambda: pipeline.fragments(volume.affinities)[0],
        peers=peers,
        voxels=volume.voxels,
        bytes_moved=volume.affinities.nbytes + 8 * volume.voxels,
        count=lambda labels: (n_labels(labels), None),
    )


SKIMAGE = "scikit-image floods one height, the mean of the three affinities, from its own local minima."


def _skimage_watershed(height: npt.NDArray[np.uint8]) -> Labels:
    from skimage.segmentation import watershed

    labels: Labels = watershed(height)
    return labels


def fragments_distance(volume: Volume) -> Contest:
    """Affinities to fragments, the distance flavour."""
    parameters = pipeline.distance_parameters(voxel_size(volume))
    mask = volume.affinities.astype(np.uint16).sum(0) >= parameters.boundary_sum
    peers = []
    if volume.name in ("fib25", "pinky40-128"):
        peers.append(
            Peer("skimage", "scikit-image", lambda: _distance_watershed(mask, parameters.voxel_size), note=FLOODED)
        )
    return Contest(
        ours=lambda: pipeline.distance_fragments(volume.affinities, parameters.voxel_size)[0],
        peers=peers,
        voxels=volume.voxels,
        bytes_moved=volume.affinities.nbytes + 8 * volume.voxels,
        count=lambda labels: (n_labels(labels), None),
        note="Boundary at 2/3, distances capped at 100 nm, smoothed once; thick sections by themselves.",
    )


FLOODED = "edt.edt of a mask made before, skimage.feature.peak_local_max, skimage.segmentation.watershed."


def _distance_watershed(mask: npt.NDArray[np.bool_], size: tuple[int, int, int]) -> Labels:
    import edt
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    distance = edt.edt(mask, anisotropy=size, black_border=False, parallel=1)
    markers = np.zeros(mask.shape, np.int32)
    peaks = peak_local_max(distance, min_distance=2, labels=mask, exclude_border=False)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: Labels = watershed(-distance, markers, mask=mask)
    return labels


def edges(volume: Volume) -> Contest:
    """Fragments and affinities to the graph of contacts."""
    labels, face_links = pipeline.fragments(volume.affinities)
    given = dense_fragments(volume)
    counted = pipeline.graph(volume.affinities, labels, face_links)
    n_edges = pipeline.n_pairs(counted.edges)
    return Contest(
        ours=lambda: pipeline.graph(volume.affinities, labels, face_links),
        peers=[
            Peer(
                "waterz",
                "waterz",
                lambda: waterz(volume, 0.0, fragments=given),
                note="waterz with our fragments given, at threshold 0: sizes, region graph, scores in its queue.",
            )
        ],
        voxels=volume.voxels,
        bytes_moved=volume.affinities.nbytes + labels.nbytes + EDGE_BYTES * n_edges,
        count=lambda graph: (graph.clusters["id"].size, pipeline.n_pairs(graph.edges)),
    )


def agglomeration_mean(volume: Volume) -> Contest:
    """Cluster the graph of contacts, mean linkage."""
    labels, face_links = pipeline.fragments(volume.affinities)
    contacts = pipeline.graph(volume.affinities, labels, face_links)
    counts = contacts.clusters["id"].size, pipeline.n_pairs(contacts.edges)
    given = dense_fragments(volume)
    return Contest(
        ours=lambda: pipeline.agglomerate(volume.box, contacts),
        peers=[
            Peer(
                "waterz",
                "waterz",
                lambda: waterz(volume, 0.5, fragments=given.copy()),
                less=lambda: waterz(volume, 0.0, fragments=given.copy()),
                note=f"{GIVEN} Difference of its calls at thresholds 0.5 and 0; it includes writing its segments.",
            )
        ],
        voxels=volume.voxels,
        bytes_moved=EDGE_BYTES * counts[1] + 16 * counts[0],
        count=lambda _: counts,
        note="Ours is the graph alone, without relabelling.",
    )


def fragments_edges_mean(volume: Volume) -> Contest:
    """Affinities to segments, mean linkage: the whole call from distance fragments, as the workflows make it."""
    return _whole_call_by_distance(volume, "mean", _waterz_mean(volume))


def fragments_edges_mean_affinity(volume: Volume) -> Contest:
    """Affinities to segments, mean linkage: the whole call from affinity fragments, the peer's own kind."""
    return _whole_call(volume, "mean", _waterz_mean(volume))


def median_linkage(volume: Volume) -> Contest:
    """Affinities to segments, median linkage, from distance fragments."""
    return _whole_call_by_distance(volume, "quantile", _waterz_median(volume))


def median_linkage_affinity(volume: Volume) -> Contest:
    """Affinities to segments, median linkage, from affinity fragments."""
    return _whole_call(volume, "quantile", _waterz_median(volume))


def maximum_linkage_affinity(volume: Volume) -> Contest:
    """Affinities to segments, maximum linkage, from affinity fragments."""
    return _whole_call(volume, "maximum", [], note="waterz ships no compiled maximum: no peer.")


def _waterz_mean(volume: Volume) -> list[Peer]:
    return [Peer("waterz", "waterz", lambda: waterz(volume, THRESHOLD))]


def _waterz_median(volume: Volume) -> list[Peer]:
    return [
        Peer(
            "waterz",
            "waterz",
            lambda: waterz(volume, THRESHOLD, scoring_function=WATERZ_MEDIAN.format("false")),
            note="waterz's median of all affinities of a contact, 256 bins.",
        ),
        Peer(
            "waterz-default",
            "waterz",
            lambda: waterz(volume, THRESHOLD, scoring_function=WATERZ_MEDIAN.format("true")),
            note="waterz's median with its default, a first contact counting as its maximum alone; 256 bins.",
        ),
    ]


def _whole_call(volume: Volume, linkage: LinkageName, peers: list[Peer], note: str = "") -> Contest:
    return _contest(volume, lambda: pipeline.segment(volume.affinities, linkage), peers, f"{AFFINITY_FLAVOUR} {note}")


def _whole_call_by_distance(volume: Volume, linkage: LinkageName, peers: list[Peer]) -> Contest:
    size = voxel_size(volume)
    return _contest(
        volume, lambda: pipeline.segment_by_distance(volume.affinities, size, linkage), peers, DISTANCE_FLAVOUR
    )


AFFINITY_FLAVOUR = "Affinities to segments at threshold 0.5, whole volume; ours cuts fragments by affinity."
DISTANCE_FLAVOUR = (
    "Affinities to segments at threshold 0.5, whole volume; ours cuts fragments by distance, waterz by affinity. "
    f"Ours joins segments below {pipeline.SMALL_SIZE} voxels from {pipeline.SMALL_THRESHOLD} on."
)


def _contest(volume: Volume, ours: Callable[[], pipeline.Segmented], peers: list[Peer], note: str) -> Contest:
    return Contest(
        ours=ours,
        peers=peers,
        voxels=volume.voxels,
        bytes_moved=volume.affinities.nbytes + 8 * volume.voxels,
        count=lambda result: (result.fragments, result.edges),
        score=(lambda result: score(volume, result)) if volume.truth is not None else None,
        note=note.strip(),
    )


def score(volume: Volume, result: Any) -> dict[str, float]:
    """Score a segmentation where there is truth: variation of information in bits, adapted Rand error."""
    from connectome.kernels.contingency import contingency
    from connectome.metrics.agreement import agreement

    if volume.truth is None:
        raise UnavailableError(f"{volume.name} has no truth")
    segments = result.segments if isinstance(result, pipeline.Segmented) else result
    part = np.ascontiguousarray(segments[volume.truth.box.slices])
    scores = agreement(*contingency(volume.truth.labels, part))
    return {
        "voi": scores.voi,
        "voi_split": scores.voi_split,
        "voi_merge": scores.voi_merge,
        "adapted_rand_error": scores.adapted_rand_error,
    }


def dense_fragments(volume: Volume) -> Labels:
    """Our fragments as 1, 2, ...: waterz allocates as many regions as the greatest label."""
    flat = volume.fragments.ravel()
    numbers = np.cumsum(_is_first_voxel(flat), dtype=np.uint64)
    dense = np.where(flat == 0, np.uint64(0), numbers[np.maximum(flat, 1) - np.uint64(1)])
    return dense.reshape(volume.fragments.shape)


def _is_first_voxel(labels: Labels) -> npt.NDArray[np.bool_]:
    is_first: npt.NDArray[np.bool_] = labels.ravel() == np.arange(1, labels.size + 1, dtype=np.uint64)
    return is_first


def n_labels(labels: Labels) -> int:
    """Count fragments; each is named by its first voxel."""
    return int(np.count_nonzero(_is_first_voxel(labels)))


def voxel_size(volume: Volume) -> tuple[int, int, int]:
    """Voxel size in nm; that of FIB-25 for what is made up."""
    return (40, 16, 16) if volume.name.startswith("pinky40") else (10, 10, 10)
