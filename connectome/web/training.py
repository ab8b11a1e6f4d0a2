"""The page of a training run: curves of losses and scores, and what the network makes of a section. One file."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from connectome.models import Training
from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.training_run import TrainingRun
from connectome.models.validation import History
from connectome.runtime.training import TrainingState
from connectome.web.curves import Curve, curves
from connectome.web.markup import Markup, cell, element, head_cell, join, note, page, row, section, table
from connectome.web.matching import match_labels
from connectome.web.pictures import figure
from connectome.web.quantities import triple
from connectome.web.sections import draw_plane

Pictures = Mapping[str, npt.NDArray[Any]]
NOT_SCORES = ("step", "objective")


def write_training_page(state: TrainingState) -> str:
    """Write ``NAME.html`` beside the network and return its path; it is replaced in one step."""
    config = state.config
    path = Path(config.folder) / f"{config.network_name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(page(f"{config.network_name}: training report", training_body(state)), encoding="utf-8")
    partial.replace(path)
    return str(path)


def training_body(state: TrainingState) -> Markup:
    """Return the page's content."""
    config, history = state.config, state.history
    return join(
        _head(config, history),
        _tiles(config, history),
        element("div", _losses(history), _objective(config, history), class_="columns"),
        _scores(config, history),
        _pictures(config, state.pictures),
        _parameters(config),
    )


def _head(config: TrainingRun, history: History) -> Markup:
    facts = {
        "Learns from": config.training_data,
        "Licence": config.licence,
        "Voxel size": f"{triple(config.voxel_size_nm)} nm",
        **_network_facts(config),
        "Written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by connectome {version('connectome')}",
    }
    kept = _kept(config, history)
    if kept is not None:
        facts["Kept"] = f"the weights of step {kept['step']:,}"
    listed = (join(element("dt", name), element("dd", value)) for name, value in facts.items())
    return element("header", element("h1", config.network_name), element("dl", *listed, class_="facts"))


def _network_facts(config: TrainingRun) -> dict[str, str]:
    if isinstance(config, FloodFillingTraining):
        return {
            "Network": f"flood-filling, {config.depth} modules of {config.channels} channels",
            "Field of view": f"{triple(config.field_of_view)} voxels (z, y, x)",
        }
    assert isinstance(config, Training)
    return {
        "Receptive field": f"{triple(config.architecture.receptive_field)} voxels (z, y, x)",
        "Heads": ", ".join(config.architecture.channels(auxiliary=True)),
    }


def _kept(config: TrainingRun, history: History) -> dict[str, Any] | None:
    """Return the verdict on the weights that are kept."""
    keeps_last = config.scoring is not None and config.scoring.keep == "last"
    return history.last if keeps_last else history.best


def _tiles(config: TrainingRun, history: History) -> Markup:
    tiles = []
    if history.losses:
        last = history.losses[-1]
        tiles += [
            (f"{last['step']:,}", "steps"),
            (f"{last['minutes']:.1f}", "minutes"),
            (f"{last['loss']:.4f}", "loss"),
        ]
    kept = _kept(config, history) or {}
    tiles += [(f"{value:.3f}", name) for name, value in kept.items() if name not in NOT_SCORES]
    drawn = (element("div", element("b", value), element("span", name), class_="tile") for value, name in tiles)
    return element("div", *drawn, class_="tiles")


def _losses(history: History) -> Markup:
    names = {"loss": "training", "validation_loss": "validation patches"}
    drawn = [
        Curve(title, points)
        for key, title in names.items()
        if (points := [(each["step"], each[key]) for each in history.losses if each[key] is not None])
    ]
    return section("Loss", curves(drawn, "loss") if drawn else note("There is no checkpoint yet."))


def _objective(config: TrainingRun, history: History) -> Markup:
    title = "Validation by segmentation"
    kept = _kept(config, history)
    if kept is None:
        return section(title, note("No validation yet (scoring is not asked for, or its first one is to come)."))
    keys = [key for key in ("voi_split", "voi_merge") if key in kept]
    names = {"objective": "VOI" if keys else "1 - mean score", "voi_split": "split", "voi_merge": "merge"}
    drawn = [
        Curve(names[key], [(each["step"], each[key]) for each in history.verdicts]) for key in ("objective", *keys)
    ]
    unit = "bits" if keys else "distance from perfect"
    words = "The dashed line is the step whose weights are kept. Lower is better."
    return section(title, curves(drawn, unit, marked=kept["step"]), note(words))


def _scores(config: TrainingRun, history: History) -> Markup | None:
    if not history.verdicts:
        return None
    kept = _kept(config, history)
    names = [name for name in history.verdicts[0] if name not in NOT_SCORES]
    rows = [
        row(
            head_cell(f"{each['step']:,}"),
            *(cell(f"{each[name]:.3f}") for name in names),
            class_="overall" if each is kept else None,
        )
        for each in history.verdicts
    ]
    return section("Scores", table("Of each validation; the kept one is bold.", ("step", *names), rows))


def _pictures(config: TrainingRun, pictures: Pictures) -> Markup | None:
    if not pictures:
        return None
    image = draw_plane("image", pictures["image"])
    drawn = [("image", [image])]
    if "segmentation" in pictures:
        truth, found = (pictures[name].astype(np.uint64) for name in ("truth", "segmentation"))
        colours = match_labels([(truth, found)])
        if "affinities" in pictures:
            axes = "affinities along z (red), y (green), x (blue)"
            drawn.append((axes, [draw_plane("channels", pictures["affinities"])]))
        drawn += [
            ("segmentation", [image, draw_plane("labels", found)]),
            ("truth, in the colours of its best segments", [image, draw_plane("labels", truth, colours)]),
        ]
    for name in config.class_names:
        drawn.append((f"{name}, probability", [draw_plane("image", pictures[f"class_{name}"])]))
        drawn.append((f"{name}, truth", [draw_plane("image", _shown_mask(pictures[f"truth_{name}"]))]))
    extent = [n * nm for n, nm in zip(pictures["image"].shape, config.voxel_size_nm[1:], strict=True)]
    figures = [_figure(caption, layers, (extent[0], extent[1])) for caption, layers in drawn]
    rows = [element("div", *figures[n : n + 4], class_="row of-4") for n in range(0, len(figures), 4)]
    words = "The middle section of the first validation volume, by the best weights since the run was last started."
    return section("A section that was not learned", *rows, note(words))


def _shown_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return 0, 1 and unknown as black, white and grey."""
    return np.array([0, 255, 128], np.uint8)[mask]


def _figure(caption: str, layers: Sequence[str], extent_nm: tuple[float, float]) -> Markup:
    """Return layers (data URLs, the lowest first) of one section as a figure; its extent is height and width."""
    height, width = extent_nm
    place = {"width": f"{width:g}", "height": f"{height:g}", "preserveAspectRatio": "none"}
    images = [element("image", href=url, **place) for url in layers]
    return figure(caption, caption, *images, width=width, height=height)


def _parameters(config: TrainingRun) -> Markup:
    text = yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    lead = "Everything that the network depends on; saved as a file, it can be trained again."
    return section("Parameters", element("p", lead, class_="soft"), element("pre", text, tabindex="0"))
