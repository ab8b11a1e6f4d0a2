"""Compiled kernels are found again, wherever they may be kept and whatever changed."""

import os
import pickle
import subprocess
import sys

import pytest
from numba.core import config

from connectome.kernels import cache
from connectome.kernels.cache import KernelFiles, digest_of_sources


def square(x):
    return x * x


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folders that are looked into, in order."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "given"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    source = tmp_path / "source" / "module.py"
    source.parent.mkdir()
    source.write_text("from connectome.kernels.flags import row_of_flags\n")
    return source, cache.folders(str(source))


def refuse(folder):
    """Make it impossible to write below a folder, for every user: it is a file."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")


def test_each_list_of_types_has_its_own_code(places):
    source, folders = places
    for key in ("int", "float"):
        KernelFiles(square, str(source)).save((key, "cpu"), key * 3)
    assert [KernelFiles(square, str(source)).load((key, "cpu")) for key in ("int", "float", "bool")] == [
        "intintint",
        "floatfloatfloat",
        None,
    ]
    assert len(list(folders[0].iterdir())) == 2


def test_code_goes_where_it_can_be_written(places):
    source, folders = places
    refuse(folders[0])
    KernelFiles(square, str(source)).save("key", "code")
    assert len(list(folders[1].iterdir())) == 1
    assert KernelFiles(square, str(source)).load("key") == "code"
    for file in folders[1].iterdir():
        file.unlink()
    folders[1].rmdir()
    refuse(folders[1])
    refuse(folders[2])
    KernelFiles(square, str(source)).save("key", "code")
    assert KernelFiles(square, str(source)).load("key") is None


def test_code_is_brought_to_the_first_folder(places):
    source, folders = places
    KernelFiles(square, str(source)).save("key", "code")
    folders[2].parent.mkdir()
    folders[0].rename(folders[2])
    assert KernelFiles(square, str(source)).load("key") == "code"
    assert [file.name for file in folders[0].iterdir()] == [file.name for file in folders[2].iterdir()]


@pytest.mark.parametrize("damage", [b"", b"not code", pickle.dumps(None), "short", "flipped"])
def test_damaged_files_are_compiled_again(places, damage):
    source, folders = places
    KernelFiles(square, str(source)).save("key", "code")
    (file,) = folders[0].iterdir()
    content = file.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]
    file.write_bytes({"short": content[:-1], "flipped": flipped}.get(damage, damage))
    assert KernelFiles(square, str(source)).load("key") is None


def test_where_nothing_is_kept_it_is_cold(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folders", lambda _: [tmp_path / "none", tmp_path])
    assert cache.is_cold()
    (tmp_path / "relabel.relabel.nbc").write_bytes(b"")
    assert not cache.is_cold()


def test_code_depends_on_modules_that_are_imported(tmp_path, monkeypatch):
    """Else a change of an inlined function would be seen in some kernels only."""
    package = tmp_path / "connectome"
    (package / "kernels").mkdir(parents=True)
    monkeypatch.setattr(cache, "_PACKAGE", package)
    files = {name: package / "kernels" / f"{name}.py" for name in ("outer", "middle", "inner", "aside")}
    files["outer"].write_text("from connectome.kernels.middle import f\n")
    files["middle"].write_text("from connectome.kernels.inner import g\n")
    files["aside"].write_text("")
    digests = []
    for text in ("A = 1\n", "A = 2\n"):
        files["inner"].write_text(text)
        digest_of_sources.cache_clear()
        digests.append({name: digest_of_sources(str(file)) for name, file in files.items()})
    digest_of_sources.cache_clear()
    assert [name for name in files if digests[0][name] == digests[1][name]] == ["aside"]


def test_kernels_load_for_a_user_without_a_home():
    code = "from connectome.kernels.relabel import relabel"
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": "/nowhere"}, check=True)
