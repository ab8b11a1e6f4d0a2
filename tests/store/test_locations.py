from pathlib import Path

import numpy as np
import pytest

from connectome.geometry import Box
from connectome.store.array_volume import ArrayVolume
from connectome.store.locations import Location, StoreError, kvstore_spec, list_keys, write_error, write_key
from connectome.store.names import names_in
from connectome.store.sources import is_foreign, open_volume
from connectome.store.url_secrets import hide_secrets
from connectome.store.volume import Volume, is_volume

SMALL = {"box": Box.of_shape((4, 4, 4)), "dtype": "uint8", "voxel_size_nm": (4, 4, 4), "write_shape": (4, 4, 4)}


@pytest.mark.parametrize(
    ("text", "container", "name"),
    [
        ("/data/a.npz#raw", "/data/a.npz", "raw"),
        ("/data/v/", "/data/v", None),
        ("file:///data/v#volumes/raw", "/data/v", "volumes/raw"),
        ("gs://bucket/run#segmentation", "gs://bucket/run", "segmentation"),
        ("s3://bucket/v/", "s3://bucket/v", None),
        ("memory://v", "memory://v", None),
        ("https://host:80/v#", "https://host:80/v", None),
        ("HTTPS://host/V", "https://host/V", None),
        ("FILE:///data/v", "/data/v", None),
    ],
)
def test_locations_are_parsed(text, container, name):
    assert Location.parse(text) == Location(container, name)


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Location.parse("runs/demo#raw").container == str(tmp_path / "runs/demo")
    assert Location.parse(Path("runs")).container == str(tmp_path / "runs")
    assert Location.parse("~/v").container == str(Path.home() / "v")


@pytest.mark.parametrize("text", ["", "#raw", "gs://", "ftp://host/v", "s3:///"])
def test_what_names_no_place(text):
    with pytest.raises(StoreError, match=r"names no place|has the scheme"):
        Location.parse(text)


def test_key_value_stores(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    assert kvstore_spec("/data/v", "0") == {"driver": "file", "path": "/data/v/0/"}
    assert kvstore_spec("memory://a/b") == {"driver": "memory", "path": "a/b/"}
    assert kvstore_spec("gs://bucket/v") == {"driver": "gcs", "bucket": "bucket", "path": "v/"}
    assert kvstore_spec("gs://bucket") == {"driver": "gcs", "bucket": "bucket", "path": ""}
    assert kvstore_spec("s3://bucket/v") == {"driver": "s3", "bucket": "bucket", "path": "v/"}
    web = {"driver": "http", "base_url": "http://host:8080", "path": "/v/0/"}
    assert kvstore_spec("http://host:8080/v", "0") == web
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000/")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    local = {"endpoint": "http://127.0.0.1:5000", "aws_region": "eu-west-1"}
    assert kvstore_spec("s3://bucket/v").items() >= local.items()


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_an_artifact_of_a_dataset(tmp_path, scheme):
    dataset = str(tmp_path / "demo") if scheme == "file" else f"memory://{tmp_path}/demo"
    write_key(dataset, "dataset.json", b"{}")
    Volume.create(f"{dataset}/volumes/segmentation", **SMALL)
    assert Volume.open(f"{dataset}#segmentation").url == f"{dataset}/volumes/segmentation"
    assert Location.parse(f"{dataset}#fragments").url == f"{dataset}/volumes/fragments"
    with pytest.raises(StoreError, match=r"no volume 'fragments' in .*; it holds .*segmentation"):
        Volume.open(f"{dataset}#fragments")
    with pytest.raises(StoreError, match="is no volume itself"):
        Volume.open(dataset)


def test_names_in_a_folder_of_many_formats(tmp_path):
    formats = {
        "a": "zarr-v2",
        "deep/b": "zarr-v3",
        "c": "n5",
        "d": "precomputed",
        "e": "ome-zarr-0.5",
        "f": "ome-zarr-0.4",
    }
    for name, form in formats.items():
        Volume.create(f"{tmp_path}/{name}", **SMALL, format=form)
    Volume.create(
        f"{tmp_path}/g", **(SMALL | {"box": Box.of_shape((8, 8, 8))}), factors=[(1, 1, 1), (2, 2, 2)], format="n5"
    )
    (tmp_path / "empty").mkdir()
    assert names_in(str(tmp_path)) == ["a", "c", "d", "deep/b", "e", "f", "g"]
    assert names_in(str(tmp_path / "nowhere")) == []
    with pytest.raises(StoreError, match=r"choose one with .*#a"):
        Volume.open(str(tmp_path))


def test_volumes_and_foreign_files_are_told_apart(tmp_path):
    Volume.create(f"{tmp_path}/v", **SMALL)
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6), np.uint8))
    assert is_volume(f"{tmp_path}/v")
    assert not is_volume(f"{tmp_path}/a.npy")
    assert is_foreign(f"{tmp_path}/a.npy")
    assert not is_foreign(f"{tmp_path}/v")
    assert not is_foreign("gs://bucket/a.npy")
    assert isinstance(open_volume(f"{tmp_path}/v"), Volume)
    held = open_volume(f"{tmp_path}/a.npy", voxel_size_nm=(40, 4, 4))
    assert isinstance(held, ArrayVolume)
    assert (held.voxel_size_nm, held.n_levels, held.level_factor(0)) == ((40, 4, 4), 1, (1, 1, 1))
    with pytest.raises(StoreError, match="level 0 only"):
        held.read(held.box, level=1)
    with pytest.raises(StoreError, match="reaches outside"):
        held.read(Box((0, 0, 0), (5, 5, 6)))


def test_errors_of_writing_are_one_sentence():
    full = write_error("/v", ValueError("INTERNAL: Error writing: No space left on device [source='x']"))
    assert str(full) == "the disk is full: writing /v failed; free space and run the command again"
    other = write_error("/v", ValueError("PERMISSION_DENIED: not yours [tensorstore_spec='{}']\nmore"))
    assert str(other) == "cannot write /v: not yours"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(StoreError, match="cannot"):
        Volume.create(f"{tmp_path}/file/v", **SMALL)
    with pytest.raises(StoreError, match="cannot"):
        Volume.create("/proc/nothing/v", **SMALL)
    with pytest.raises(StoreError, match=r'directory: "/proc/nothing": No such file'):
        write_key("/proc/nothing/run.lock", "1.json", b"{}")
    assert list_keys(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@store.org/volume.zarr",
        "https://store.org/volume.zarr?X-Amz-Signature=hunter2",
        "https://store.org?sig=hunter2#image",
        "s3://hunter2@bucket/volume",
        "gs://bucket/volume?access_token=hunter2",
        "HTTPS://user:hunter2@store.org/volume.zarr",
        "ftp://user:hunter2@store.org/volume.zarr",
        "gcs://user:hunter2@store.org/volume.zarr",
        "https://user:hunter2/3@store.org/volume.zarr",
        "https://user:hunter2%40store.org/volume.zarr",
        "https://store.org/volume.zarr;sig=hunter2",
        "https://store.org/volume.zarr#image?token=hunter2",
        "https://store.org/volume.zarr#X-Amz-Signature=hunter2",
        "gs://bucket/volume/access_token=hunter2",
        "https://store.org/volume.zarr%3Fsig%3Dhunter2",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(StoreError, match="credentials from the environment") as caught:
        Location.parse(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["gs://bucket/date=2024-01-01/key=3", "s3://bucket/a/x=1#y=2", "https://h/v@2x.zarr"])
def test_what_looks_like_a_secret_and_is_none(url):
    assert str(Location.parse(url)) == url


def test_secrets_are_hidden_in_sentences():
    text = "no HTTPS://a:hunter2@h/x: got 'https://h/x;sig=hunter2', https://h/y; and gs://b/z: leave it"
    assert hide_secrets(text) == "no HTTPS://...: got 'https://...', https://h/y; and gs://b/z: leave it"


def test_a_name_stays_in_its_container(tmp_path):
    for name in ("..", "../other", "volumes/../../../etc"):
        with pytest.raises(StoreError, match=f"#{name} leads out of"):
            Location.parse(f"{tmp_path}#{name}")
    assert Location.parse(f"{tmp_path}#a..b").name == "a..b"


@pytest.mark.parametrize("url", ["gs://b/../other/x", "s3://b/a/../../x", "https://h/%2e%2e/x", "memory://a/.."])
def test_a_url_stays_in_its_bucket(url):
    with pytest.raises(StoreError, match=r"has '\.\.' in it"):
        Location.parse(url)
