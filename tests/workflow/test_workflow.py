import pytest

from connectome.errors import InputError
from connectome.stages import registry
from connectome.workflow.workflow import Workflow, apply_setting
from connectome.workflow.yaml_file import parse_yaml
from tests.tissue import workflow_content


def content():
    return workflow_content("runs/x", "affinities.zarr")


def test_round_trip():
    workflow = Workflow.parse(content())
    assert Workflow.parse(workflow.plain()) == workflow
    assert [stage.name for stage in workflow.stages] == ["fragments", "edges", "agglomeration", "segmentation"]


def test_given_affinities_replace_the_stage_that_would_make_them():
    values = content()
    values["stages"].insert(0, {"stage": "affinities", "network": "fib25"})
    assert "affinities" not in [stage.name for stage in Workflow.parse(values).running_stages]


def change(**changes):
    values = content()
    for key, value in changes.items():
        values[key] = value
    return values


def without(stage):
    values = content()
    values["stages"] = [entry for entry in values["stages"] if entry["stage"] != stage]
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (change(gird={}), "unknown key 'gird' .did you mean 'grid'"),
        (change(grid={"blok": [1, 2, 3]}), "unknown key 'grid.blok' .did you mean 'block'"),
        (change(grid={"block": [0, 4, 4]}), "three positive numbers"),
        (change(stages=[{"stage": "fragmets"}]), "no stage 'fragmets' .did you mean 'fragments'"),
        (change(stages=[{"stage": "fragments", "lo": 3}]), "stage fragments: unknown key 'lo'.*known are"),
        (change(stages=[{"stage": "fragments", "low": 300}]), "stage fragments: low is 300: input should be less"),
        (change(stages=[]), "stages"),
        (change(stages=[{"stage": ["edges"]}]), "is written `- stage: name` .* got {'stage': ..edges"),
        (change(stages=[{"stage": {"edges": 1}}]), "written `- stage: name`"),
        (change(stages="fragments"), "a list of stages is wanted"),
        (change(dataset={"url": "x"}), "stage fragments reads 'affinities', which nobody writes: set dataset.affin"),
        (without("edges"), "stage agglomeration reads 'clusters', which nobody writes: add stage edges"),
        (change(stages=content()["stages"] * 2), "stage fragments writes 'fragments', but so does stage fragments"),
        ({"grid": {}}, "'dataset' is missing"),
    ],
)
def test_bad_workflows_get_one_sentence(values, message):
    with pytest.raises(InputError, match=message) as caught:
        Workflow.parse(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("grid.block=64,64,64", [64, 64, 64]),
        ("grid.block=(50, 70, 90)", [50, 70, 90]),
        ("grid.block=[8, 8, 8]", [8, 8, 8]),
        ("dataset.image=a#b", "a#b"),
        ("dataset.voxel_size_nm=30,4.5,4.5", [30, 4.5, 4.5]),
        ("agglomeration.threshold=0.25", 0.25),
        ("attempts=5", 5),
    ],
)
def test_settings(setting, value):
    values = content()
    apply_setting(values, setting)
    keys = setting.partition("=")[0].split(".")
    place = next((s for s in values["stages"] if s["stage"] == keys[0]), values)
    for key in keys[1:] if place is not values else keys:
        place = place[key]
    assert place == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("grid.block", "key.sub=value, got 'grid.block'"),
        ("fragments.low", "key.sub=value, got 'fragments.low'"),
        ("fragmints.low=3", "no section and no stage of this workflow .did you mean 'fragments'"),
        ("grid.block.deep=3", "holds a value, not keys"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(InputError, match=message):
        apply_setting(content(), setting)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        Workflow.load(str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [1, 2\n  b: }")
    with pytest.raises(InputError, match=r"is not YAML: line 2, column 4: expected ',' or '\]', but got ':'$"):
        Workflow.load(str(tmp_path / "broken.yaml"))
    (tmp_path / "twice.yaml").write_text("grid: {}\ndataset:\n  url: a\n  url: b")
    with pytest.raises(InputError, match="is not YAML: line 4 has the key 'url' again: keep one"):
        Workflow.load(str(tmp_path / "twice.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"description: f\xfcr")
    with pytest.raises(InputError, match="is not UTF-8"):
        Workflow.load(str(tmp_path / "latin.yaml"))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="holds no keys"):
        Workflow.load(str(tmp_path / "list.yaml"))


def test_a_key_that_replaces_a_merged_one_is_not_twice():
    text = "a: {deep: &x {<<: &b {k: 1}, k: 2}}\nb: {<<: *x, k: 3}"
    assert parse_yaml(text) == {"a": {"deep": {"k": 2}}, "b": {"k": 3}}


def test_every_parameter_is_described():
    """Of our stages: other tests of the same process may have added theirs."""
    ours = [stage for stage in registry().values() if stage.__module__.startswith("connectome.")]
    assert ours
    for stage in ours:
        for name, field in stage.model_fields.items():
            assert name == "stage" or field.description, f"{stage.__name__}.{name} has no docstring"
