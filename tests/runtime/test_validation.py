"""Judging networks by the project's own segmentation."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from connectome.geometry import Box
from connectome.kernels.contingency import contingency
from connectome.metrics import agreement
from connectome.models import load_network
from connectome.models.sources import load_source
from connectome.runtime import validation
from connectome.runtime.training import train_network
from connectome.runtime.validation import FillingJudge, SegmentationJudge
from connectome.web.quantities import triple
from connectome.web.training import write_training_page
from tests.conftest import ROOT
from tests.models.filling_networks import DELTAS, FIELD, hand_made_file
from tests.models.small_networks import class_network_file, toy, with_classes
from tests.tissue import noisy_affinities

THRESHOLDS = [0.3, 0.6, 0.9]


@pytest.fixture
def judge(tmp_path):
    sources = [
        {"image": "toy#image", "labels": "toy#labels", "classes": {"wall": "toy#wall"}},
        {"image": "toy#image", "labels": "toy#labels", "classes": {"spot": "toy#spot"}},
    ]
    config = with_classes(
        tmp_path,
        validation=sources,
        scoring={"thresholds": THRESHOLDS, "boundary_threshold": 0.9, "cap_nm": 40},
        classes={"spot": {"score": "objects"}, "wall": {"score": "boundary"}},
    )
    volumes = [load_source(each, config, lambda name: toy()[name], None) for each in config.validation]
    return SegmentationJudge(config, volumes)


def perfect(network, image, read_box, domain, box, head, **_):
    """What a network would give that knows the truth."""
    if head == "classes":
        return np.stack([255 * toy()["toy#wall"], 255 * toy()["toy#spot"]]).astype(np.uint8)
    labels = np.pad(toy()["toy#labels"], [(1, 0)] * 3, mode="edge")
    inner = labels[1:, 1:, 1:]
    below = (labels[:-1, 1:, 1:], labels[1:, :-1, 1:], labels[1:, 1:, :-1])
    return np.stack([255 * (inner == each) for each in below]).astype(np.uint8)


def test_perfect_classes_have_perfect_scores(judge, monkeypatch):
    monkeypatch.setattr(validation, "predict", perfect)
    verdict = judge(Path(class_network_file()))
    for name in ("wall_overlap", "wall_boundary", "wall_overlap_at_half", "spot_overlap", "spot_objects"):
        assert verdict.figures[name] == pytest.approx(1)
    assert set(judge.pictures) >= {"image", "affinities", "segmentation", "truth", "class_wall", "truth_spot"}


def test_the_score_is_that_of_the_segmentation_it_names(judge, monkeypatch):
    """The best of all thresholds, each as one would measure it on the whole segmentation."""
    affinities = noisy_affinities(judge.volumes[0].shape)[0]
    cuts, truth = judge._cut(affinities), judge.volumes[0].own_labels.astype(np.uint64)
    scores = {each: agreement(*contingency(truth, cuts.segmentation(each))) for each in THRESHOLDS}
    monkeypatch.setattr(
        validation, "predict", lambda *a, head, **_: affinities if head == "affinities" else perfect(*a, head=head)
    )
    verdict = judge(Path(class_network_file()))
    best = min(scores, key=lambda threshold: scores[threshold].voi)
    assert verdict.figures["threshold"] == best
    assert verdict.objective == pytest.approx(scores[best].voi)
    assert len({score.voi for score in scores.values()}) > 1


def test_an_untrained_network_is_judged_and_its_page_written(tmp_path, monkeypatch):
    """From the YAML file to the page, with validation, over a resumed run."""
    for name, array in toy().items():
        np.save(tmp_path / f"{name.split('#')[1]}.npy", array)
    config = with_classes(tmp_path / "out", steps=2).model_dump(mode="json")
    text = yaml.safe_dump(config).replace("toy#", f"{tmp_path}/").replace("\n", "\n")
    for name in ("image", "labels", "wall", "spot"):
        text = text.replace(f"{tmp_path}/{name}", f"{tmp_path}/{name}.npy")
    content = yaml.safe_load(text)
    content["validation"] = content["sources"][:1]
    content["scoring"] = {"every": 1, "thresholds": THRESHOLDS}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    states = []
    with (tmp_path / "log").open("w") as log:
        manifest = train_network(str(path), [], Console(file=log), lambda s: states.append(write_training_page(s)))
    assert states == [str(Path(config["folder"]) / "small.html")] * 2
    page = Path(states[0]).read_text()
    for word in ("small", "Loss", "Validation by segmentation", "Scores", "wall, probability", "affinities along z"):
        assert word in page
    assert page.count("<image") == 10
    assert "<script" not in page
    assert "best" in (tmp_path / "log").read_text()
    assert load_network(str(manifest)).manifest.training.figures["validated_step"] in (1, 2)


def test_a_flood_filling_network_is_judged_and_its_page_written(tmp_path):
    """From the YAML file to the page: the network is filled with as the stage would."""
    settings = ["folder=" + str(tmp_path), "minutes=null", "steps=2", "depth=1", "channels=2", "batch=1"]
    settings += ["field_of_view=[5,5,5]", "deltas=[2,2,2]", "patch=[9,9,9]", "scoring.every=1"]
    content = yaml.safe_load((ROOT / "workflows" / "train" / "flood_filling_phantom.yaml").read_text())
    for part, seed in (("sources", 101), ("validation", 105)):
        content[part] = [{"phantom_seed": seed, "box": "0:24,0:24,0:24"}]
    (tmp_path / "filling.yaml").write_text(yaml.safe_dump(content))
    pages = []
    with (tmp_path / "log").open("w") as log:
        watch = lambda state: pages.append(write_training_page(state))  # noqa: E731
        path = train_network(str(tmp_path / "filling.yaml"), settings, Console(file=log), watch)
    page = Path(pages[-1]).read_text()
    for word in ("Field of view", triple((5, 5, 5)), "Validation by segmentation", "segmentation", "truth"):
        assert word in page
    figures = yaml.safe_load(path.read_text())["training"]["figures"]
    assert figures["validated_step"] == 2
    assert {"voi_split", "voi_merge", "filled_share", "validation_loss"} <= set(figures)


def test_a_perfect_filling_has_no_variation_of_information(monkeypatch, tmp_path):
    config = with_classes(tmp_path)
    volume = load_source(config.sources[0], config, lambda name: toy()[name], None)
    path = tmp_path / "filling.yaml"
    settings = {"weights": hand_made_file(), "field_of_view": list(FIELD), "deltas": list(DELTAS)}
    path.write_text(yaml.safe_dump({"flood_filling": settings}))
    monkeypatch.setattr(validation, "flood_fill", lambda *_: (toy()["toy#labels"].astype(np.int32), None))
    judge = FillingJudge([volume])
    assert judge(path).figures == {"voi_split": 0, "voi_merge": 0, "filled_share": 1}
    assert set(judge.pictures) == {"image", "segmentation", "truth"}
    assert judge.pictures["image"].ndim == 2


def test_volumes_count_by_their_voxels():
    rng = np.random.default_rng(0)
    truths = [rng.integers(1, 4, (2, n, 5)).astype(np.uint64) for n in (4, 9)]
    found = [rng.integers(1, 4, each.shape).astype(np.uint64) for each in truths]
    together = agreement(
        *contingency(
            np.concatenate([truths[0], truths[1] + 10], axis=1), np.concatenate([found[0], found[1] + 10], axis=1)
        )
    )
    split, merge = validation._over_volumes([contingency(*each) for each in zip(truths, found, strict=True)])
    assert (split, merge) == (pytest.approx(together.voi_split), pytest.approx(together.voi_merge))
    assert Box.of_shape(truths[0].shape).n_voxels == truths[0].size
