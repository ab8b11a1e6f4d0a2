"""Our kernels in a row, as the benchmarks time them: affinities to fragments, edges, clusters, segments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Triple
from connectome.kernels.distance_fragments import DistanceParameters, fragments_by_distance
from connectome.kernels.edges import BlockGraph, block_graph
from connectome.kernels.fragments import FaceLinks, fragments_by_affinity
from connectome.kernels.linkage import SCORE_ONE, Linkage, LinkageName
from connectome.kernels.merge_tree import Node, reduce_node
from connectome.kernels.relabel import relabel

Labels = npt.NDArray[np.uint64]
THRESHOLD = 0.5
BINS = 16
SMALL_SIZE, SMALL_THRESHOLD = 300, 0.25
"""Segments of distance fragments with fewer voxels join the best neighbour already at the lower threshold."""


@dataclass(frozen=True)
class Segmented:
    """Segments and how many fragments and edges they were made of."""

    segments: Labels
    fragments: int
    edges: int


def whole(affinities: npt.NDArray[np.uint8]) -> Box:
    """Return the box of a volume that is one block."""
    z, y, x = affinities.shape[1:]
    return Box((0, 0, 0), (z, y, x))


def fragments(affinities: npt.NDArray[np.uint8]) -> tuple[Labels, FaceLinks]:
    """Cut the whole volume as waterz's defaults do: below 0.0001 nothing links, above 0.9999 all does."""
    box = whole(affinities)
    return fragments_by_affinity(affinities, box, box, box, low=0, high=255)


def distance_parameters(voxel_size: Triple) -> DistanceParameters:
    """One choice for all inputs: boundary below two thirds, distances to 100 nm, smoothed once.

    Sections are cut by themselves where they are more than twice as thick as voxels are wide.
    """
    is_anisotropic = voxel_size[0] > 2 * voxel_size[2]
    return DistanceParameters(
        boundary_sum=510, voxel_size=voxel_size, cap=100, n_smoothing=1, per_section=is_anisotropic
    )


def distance_fragments(affinities: npt.NDArray[np.uint8], voxel_size: Triple) -> tuple[Labels, FaceLinks]:
    """Cut the whole volume by the distance to the nearest boundary; voxels in nm."""
    box = whole(affinities)
    return fragments_by_distance(affinities, box, box, box, distance_parameters(voxel_size))


def graph(
    affinities: npt.NDArray[np.uint8], labels: Labels, face_links: FaceLinks, linkage: LinkageName = "mean"
) -> BlockGraph:
    """Measure the contacts of the whole volume, as a linkage wants them."""
    box = whole(affinities)
    return block_graph(labels, affinities, face_links, box, box, box, linkage=linkage, bins=BINS)


def agglomerate(box: Box, contacts: BlockGraph, linkage: LinkageName = "mean", *, with_size_rule: bool = False) -> Node:
    """Agglomerate the whole graph at 0.5; the quantile is the median."""
    return _reduce(box, [contacts], linkage, with_size_rule=with_size_rule)


def _reduce(box: Box, graphs: list[BlockGraph], linkage: LinkageName, *, with_size_rule: bool) -> Node:
    """Agglomerate the graphs, and let them go."""
    score, small_score = _score(THRESHOLD), _score(SMALL_THRESHOLD)
    rule = Linkage(score, small_score, SMALL_SIZE) if with_size_rule else Linkage(score, score)
    given_away = ((box, graphs.pop()) for _ in range(len(graphs)))
    return reduce_node(box, given_away, box, replace(rule, name=linkage))


def _score(affinity: float) -> int:
    return round(affinity * 255 * SCORE_ONE)


def segment(affinities: npt.NDArray[np.uint8], linkage: LinkageName = "mean") -> Segmented:
    """Segment the whole volume from fragments cut by affinity."""
    return _segment_fragments(affinities, *fragments(affinities), linkage, with_size_rule=False)


def segment_by_distance(
    affinities: npt.NDArray[np.uint8], voxel_size: Triple, linkage: LinkageName = "mean"
) -> Segmented:
    """Segment the whole volume from fragments cut by distance, as the example workflows do; voxels in nm."""
    labels, face_links = distance_fragments(affinities, voxel_size)
    return _segment_fragments(affinities, labels, face_links, linkage, with_size_rule=True)


def _segment_fragments(
    affinities: npt.NDArray[np.uint8],
    labels: Labels,
    face_links: FaceLinks,
    linkage: LinkageName,
    *,
    with_size_rule: bool,
) -> Segmented:
    contacts = [graph(affinities, labels, face_links, linkage)]
    counts = contacts[0].clusters["id"].size, n_pairs(contacts[0].edges)
    names = _reduce(whole(affinities), contacts, linkage, with_size_rule=with_size_rule).names
    return Segmented(relabel(labels, names["old"], names["new"], in_place=True), *counts)


def n_pairs(edges: dict[str, npt.NDArray[Any]]) -> int:
    """Count pairs; a quantile's table has several rows for one."""
    a, b = edges["a"], edges["b"]
    return int(a.size and 1 + np.count_nonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])))
