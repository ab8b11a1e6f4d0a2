"""Judges a network by segmenting volumes that it did not learn from, with the project's own stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from connectome.geometry import Block, Box
from connectome.kernels.contingency import Counts, Labels, add_tables, contingency
from connectome.kernels.merge_tree import apply_names
from connectome.kernels.relabel import relabel
from connectome.metrics import agreement
from connectome.metrics.classes import boundary_rand, intersection_over_union, object_agreement
from connectome.models import Network, Training, load_network
from connectome.models.architecture import HeadName
from connectome.models.flood_filling import flood_fill
from connectome.models.inference import predict
from connectome.models.samples import LabelledImage
from connectome.models.targets import UNKNOWN
from connectome.models.training_config import ClassHead
from connectome.models.training_run import TrainingRun
from connectome.models.validation import Verdict
from connectome.stages.agglomeration import Agglomeration
from connectome.stages.edges import Edges
from connectome.stages.flood_filling import FloodFilling
from connectome.stages.fragments import Fragments

Arrays = dict[str, npt.NDArray[Any]]
Names = Mapping[str, npt.NDArray[Any]]
HALF = 0.5


@dataclass(frozen=True)
class Cuts:
    """A volume segmented at many thresholds: its fragments, and their names at each."""

    fragments: npt.NDArray[np.uint64]
    names: dict[float, Names]

    def segmentation(self, threshold: float) -> npt.NDArray[np.uint64]:
        """Return the segmentation (z, y, x) at one of the thresholds."""
        names = self.names[threshold]
        return relabel(self.fragments, names["old"].astype(np.uint64), names["new"].astype(np.uint64))


class SegmentationJudge:
    """Gives verdicts on networks; `pictures` shows the middle section of the first volume as the last one saw it.

    Parameters
    ----------
    config : Training
        Heads, voxel size, and `scoring`.
    volumes : sequence of LabelledImage
        What to segment.
    """

    def __init__(self, config: Training, volumes: Sequence[LabelledImage]) -> None:
        if config.scoring is None:
            raise ValueError("the configuration does not ask for scoring")
        self.config, self.scoring, self.volumes = config, config.scoring, volumes
        self.pictures: Arrays = {}

    def __call__(self, released: Path) -> Verdict:
        """Segment all volumes and score them."""
        network = load_network(str(released))
        self.pictures = {"image": _middle(self.volumes[0].own_image)}
        objectives: list[float] = []
        figures: dict[str, float] = {}
        if self.config.architecture.affinities:
            scores = self._segmentation_scores(network)
            objectives.append(scores["voi_split"] + scores["voi_merge"])
            figures |= scores
        if self.config.architecture.classes:
            scores, losses = self._class_scores(network)
            # Variation of information counts in bits: where there is one, classes do not choose the weights.
            objectives += [] if objectives else [float(np.mean(losses))]
            figures |= scores
        return Verdict(objectives[0], figures)

    def _segmentation_scores(self, network: Network) -> dict[str, float]:
        """Return variation of information in bits at the best threshold, over all volumes."""
        tables: dict[float, list[tuple[Labels, Counts]]] = {each: [] for each in self.scoring.thresholds}
        drawn: Cuts | None = None
        for volume in self.volumes:
            affinities = predict_volume(network, volume, "affinities")
            cuts = self._cut(affinities)
            if drawn is None:
                drawn = cuts
                self.pictures |= {"affinities": _middle(affinities), "truth": _middle(volume.own_labels)}
            pairs, counts = contingency(volume.own_labels.astype(np.uint64), cuts.fragments)
            for threshold, names in cuts.names.items():
                named = np.stack([pairs[:, 0], apply_names(dict(names), pairs[:, 1])], axis=1)
                tables[threshold].append(add_tables([(named, counts)]))
        scores = {threshold: _over_volumes(each) for threshold, each in tables.items()}
        best = min(scores, key=lambda threshold: sum(scores[threshold]))
        assert drawn is not None
        self.pictures["segmentation"] = _middle(drawn.segmentation(best))
        return {"voi_split": scores[best][0], "voi_merge": scores[best][1], "threshold": best}

    def _cut(self, affinities: npt.NDArray[np.uint8]) -> Cuts:
        """Segment one volume at all thresholds, as one block."""
        domain = Box.of_shape(affinities.shape[1:])
        block = Block(domain, domain, self.config.voxel_size_nm)
        options = self.scoring.model_dump(include={"boundary_threshold", "cap_nm", "per_section"})
        tables: dict[str, Any] = Fragments(**options).process(block, affinities=affinities)
        fragments = tables.pop("fragments")
        tables |= Edges().process(block, fragments=fragments, affinities=affinities, face_links=tables["face_links"])
        names: dict[float, Names] = {}
        for threshold in self.scoring.thresholds:
            node = Agglomeration(threshold=threshold).reduce(domain, [(domain, tables)], domain)
            names[threshold] = node["node_names"]
        return Cuts(fragments, names)

    def _class_scores(self, network: Network) -> tuple[dict[str, float], list[float]]:
        """Return the scores of all classes, and how far each is from perfect at its best threshold."""
        probabilities = [predict_volume(network, volume, "classes") for volume in self.volumes]
        figures: dict[str, float] = {}
        losses = []
        for number, name in enumerate(self.config.architecture.classes):
            self.pictures[f"class_{name}"] = _middle(probabilities[0][number])
            self.pictures[f"truth_{name}"] = _middle(self.volumes[0].masks[number])
            known = [n for n, volume in enumerate(self.volumes) if (volume.masks[number] != UNKNOWN).any()]
            if not known:
                continue
            thresholds = sorted({*self.scoring.thresholds, HALF})
            found = [(self.volumes[n].masks[number], probabilities[n][number]) for n in known]
            scores = {each: class_scores(self.config.class_head(name), found, each) for each in thresholds}
            best = {key: max(scores[each][key] for each in thresholds) for key in scores[HALF]}
            figures |= {f"{name}_{key}": value for key, value in best.items()}
            figures |= {f"{name}_{key}_at_half": value for key, value in scores[HALF].items()}
            losses.append(1 - best[self.config.class_head(name).score])
        return figures, losses


class FillingJudge:
    """Gives verdicts on flood-filling networks; `pictures` as of `SegmentationJudge`.

    Parameters
    ----------
    volumes : sequence of LabelledImage
        What to fill, each as one subvolume. Where no field of view can be centred nothing is scored.
    """

    def __init__(self, volumes: Sequence[LabelledImage]) -> None:
        self.volumes = volumes
        self.pictures: Arrays = {}

    def __call__(self, released: Path) -> Verdict:
        """Fill all volumes and score them: variation of information in bits, unfilled voxels as one object."""
        stage = FloodFilling(**yaml.safe_load(released.read_text())["flood_filling"])
        tables, filled = [], []
        for number, volume in enumerate(self.volumes):
            labels, _ = flood_fill(stage.network, np.ascontiguousarray(volume.own_image), stage.options)
            found, truth = labels.astype(np.uint64), volume.own_labels.astype(np.uint64)
            inside = tuple(slice(r, n - r) for r, n in zip(stage.network.reach, labels.shape, strict=True))
            tables.append(contingency(truth[inside], found[inside]))
            filled.append(found[inside] > 0)
            if number == 0:
                self.pictures = {"image": volume.own_image, "segmentation": found, "truth": truth}
        split, merge = _over_volumes(tables)
        share = float(np.mean(np.concatenate([each.ravel() for each in filled])))
        self.pictures = {name: _middle(array) for name, array in self.pictures.items()}
        return Verdict(split + merge, {"voi_split": split, "voi_merge": merge, "filled_share": share})


def judge_of(config: TrainingRun, volumes: Sequence[LabelledImage]) -> SegmentationJudge | FillingJudge:
    """Return what judges the networks that a configuration trains."""
    return SegmentationJudge(config, volumes) if isinstance(config, Training) else FillingJudge(volumes)


def predict_volume(
    network: Network, volume: LabelledImage, head: HeadName, *, mirrored: bool = False
) -> npt.NDArray[np.uint8]:
    """Return a head's values (c, z, y, x) of a whole volume, uint8."""
    domain = Box.of_shape(volume.shape)
    image = np.ascontiguousarray(volume.own_image)
    return predict(network, image, domain, domain, domain, head=head, mirrored=mirrored)


def class_scores(
    head: ClassHead, found: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]], threshold: float
) -> dict[str, float]:
    """Score one class by its overlap, and by its own score: the mean over volumes.

    Parameters
    ----------
    head
        What it is judged by.
    found
        Mask (z, y, x; 0, 1 or `UNKNOWN`) and probability (z, y, x; uint8) of each volume.
    threshold
        Voxels of at least this probability are inside.
    """
    rows = []
    for mask, probability in found:
        truth, inside = mask == 1, (probability >= 255 * threshold) & (mask != UNKNOWN)
        row = {"overlap": intersection_over_union(truth, inside)}
        if head.score == "objects":
            row["objects"] = object_agreement(truth, inside, min_voxels=head.min_voxels).f1
        elif head.score == "boundary":
            row["boundary"] = boundary_rand(truth, inside)
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _over_volumes(tables: Sequence[tuple[Labels, Counts]]) -> tuple[float, float]:
    """Return split and merge of all volumes together: objects of different ones are different, so means by voxels."""
    each = [agreement(*table) for table in tables]
    n_voxels = max(1, sum(one.n_voxels for one in each))
    split, merge = (
        sum(s * one.n_voxels for s, one in zip(part, each, strict=True)) / n_voxels
        for part in ([one.voi_split for one in each], [one.voi_merge for one in each])
    )
    return split, merge


def _middle(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the middle section of an array (..., z, y, x)."""
    return np.ascontiguousarray(array[..., array.shape[-3] // 2, :, :])
