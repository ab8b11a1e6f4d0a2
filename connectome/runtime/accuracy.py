"""How right a segmentation is, at one threshold or many, and which of its errors cost most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectome.geometry import Box
from connectome.kernels.contingency import Counts, Labels
from connectome.kernels.merge_tree import apply_names
from connectome.kernels.relabel import relabel
from connectome.metrics import Agreement, agreement
from connectome.metrics.run_length import RunLength, run_length
from connectome.metrics.worst_errors import WorstError, worst_errors
from connectome.runtime.error_spots import Spot, find_spots
from connectome.runtime.evaluation import Beside, Progress, Rename, compare, open_beside
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.recut import Cut, cut, fragments_url, names_in, renamed
from connectome.runtime.run_lengths import skeletonise


@dataclass(frozen=True)
class Scored:
    """Scores of one segmentation.

    Attributes
    ----------
    threshold : float or None
        Of the cut; None for a volume.
    agreement : Agreement
    run_length : RunLength or None
        Where it was asked for.
    """

    threshold: float | None
    agreement: Agreement
    run_length: RunLength | None


@dataclass(frozen=True)
class Accuracy:
    """What is known of how right segmentations of one volume are.

    Attributes
    ----------
    scored : tuple of Scored
        In ascending order of thresholds.
    best : int
        Which of them has the least variation of information.
    beside : Beside
        That one and truth.
    worst : tuple of (WorstError, Spot)
        Its dearest errors, merges before splits.
    """

    scored: tuple[Scored, ...]
    best: int
    beside: Beside
    worst: tuple[tuple[WorstError, Spot], ...]


def measure_accuracy(
    segmentation_url: str,
    truth_url: str,
    *,
    thresholds: Sequence[float] | None = None,
    mask_url: str | None = None,
    box: Box | None = None,
    spacing_nm: float | None = None,
    n_worst: int = 0,
    display: ProgressDisplay | None = None,
) -> Accuracy:
    """Score a segmentation, or a dataset at thresholds, against truth.

    Parameters
    ----------
    segmentation_url : str
        A volume; a dataset where thresholds are given.
    truth_url, mask_url, box
        As for `evaluate`.
    thresholds : sequence of float, optional
        Cuts of the dataset to score; those that are not there are made.
    spacing_nm : float, optional
        Measure run lengths too, along skeletons of truth with nodes at this distance.
    n_worst : int
        So many merges and splits of the best one are looked for.
    display : ProgressDisplay, optional

    Notes
    -----
    Voxels are read once to count labels, once for skeletons and once to find errors, whatever the number of thresholds.
    """
    cuts: list[Cut] = []
    if thresholds is not None:
        cuts = cut(segmentation_url.removesuffix("#fragments"), thresholds, display=display)
        segmentation_url = fragments_url(cuts[0])

    compared = compare(segmentation_url, truth_url, mask_url=mask_url, box=box, progress=_told(display, "labels"))
    tables = [renamed(each, compared) for each in cuts] or [(compared.pairs, compared.counts)]
    beside = open_beside(segmentation_url, truth_url, mask_url=mask_url, box=box)
    lengths: list[RunLength | None] = [None] * len(tables)
    if spacing_nm is not None:
        skeletons, found = skeletonise(beside, spacing_nm, _told(display, "skeletons"))
        named = [apply_names(names_in(each, beside.part), found) for each in cuts] or [found]
        lengths = [run_length(skeletons, labels) for labels in named]
    made: list[float | None] = [each.threshold for each in cuts] if cuts else [None]
    rows = zip(made, tables, lengths, strict=True)
    scored = tuple(Scored(threshold, agreement(*table), length) for threshold, table, length in rows)
    best = min(range(len(scored)), key=lambda n: scored[n].agreement.voi)
    if cuts:
        beside = replace(beside, rename=_renaming(cuts[best], beside.part))
    errors = _errors(tables[best], n_worst)
    spots = find_spots(beside, errors, _told(display, "errors")) if errors else []
    return Accuracy(scored, best, beside, tuple(zip(errors, spots, strict=True)))


def _told(display: ProgressDisplay | None, name: str) -> Progress | None:
    return None if display is None else lambda done, total: display.moved(f"read for {name}", done, total, "blocks")


def _errors(table: tuple[Labels, Counts], n: int) -> list[WorstError]:
    return [*worst_errors(*table, "merge", n), *worst_errors(*table, "split", n)]


def _renaming(cut: Cut, part: Box) -> Rename:
    names = {name: values.astype(np.uint64) for name, values in names_in(cut, part).items()}
    return lambda labels: relabel(labels, names["old"], names["new"])
