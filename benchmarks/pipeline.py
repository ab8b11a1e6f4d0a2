"""Our kernels in a row, as the benchmarks time them: affinities to fragments, edges, clusters, segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box
from connectome.kernels.edges import BlockGraph, block_graph
from connectome.kernels.fragments import FaceLinks, fragments_by_affinity
from connectome.kernels.linkage import SCORE_ONE, Linkage, LinkageName
from connectome.kernels.merge_tree import Node, reduce_node
from connectome.kernels.relabel import relabel

Labels = npt.NDArray[np.uint64]
THRESHOLD = 0.5
BINS = 16


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


def graph(
    affinities: npt.NDArray[np.uint8], labels: Labels, face_links: FaceLinks, linkage: LinkageName = "mean"
) -> BlockGraph:
    """Measure the contacts of the whole volume, as a linkage wants them."""
    box = whole(affinities)
    return block_graph(labels, affinities, face_links, box, box, box, linkage=linkage, bins=BINS)


def agglomerate(box: Box, contacts: BlockGraph, linkage: LinkageName = "mean") -> Node:
    """Agglomerate the whole graph at 0.5; the quantile is the median."""
    score = round(THRESHOLD * 255 * SCORE_ONE)
    return reduce_node(box, [(box, contacts)], box, Linkage(score, score, name=linkage))


def segment(affinities: npt.NDArray[np.uint8], linkage: LinkageName = "mean") -> Segmented:
    """Segment the whole volume."""
    labels, face_links = fragments(affinities)
    contacts = graph(affinities, labels, face_links, linkage)
    node = agglomerate(whole(affinities), contacts, linkage)
    names = node.names
    return Segmented(relabel(labels, names["old"], names["new"]), contacts.clusters["id"].size, n_pairs(contacts.edges))


def n_pairs(edges: dict[str, npt.NDArray[Any]]) -> int:
    """Count pairs; a quantile's table has several rows for one."""
    a, b = edges["a"], edges["b"]
    return int(a.size and 1 + np.count_nonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])))
