"""A worker that starts with a warm cache compiles nothing, even where it cannot write."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from connectome import cli
from connectome.errors import InputError
from connectome.runtime import warm
from connectome.runtime.warm import PARAMETERS, SEGMENTING, segmentations
from connectome.stages import registry
from tests.conftest import ROOT

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def call(cache, *command):
    """Standard output of a fresh process that keeps compiled kernels in `cache`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


@pytest.fixture(scope="module")
def warm_cache(tmp_path_factory):
    """A folder with what `connectome warm` keeps and nothing else; code beside the sources is copied, not compiled."""
    folder = tmp_path_factory.mktemp("warm")
    assert call(folder, sys.executable, "-m", "tests.runtime.entry_points") == [""], "warm() does not call them"
    return folder


def test_every_choice_of_every_stage_is_run():
    ran = [{stage["stage"]: stage for stage in stages} for stages in segmentations()]
    assert {stages["edges"].get("linkage", "mean") for stages in ran} == {"mean", "maximum", "quantile"}
    assert {stages["fragments"].get("flavour", "distance") for stages in ran} == {"distance", "affinity"}
    assert {stages["fragments"].get("per_section", False) for stages in ran} == {False, True}
    for stages in ran:
        for name in SEGMENTING:
            registry()[name].model_validate(stages[name])
    assert all(any(key in registry()[name].model_fields for name in SEGMENTING) for key in PARAMETERS)


def test_every_stage_is_run():
    """Networks are torch's, which compiles nothing; other tests add stages of their own."""
    ours = {name for name, stage in registry().items() if stage.__module__.startswith("connectome.")}
    by_network = {"affinities", "masked_affinities", "class_probabilities", "flood_filling", "resegmented_edges"}
    assert {"phantom", *SEGMENTING} == ours - by_network - {"reconciliation", "unscored_edges"}


@pytest.mark.timeout(1200)  # where no test before it compiled anything, a minute and a half of a core of one's own
def test_fresh_worker_compiles_nothing(warm_cache, tmp_path):
    """Nor does it write: as in an image with a read-only root, where this user may make one."""
    worker = [sys.executable, "-m", "tests.runtime.fresh_worker", str(tmp_path)]
    enter = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(warm_cache)]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0:
        worker = enter + worker
    kept = sorted(file.name for file in warm_cache.rglob("*"))
    assert kept
    assert call(warm_cache, *worker) == [""]
    assert sorted(file.name for file in warm_cache.rglob("*")) == kept


@pytest.mark.parametrize(("compiled", "code"), [(["f", "g"], 1), ([], 0)])
def test_check_fails_where_an_image_is_not_warm(compiled, code, monkeypatch, capsys):
    monkeypatch.setattr(warm, "warm", lambda: compiled)
    monkeypatch.setattr(sys, "argv", ["connectome", "warm", "--check"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    assert capsys.readouterr().out == f"{len(compiled)} functions compiled\n"


def test_refuses_to_compile_for_nothing(monkeypatch, tmp_path):
    @contextmanager
    def one_compilation():
        yield ["f"]

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(warm, "compilations", one_compilation)
    monkeypatch.setattr(warm, "_call_all", lambda: None)
    monkeypatch.setattr(warm, "folders", lambda source: [tmp_path / "file"])
    with pytest.raises(InputError, match="NUMBA_CACHE_DIR"):
        warm.warm()
