"""The table of cases: what is computed, on which inputs. Each family of cases is one module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cases import images, labels, mutex, segmentation
from benchmarks.inputs import ADVERSARIAL, REAL, Volume
from benchmarks.measure import Contest


@dataclass(frozen=True)
class Case:
    """One thing that is computed, and on what.

    Attributes
    ----------
    name : str
        As in the records.
    prepare : callable
        Makes everything that is not timed and returns what is.
    inputs : tuple of str
        Names of sources.
    """

    name: str
    prepare: Callable[[Volume], Contest]
    inputs: tuple[str, ...]


SATURATED = (*REAL, "pinky40-256-saturated")
MIDDLE = ("fib25", "pinky40-256")
WITHOUT_HUB = tuple(name for name in ADVERSARIAL if not name.startswith("hub"))
SMALL = ("fib25", "pinky40-128")

CASES: tuple[Case, ...] = (
    Case("fragments", segmentation.fragments, (*SATURATED, "pinky40-128", *ADVERSARIAL)),
    Case("fragments_distance", segmentation.fragments_distance, (*SMALL, "pinky40-256", *ADVERSARIAL)),
    Case("edges", segmentation.edges, (*MIDDLE, *ADVERSARIAL)),
    Case("agglomeration_mean", segmentation.agglomeration_mean, MIDDLE),
    Case("fragments_edges_mean", segmentation.fragments_edges_mean, (*SATURATED, *ADVERSARIAL)),
    Case("fragments_edges_mean_affinity", segmentation.fragments_edges_mean_affinity, (*SATURATED, *ADVERSARIAL)),
    Case("median_linkage", segmentation.median_linkage, (*MIDDLE, *ADVERSARIAL)),
    Case("median_linkage_affinity", segmentation.median_linkage_affinity, (*MIDDLE, *ADVERSARIAL)),
    Case("maximum_linkage_affinity", segmentation.maximum_linkage_affinity, (*MIDDLE, *ADVERSARIAL)),
    Case("mutex_watershed", mutex.mutex_watershed, ("pinky40-128", "pinky40-256", *WITHOUT_HUB)),
    Case("relabel_pyramid", labels.relabel_pyramid, (*REAL, *ADVERSARIAL)),
    Case("contacts_fragments", labels.contacts_of_fragments, (*MIDDLE, *ADVERSARIAL)),
    Case("contacts", labels.contacts_of_segments, REAL),
    Case("contingency", labels.contingency, MIDDLE),
    Case("distance_transform", images.distance_transform, MIDDLE),
    Case("downsample_mean", images.downsample_mean, MIDDLE),
)
