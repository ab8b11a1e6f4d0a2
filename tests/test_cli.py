"""The command line as a user meets it: results on standard output, one sentence for bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from connectome import cli
from connectome.kernels import cache
from tests.tissue import noisy_affinities, workflow_content, write_volume

COMMAND = Path(sys.executable).parent / "connectome"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Folder with affinities, truth, an image and a damaged file."""
    folder = tmp_path_factory.mktemp("volumes")
    affinities, truth = noisy_affinities((30, 40, 50))
    write_volume(folder / "affinities.zarr", affinities)
    last = np.moveaxis(affinities, 0, -1)
    given = {"truth": truth, "small": truth[:10], "raw": affinities[0], "floats": affinities[0] / 255, "last": last}
    np.savez(folder / "volumes.npz", **given)
    write_volume(folder / "stated.zarr", affinities[0], voxel_size_nm=(30, 4, 4))
    (folder / "damaged.tif").write_bytes(b"this is no TIFF")
    return folder


def call(monkeypatch, capsys, *arguments):
    """(exit code, standard output, standard error) of a command."""
    monkeypatch.setattr(sys, "argv", ["connectome", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write_workflow(folder, content):
    file = folder / "workflow.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def image_workflow(folder, image, **changes):
    content = {
        "dataset": {"url": str(folder / "run"), "image": str(image), "voxel_size_nm": [10, 10, 10]},
        "grid": {"block": [32, 32, 32]},
        "stages": [{"stage": "affinities", "network": "fib25"}, *workflow_content("x", "y")["stages"]],
    }
    content["dataset"] |= changes
    return content


def test_run_evaluate_checksum(volumes, tmp_path, monkeypatch, capsys):
    truth = f"{volumes / 'volumes.npz'}#truth"
    file = write_workflow(tmp_path, workflow_content(tmp_path / "run", str(volumes / "affinities.zarr"), truth=truth))
    monkeypatch.setattr(cache, "is_cold", lambda: True)
    code, out, told = call(monkeypatch, capsys, "run", file, "--runner", "serial", "--json")
    assert "connectome warm does it ahead" in told
    assert code == 0
    summary = json.loads(out.splitlines()[-1])
    assert summary["dataset"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    code, out, _ = call(monkeypatch, capsys, "evaluate", tmp_path / "run#segmentation", truth, "--json")
    scores = json.loads(out)
    assert code == 0
    assert scores["voi_split"] == pytest.approx(summary["agreement"]["voi_split"])
    assert {"voi_split", "voi_merge", "adapted_rand_error"} <= set(scores)
    box = ("--box", "0:20,5:40,0:50", "--mask", truth)
    code, out, _ = call(monkeypatch, capsys, "evaluate", truth, truth, *box, "--json")
    assert (code, json.loads(out)["voi"]) == (0, 0.0)
    code, out, _ = call(monkeypatch, capsys, "checksum", tmp_path / "run#segmentation")
    assert code == 0
    assert len(out.strip()) == 64
    assert int(out, 16)


def test_agglomerate_and_evaluate_thresholds(volumes, tmp_path, monkeypatch, capsys):
    truth, folder = f"{volumes / 'volumes.npz'}#truth", tmp_path / "run"
    file = write_workflow(tmp_path, workflow_content(folder, str(volumes / "affinities.zarr")))
    assert call(monkeypatch, capsys, "run", file, "--runner", "serial")[0] == 0
    arguments = ("--threshold", "0.7,0.5", "--runner", "serial")
    code, out, _ = call(monkeypatch, capsys, "agglomerate", folder, *arguments, "--write", "--json")
    cuts = json.loads(out)["cuts"]
    assert (code, [each["threshold"] for each in cuts]) == (0, [0.5, 0.7])
    assert cuts[0]["n_segments"] < cuts[1]["n_segments"]
    code, out, _ = call(monkeypatch, capsys, "agglomerate", folder, *arguments)
    assert code == 0
    assert "cuts/0.7" in out
    code, out, _ = call(
        monkeypatch, capsys, "evaluate", f"{folder}#fragments", truth, "--threshold", "0.5,0.6", "--json"
    )
    scores = json.loads(out)
    assert (code, len(scores["cuts"])) == (0, 2)
    assert scores["best"] in (0.5, 0.6)
    code, out, _ = call(monkeypatch, capsys, "evaluate", f"{folder}/cuts/0.5#segmentation", truth, "--json")
    assert json.loads(out)["voi"] == scores["cuts"][0]["voi"]
    code, out, _ = call(monkeypatch, capsys, "evaluate", folder, truth, "--threshold", "0.5,0.6")
    assert (code, out.count("best")) == (0, 1)


def test_plan(volumes, tmp_path, monkeypatch, capsys):
    file = write_workflow(tmp_path, workflow_content(tmp_path / "run", str(volumes / "affinities.zarr")))
    code, out, _ = call(monkeypatch, capsys, "plan", file, "--shape", "100000,100000,100000", "--json")
    assert code == 0
    assert json.loads(out)["tasks"] > 3 * 3125**3
    code, out, _ = call(monkeypatch, capsys, "plan", file, "--shape", "100000,100000,100000")
    assert code == 0
    assert "set agglomeration.root_level to" in out
    code, out, _ = call(monkeypatch, capsys, "plan", file)
    assert code == 0
    assert "agglomeration.reduce" in out
    assert not (tmp_path / "run").exists()


BAD = {
    "missing volume": (lambda v, t: image_workflow(t, v / "none.zarr"), "there is no"),
    "missing file": (lambda v, t: image_workflow(t, v / "none.npz#raw"), "there is no"),
    "missing array": (lambda v, t: image_workflow(t, f"{v}/volumes.npz#row"), "raw"),
    "damaged volume": (lambda v, t: image_workflow(t, v / "damaged.tif"), "damaged.tif"),
    "wrong dtype": (lambda v, t: image_workflow(t, f"{v}/volumes.npz#floats"), "wanted is uint8"),
    "voxel size": (lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw", voxel_size_nm=[40, 4, 4]), "40"),
    "another voxel size": (lambda v, t: image_workflow(t, v / "stated.zarr"), "has voxels of 30 x 4 x 4 nm"),
    "no voxel size": (lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw", voxel_size_nm=None), "voxel size"),
    "halo": (
        lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw") | {"grid": {"block": [4, 32, 32]}},
        "needs a halo of",
    ),
    "truth of another shape": (
        lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw", truth=f"{v}/volumes.npz#small"),
        "the volume has shape (30, 40, 50)",
    ),
    "image as truth": (
        lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw", truth=f"{v}/volumes.npz#raw"),
        "raw looks like an image",
    ),
    "image of another volume": (
        lambda v, t: workflow_content(t / "run", str(v / "affinities.zarr"), image=f"{v}/volumes.npz#small"),
        "the volume has shape (30, 40, 50): give the image of this volume",
    ),
    "low above high": (
        lambda v, t: (
            workflow_content(t / "run", str(v / "affinities.zarr"))
            | {"stages": [{"stage": "fragments", "flavour": "affinity", "low": 200, "high": 100}]}
        ),
        "low is 200, above high 100",
    ),
    "channels last": (
        lambda v, t: workflow_content(t / "run", f"{v}/volumes.npz#last", voxel_size_nm=[20, 20, 20]),
        "looks like channels last",
    ),
    "unknown key": (lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw", imge="x"), "did you mean 'image'"),
    "unknown network": (
        lambda v, t: (
            image_workflow(t, f"{v}/volumes.npz#raw") | {"stages": [{"stage": "affinities", "network": "none"}]}
        ),
        "network 'none'",
    ),
    "input that nobody writes": (
        lambda v, t: image_workflow(t, f"{v}/volumes.npz#raw") | {"stages": [{"stage": "edges"}]},
        "which nobody writes",
    ),
}


SECRET = "HTTPS://me:hunter2@store.org/x"


@pytest.mark.parametrize("key", ["url", "image", "affinities", "truth", "edges"])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_secret_in_a_workflow_is_told_nowhere(command, key, volumes, tmp_path, monkeypatch, capsys):
    file = write_workflow(tmp_path, workflow_content(tmp_path / "run", str(volumes / "affinities.zarr")))
    code, out, err = call(monkeypatch, capsys, command, file, "--set", f"dataset.{key}={SECRET}")
    assert code == 2
    assert f"dataset.{key}: the https:// URL of store.org has" in err
    assert "hunter2" not in out + err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("checksum", SECRET),
        ("evaluate", SECRET, SECRET),
        ("audit", SECRET),
        ("status", SECRET),
        ("run", "{workflow}", "--runner", SECRET),
        ("run", "{workflow}", "--prices", SECRET),
        ("run", "{workflow}", "--set", f"datset.url={SECRET}"),
        ("run", "{workflow}", "--set", f"dataset={SECRET}"),
    ],
    ids=" ".join,
)
def test_a_secret_in_an_argument_is_told_nowhere(arguments, volumes, tmp_path, monkeypatch, capsys):
    file = write_workflow(tmp_path, workflow_content(tmp_path / "run", str(volumes / "affinities.zarr")))
    code, out, err = call(monkeypatch, capsys, *(each.format(workflow=file) for each in arguments))
    assert code == 2
    assert "hunter2" not in out + err


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_bad_input_gets_one_sentence(command, case, volumes, tmp_path, monkeypatch, capsys):
    make, message = BAD[case]
    file = write_workflow(tmp_path, make(volumes, tmp_path))
    code, out, err = call(monkeypatch, capsys, command, file, *(["--runner", "serial"] if command == "run" else []))
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "there is no file none.yaml"),
        (["run", "{workflow}", "--runner", "slurm"], "wanted is serial, dask or"),
        (["run", "{workflow}", "--runner", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
        (["run", "{workflow}", "--workers", "0"], "at least 1"),
        (["run", "{workflow}", "--set", "grid"], "key.sub=value"),
        (["evaluate", "{volumes}/volumes.npz#truth", "{volumes}/volumes.npz#small"], "shape"),
        (["evaluate", "{volumes}/volumes.npz#truth", "{volumes}/volumes.npz#truth", "--box", "1:2"], "--box"),
        (["checksum", "{volumes}/nothing"], "there is no"),
        (["replay", "{volumes}", "edges:0,0,0"], "there is no dataset"),
        (["agglomerate", "{volumes}", "--threshold", "0.5"], "there is no dataset"),
        (["agglomerate", "{volumes}", "--threshold", "0.5,high"], "--threshold takes affinities from 0 to 1"),
        (["agglomerate", "{volumes}", "--threshold", "0.5,1.5"], "--threshold takes affinities from 0 to 1"),
        (["evaluate", "{volumes}/volumes.npz#truth", "{volumes}/volumes.npz#truth", "--threshold", "1"], "a folder"),
        (["plan", "{workflow}", "--shape", "1,2"], "--shape takes 3 numbers"),
        (["plan", "{workflow}", "--shape", "inf,1,1"], "--shape takes 3 numbers"),
        (["plan", "{workflow}", "--shape", "nan,1,1"], "--shape takes 3 numbers"),
        (["plan", "{workflow}", "--shape", "1e400,1,1"], "--shape takes 3 numbers"),
        (["plan", "{workflow}", "--shape", "1e30,1e30,1e30"], "2^63 - 1 in all, got '1e30"),
        (["plan", "{workflow}", "--shape", "1e7,1e7,1e7"], "2^63 - 1 in all"),
        (["plan", "{workflow}", "--shape", "0,1,1"], "three positive numbers of voxels"),
        (["estimate", "{workflow}", "--shape", "9e18,1,1", "--pool", "cpu=1"], "at most 100,000,000 along an axis"),
        (["estimate", "{workflow}", "--shape", "9,9,9", "--pool", "cpu=x"], "--pool takes a number or limits"),
        (["estimate", "{workflow}", "--shape", "9,9,9", "--pool", "cpu=0"], "--pool takes numbers of 1 and more"),
        (["estimate", "{workflow}", "--shape", "inf,1,1", "--pool", "cpu=1"], "--shape takes 3 numbers"),
        (["ingest", "{volumes}/volumes.npz#raw", "{volumes}/target"], "voxel size"),
    ],
    ids=lambda value: " ".join(value[:1] + value[2:]) if isinstance(value, list) else "",
)
def test_bad_arguments_get_one_sentence(arguments, message, volumes, tmp_path, monkeypatch, capsys):
    file = write_workflow(tmp_path, workflow_content(tmp_path / "run", str(volumes / "affinities.zarr")))
    places = {"workflow": file, "volumes": volumes}
    code, _, err = call(monkeypatch, capsys, *(a.format(**places) for a in arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_full_disk_stops_the_run_with_one_sentence(volumes, tmp_path):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace of its own for a small disk (unshare -rm)")
    disk = tmp_path / "disk"
    disk.mkdir()
    file = write_workflow(tmp_path, workflow_content(disk / "run", str(volumes / "affinities.zarr")))
    script = f"mount -t tmpfs -o size=100k tmpfs {disk} && exec {COMMAND} run {file} --runner serial"
    done = subprocess.run([unshare, "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
