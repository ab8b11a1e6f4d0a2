"""The page of a comparison with truth: scores, curves along thresholds, and the worst errors with pictures."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from connectome.errors import InputError
from connectome.metrics.worst_errors import WorstError
from connectome.runtime.accuracy import Accuracy, Scored
from connectome.runtime.error_spots import Spot
from connectome.store.dataset import Dataset
from connectome.store.layout import VoxelSize
from connectome.store.locations import Location
from connectome.store.sources import open_volume
from connectome.web.error_pictures import error_pictures
from connectome.web.markup import Markup, cell, element, head_cell, join, note, page, row, section, table
from connectome.web.quantities import length, number, triple
from connectome.web.scene import UNKNOWN_SIZE, AnyVolume, dataset_scene
from connectome.web.sweep_chart import Score, sweep_chart
from connectome.workflow.plan import Plan

N_WORST = 8
"""Merges and splits that are shown."""
MOST_PARTS = 4
"""Parts of an error that are named."""
MEANING = {
    "merge": "A segment that covers several true cells. The picture is where its two largest cells touch.",
    "split": "A true cell that is cut into several segments. The picture is where its two largest segments touch.",
}


def write_accuracy(path: Path, segmentation: str, truth: str, found: Accuracy, image: str | None = None) -> Path:
    """Write the page as one file, and return its path.

    Parameters
    ----------
    path : Path
    segmentation, truth : str
        What was compared.
    found : Accuracy
    image : str, optional
        The image's volume; that of the dataset is taken where there is one and none is given.
    """
    notes: list[str] = []
    body = join(
        _head(segmentation, truth, found),
        _tiles(found),
        _sweep_chart(found),
        *_errors(found, _image(segmentation, image, found, notes), notes),
    )
    if path.is_dir():
        raise InputError(f"--page takes a file, {path} is a folder: give a name such as {path}/accuracy.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(f"{segmentation}: accuracy", body), encoding="utf-8")
    return path


def _head(segmentation: str, truth: str, found: Accuracy) -> Markup:
    best, beside = found.scored[found.best], found.beside
    facts: dict[str, str] = {"Segmentation": element("code", segmentation), "Truth": element("code", truth)}
    if best.threshold is not None:
        facts["Threshold"] = f"{best.threshold:g}, which has the least variation of information of those measured"
    facts["Compared"] = f"{best.agreement.n_voxels:,} voxels with truth in box {beside.part}"
    facts["Written"] = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by connectome {version('connectome')}"
    listed = (join(element("dt", key), element("dd", value)) for key, value in facts.items())
    return element("header", element("h1", "Accuracy"), element("dl", *listed, class_="facts"))


def _tiles(found: Accuracy) -> Markup:
    best = found.scored[found.best]
    scores, lengths = best.agreement, best.run_length
    tiles = [
        (f"{scores.voi:.3f}", "bits of VOI"),
        (f"{scores.voi_split:.3f}", "bits of VOI split"),
        (f"{scores.voi_merge:.3f}", "bits of VOI merge"),
        (f"{scores.adapted_rand_error:.3f}", "adapted Rand error"),
    ]
    if lengths is not None:
        tiles.append((length(lengths.expected_nm), f"expected run length, of {length(lengths.total_nm)} in all"))
    return element(
        "div",
        *(element("div", element("b", value), element("span", name), class_="tile") for value, name in tiles),
        class_="tiles",
    )


def _sweep_chart(found: Accuracy) -> Markup | None:
    scored = found.scored
    thresholds = [each.threshold for each in scored if each.threshold is not None]
    if len(thresholds) < 2:
        return None
    voi = [
        Score("VOI split + merge", [each.agreement.voi for each in scored]),
        Score("VOI split", [each.agreement.voi_split for each in scored]),
        Score("VOI merge", [each.agreement.voi_merge for each in scored]),
    ]
    charts = [sweep_chart(thresholds, voi, found.best, "bits")]
    rand = Score("adapted Rand error", [each.agreement.adapted_rand_error for each in scored])
    charts.append(sweep_chart(thresholds, [rand], found.best, "adapted Rand error"))
    lengths = [each.run_length.expected_nm / 1000 for each in scored if each.run_length is not None]
    if lengths:
        charts.append(sweep_chart(thresholds, [Score("expected run length", lengths)], found.best, "µm"))
    return section(
        "Along thresholds", element("div", *map(_figure, charts), class_="multiples"), _table(scored, found.best)
    )


def _figure(chart: Markup) -> Markup:
    return element("figure", chart)


def _table(scored: Sequence[Scored], best: int) -> Markup:
    titles = ["threshold", "VOI split", "VOI merge", "VOI", "adapted Rand error"]
    has_lengths = scored[best].run_length is not None
    rows = []
    for n, each in enumerate(scored):
        scores = each.agreement
        values = [scores.voi_split, scores.voi_merge, scores.voi, scores.adapted_rand_error]
        cells = [cell(f"{value:.4f}") for value in values]
        if each.run_length is not None:
            cells += [cell(length(each.run_length.expected_nm)), cell(f"{each.run_length.n_merged:,}")]
        rows.append(row(head_cell(f"{each.threshold:g}{' (best)' if n == best else ''}"), *cells))
    return table(None, [*titles, *(["expected run length", "merged segments"] if has_lengths else [])], rows)


def _image(segmentation: str, image: str | None, found: Accuracy, notes: list[str]) -> AnyVolume | None:
    """Return the image to show, or say why there is none."""
    volume: AnyVolume | None = None
    try:
        if image is not None:
            volume = open_volume(image)
        else:
            dataset = Dataset(Location.parse(segmentation).container)
            record = dataset.read_record()
            if record is not None:
                layer = dataset_scene(dataset, Plan.from_record(record["plan"])).layer("image")
                volume = None if layer is None else layer.volume
    except OSError as error:
        notes.append(f"The image cannot be opened: {error}")
    if volume is None:
        notes.append("There is no image to show: give --image.")
    elif volume.box.shape != found.beside.whole.shape or volume.n_channels is not None:
        notes.append(f"The image cannot be shown: its shape is {volume.box.shape}, not {found.beside.whole.shape}.")
        return None
    return volume


def _errors(found: Accuracy, image: AnyVolume | None, notes: list[str]) -> list[Markup]:
    size = _voxel_size(found, notes)
    sections = []
    for kind, meaning in MEANING.items():
        shown = [(error, spot) for error, spot in found.worst if error.kind == kind]
        parts = [_error(n, *each, found, image, size) for n, each in enumerate(shown, start=1)]
        lead = meaning if shown else f"There is no {kind}."
        sections.append(section(f"Worst {kind}s", element("p", lead, class_="soft"), *map(note, notes), *parts))
        notes = []
    return sections


def _voxel_size(found: Accuracy, notes: list[str]) -> VoxelSize:
    try:
        return found.beside.voxel_size_nm
    except InputError:
        notes.append("No volume states its voxel size: 1 nm is assumed.")
        return UNKNOWN_SIZE


def _error(n: int, error: WorstError, spot: Spot, found: Accuracy, image: AnyVolume | None, size: VoxelSize) -> Markup:
    scores = found.scored[found.best].agreement
    total = scores.voi_merge if error.kind == "merge" else scores.voi_split
    what, of = ("Segment", "true cells") if error.kind == "merge" else ("True cell", "segments")
    named = ", ".join(
        f"{label if label else 'background'} ({number(voxels)})" for label, voxels in error.parts[:MOST_PARTS]
    )
    rest = len(error.parts) - MOST_PARTS
    place = ", ".join(map(str, spot.voxel))
    nm = triple([round(v * each) for v, each in zip(spot.voxel, size, strict=True)])
    touch = f"they touch over {spot.n_faces:,} faces of voxels there" if spot.n_faces else "they do not touch"
    return element(
        "article",
        element("h3", f"{n}. {what} {error.label} over {len(error.parts):,} {of}: {error.bits:.4f} bits"),
        element(
            "p",
            f"{100 * error.bits / total:.0f} % of VOI {error.kind}. At z, y, x = {place} ({nm} nm); "
            f"{number(error.n_voxels)} voxels: {named}{f' and {rest:,} more' if rest > 0 else ''}; {touch}.",
        ),
        error_pictures(found.beside, image, spot, size),
    )
