"""Networks in exchange formats: the same bytes as run natively, from every box; what breaks the promise is refused."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.models import predict_affinities
from connectome.models.engine import available_engine, run_tile
from connectome.models.inference import forget_tiles, working_bytes
from connectome.models.network_check import check_network
from tests.models.foreign_networks import FORMATS, POOLED, Pooled, Valid, foreign, manifested, module
from tests.models.test_network_check import call

DOMAIN = Box((3, -2, 4), (23, 22, 30))
KINDS = {"valid": (Valid, {}), "pooled": (Pooled, POOLED)}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, DOMAIN.shape, np.uint8)


def predict(network, image, box, **options):
    read_box = network.image_box(DOMAIN, box)
    part = image[read_box.relative_to(DOMAIN.start).slices]
    return predict_affinities(network, part, read_box, DOMAIN, box, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_the_network_run_natively(form, kind, image, tmp_path):
    """Tile by tile in float32; in ONNX another library adds up, so the last grey level may differ."""
    native, settings = module(KINDS[kind][0]), KINDS[kind][1]
    network = foreign(tmp_path, native, form, **settings)
    tile = np.ascontiguousarray(np.resize(image, network.input_shape))
    with torch.inference_mode():
        values = torch.sigmoid(native((torch.from_numpy(tile).float()[None, None] - 128) / 64))[0].numpy()
    low, n = network.manifest.crop_low, network.tile
    expected = np.round(values[(slice(None), *(slice(a, a + b) for a, b in zip(low, n, strict=True)))] * 255)
    found = run_tile(network, available_engine(), tile)
    assert found.std() > 10
    assert np.abs(found - expected).max() <= (form == "onnx")
    assert (found != expected).mean() < 0.01


@pytest.mark.parametrize("form", FORMATS)
def test_every_box_gives_the_same_bytes(form, image, tmp_path):
    network = foreign(tmp_path, module(Pooled), form, **POOLED)
    whole = predict(network, image, DOMAIN)
    grid = Grid(DOMAIN, (7, 11, 13))
    for index in grid.indices():
        forget_tiles()
        box = grid.box_at(index)
        inside = (slice(None), *box.relative_to(DOMAIN.start).slices)
        np.testing.assert_array_equal(predict(network, image, box), whole[inside])


def test_tiles_are_the_network_on_the_whole_image(image, tmp_path):
    """Without seams: cut to fit an image of another size, the same network gives the same affinities."""
    native = module()
    network = foreign(tmp_path, native)
    padded = np.pad(image, [(3, 2), (2, 2), (2, 2)], mode="reflect")
    with torch.inference_mode():
        values = torch.sigmoid(native((torch.from_numpy(padded).float()[None, None] - 128) / 64))[0].numpy()
    assert np.abs(predict(network, image, DOMAIN) - values * 255).max() < 0.51


def test_channels_in_another_order_and_to_the_next_voxel(image, tmp_path):
    """An affinity to the voxel after is the one that the voxel after has to this one."""
    native = module(n_channels=5)
    inner = {"input_tile": [15, 17, 18], "halo_low": [4, 3, 2], "crop_low": [1, 1, 0]}
    offsets = [[0, 0, -1], [0, 1, 0], [0, 0, -9], [1, 0, 0], [0, -9, 0]]
    channels = [{"name": f"{offset}", "offset": offset} for offset in offsets]
    network = foreign(tmp_path, native, channels=channels, **inner)
    tile = np.ascontiguousarray(np.resize(image, network.input_shape))
    with torch.inference_mode():
        values = torch.sigmoid(native((torch.from_numpy(tile).float()[None, None] - 128) / 64))[0].numpy() * 255
    expected = np.stack([values[3, :-1, 1:], values[1, 1:, :-1], values[0, 1:, 1:]])
    np.testing.assert_array_equal(run_tile(network, available_engine(), tile), np.round(expected))


def test_probabilities_and_one_of_several_outputs(image, tmp_path):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module()

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            values = self.inner(image)
            return values, torch.sigmoid(values)

    logits, both = foreign(tmp_path / "logits", module()), Two().eval()
    network = foreign(tmp_path, both, outputs="probabilities", output=1)
    tile = np.ascontiguousarray(np.resize(image, network.input_shape))
    engine = available_engine()
    np.testing.assert_array_equal(run_tile(network, engine, tile), run_tile(logits, engine, tile))
    assert network.fingerprint != logits.fingerprint
    with pytest.raises(InputError, match="which lie from 0 to 1: set outputs: logits"):
        run_tile(foreign(tmp_path, both, outputs="probabilities"), engine, tile)
    with pytest.raises(InputError, match="there is no output 2: give 0 to 1"):
        run_tile(foreign(tmp_path, both, output=2), engine, tile)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_manifest_passes(form, kind, tmp_path):
    proofs = check_network(foreign(tmp_path, module(KINDS[kind][0]), form, **KINDS[kind][1]))
    assert [proof.is_met for proof in proofs] == [True] * 4
    measured = {"valid": ("6 x 5 x 5", "3 x 2 x 2 before, 2 x 2 x 2 after")}
    if kind in measured:
        assert (proofs[0].measured, proofs[1].measured) == measured[kind]


SHORT = {key: [3, 4, 4] for key in ("halo_low", "halo_high", "crop_low", "crop_high")}
WRONG = {
    "a halo that padding reaches over": {**POOLED, **SHORT},
    "an output that lies a stride aside": {**POOLED, "crop_low": [3, 4, 6], "crop_high": [3, 8, 6]},
    "a stride that is none": {**POOLED, "stride": [1, 1, 1]},
}


@pytest.mark.parametrize("settings", WRONG.values(), ids=WRONG)
def test_claims_that_do_not_hold_are_found(settings, tmp_path):
    assert not all(proof.is_met for proof in check_network(foreign(tmp_path, module(Pooled), **settings)))


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d(4), nn.GroupNorm(2, 4)])
def test_statistics_over_the_tile_are_refused_with_a_sentence(norm, tmp_path, monkeypatch, capsys):
    network = foreign(tmp_path, module(norm=norm))
    assert call(monkeypatch, "check", network.path.with_suffix(".yaml")) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "refused: network 'foreign' depends on image beyond the halo that it claims" in printed
    assert "instance, group or layer normalisation" in printed


def test_normalisation_by_constants_is_no_statistic(tmp_path):
    assert all(proof.is_met for proof in check_network(foreign(tmp_path, module(norm=nn.BatchNorm3d(4)))))


def test_mirrored_tiles_lie_on_themselves_or_are_refused(image, tmp_path):
    pooled = foreign(tmp_path / "pooled", module(Pooled), **POOLED)
    pooled.check_mirrors()
    assert predict(pooled, image, DOMAIN, mirrored=True).std() > 10
    with pytest.raises(InputError, match="leave mirrored out"):
        foreign(tmp_path, module()).check_mirrors()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": [{"name": "z", "offset": [-1, 0, 0]}]}, "affinities along all axes are wanted"),
        ({"input_tile": [6, 16, 18]}, "give a larger input_tile"),
        ({"stride": [1, 5, 1]}, "no multiple of the stride 5"),
        ({"halo_low": [-1, 2, 2]}, "of 0 or more are wanted"),
        ({"stride": [0, 1, 1]}, "three positive numbers"),
        ({"format": "pickle"}, "Input should be 'torchscript', 'torch_export' or 'onnx'"),
        ({"colour": "red"}, "Extra inputs"),
        ({"file_sha256": "0" * 64}, "is not the file that foreign.yaml describes"),
        ({"file": "elsewhere.pt"}, "put elsewhere.pt beside"),
    ],
)
def test_manifests_that_cannot_be_are_refused(changes, message, tmp_path):
    (tmp_path / "foreign.pt").write_bytes(b"anything")
    with pytest.raises(InputError, match=message):
        manifested(tmp_path / "foreign.pt", **changes)


def test_an_affinity_to_the_next_voxel_needs_one_more(tmp_path):
    (tmp_path / "foreign.pt").write_bytes(b"anything")
    offsets = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    with pytest.raises(InputError, match="crop_low must be at least"):
        manifested(tmp_path / "foreign.pt", channels=[{"name": "a", "offset": offset} for offset in offsets])


def test_a_file_that_says_something_else_than_its_manifest(image, tmp_path):
    network = foreign(tmp_path, module(n_channels=4))
    tile = np.ascontiguousarray(np.resize(image, network.input_shape))
    with pytest.raises(InputError, match="correct channels, halo or crop"):
        run_tile(network, available_engine(), tile)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize("form", FORMATS)
def test_a_pickle_is_not_read(form, image, tmp_path):
    """What torch.save writes is refused, whatever its name, and nothing in it is run."""
    if form == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for name, content in {"saved": _saved(Evil()), "pickled": pickle.dumps(Evil())}.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content)
        network = manifested(path, form)
        with pytest.raises(InputError, match=r"is no .* file that this version reads|only Python's pickle can read"):
            run_tile(network, available_engine(), np.zeros(network.input_shape, np.uint8))


def _saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "record", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0", "data/weights/model.pt"]
)
def test_an_export_that_hides_a_pickle_is_refused(record, image, tmp_path):
    network = foreign(tmp_path, module(), "torch_export")
    hidden = tmp_path / "hidden.pt2"
    with zipfile.ZipFile(network.path) as source, zipfile.ZipFile(hidden, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if "opaque" in record and name.endswith("model_constants_config.json"):
                entry = '"x": {"path_name": "opaque_obj_0", "is_param": false, "use_pickle": true, "tensor_meta": null}'
                content = f'{{"config": {{{entry}}}}}'.encode()
            if not name.endswith(record):
                target.writestr(name, content)
        target.writestr(f"{name.partition('/')[0]}/{record}", _saved(Evil()))
    with pytest.raises(InputError, match="that could run any code: export the network without custom objects"):
        run_tile(manifested(hidden, "torch_export"), available_engine(), np.zeros(network.input_shape, np.uint8))


def test_a_plan_counts_its_memory_and_needs_no_file_loaded(tmp_path):
    assert working_bytes(foreign(tmp_path, module())) > 100_000_000


def test_onnxruntime_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "foreign.onnx").write_bytes(b"anything")
    network = manifested(tmp_path / "foreign.onnx", "onnx")
    with pytest.raises(InputError, match=r"pip install 'connectome\[onnx\]'"):
        run_tile(network, available_engine(), np.zeros(network.input_shape, np.uint8))
