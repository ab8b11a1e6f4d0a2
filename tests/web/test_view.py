"""The viewer: what it serves, to whom, and that coloured segments are on the screen."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.store.volume import Volume
from connectome.web.view import open_view
from tests.web.conftest import hues, pixels, wait_until


def _panels(page):
    """The locators of the three planes and of the 3-D view, which alone can show or hide sections."""
    panels = page.locator(".neuroglancer-rendered-data-panel")
    texts = wait_until(lambda: len(found := panels.all_inner_texts()) == 4 and found)
    assert texts, "no four panels"
    turned = ["Sections" in text for text in texts]
    assert turned.count(True) == 1
    return [panels.nth(n) for n in range(4) if not turned[n]], panels.nth(turned.index(True))


def test_coloured_segments_in_all_panels(outcome, page):
    with open_view(outcome.dataset.url) as view:
        page.goto(view.url)
        planes, turned = _panels(page)
        for plane in planes:
            assert wait_until(lambda plane=plane: hues(pixels(plane)) >= 5)
        # The 3-D panel shows no sections, so that its colours are those of meshes.
        assert wait_until(lambda: hues(pixels(turned), 0.002) >= 5)
        state = json.loads(page.evaluate("JSON.stringify(viewer.state.toJSON())"))
        assert [layer["name"] for layer in state["layers"]] == [
            "image", "affinities", "fragments", "segmentation", "truth",
        ]  # fmt: skip
        assert list(state["dimensions"]) == ["z", "y", "x"]
        assert state["position"] == [32, 40, 48]
        assert page.errors == []
        assert page.foreign == []
        page.goto("about:blank")


def test_a_volume_alone(outcome, page):
    with open_view(f"{outcome.dataset.url}#segmentation") as view:
        page.goto(view.url)
        planes, _ = _panels(page)
        assert wait_until(lambda: hues(pixels(planes[0])) >= 5)
        assert page.errors == []
        page.goto("about:blank")


def test_an_array_in_a_file(tmp_path):
    np.savez(tmp_path / "a.npz", raw=np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    with open_view(f"{tmp_path}/a.npz#raw") as view:
        (note,) = view.scene.notes
        assert "does not state its voxel size" in note
        assert view.scene.layers[0].kind == "image"


def test_only_those_who_know_the_url_can_read(outcome):
    with open_view(outcome.dataset.url) as view:
        assert view.url.startswith("http://127.0.0.1:")
        root = view.url.partition("/v/")[0]
        for path in ("/", "/v/guess/", "/volumes/guess/0/zarr.json", "/volumes/0/zarr.json"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(root + path, timeout=10)
            assert caught.value.code == 404
            caught.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(view.url, timeout=10)


def test_chunks_are_those_of_the_volume(outcome):
    with open_view(outcome.dataset.url) as view:
        state = _state(view)
        source = next(layer for layer in state["layers"] if layer["name"] == "segmentation")["source"][0]
        url = (source if isinstance(source, str) else source["url"]).partition("|")[0]
        metadata = json.loads(_get(url + "0/zarr.json"))
        assert (metadata["shape"], metadata["data_type"]) == ([64, 80, 96], "uint64")
        shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        chunk = np.frombuffer(_get(url + "0/c/0/0/0"), "<u8").reshape(shape)
        np.testing.assert_array_equal(chunk, outcome.dataset.volume("segmentation").read(Box.of_shape(shape)))
        for key in ("0/c/9/9/9", "0/c/0/0", "7/zarr.json", "secret", "0/c/a/b/c", "../../dataset.json"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                _get(url + key)
            assert caught.value.code == 404
            caught.value.close()


def _get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def _state(view):
    """The viewer's state, as its page hears it first."""
    root, _, token = view.url.rstrip("/").partition("/v/")
    with urllib.request.urlopen(f"{root}/events/{token}?c=0&gc=&gs=", timeout=10) as stream:
        while True:
            line = stream.readline()
            if line.startswith(b"data:") and (message := json.loads(line[5:]))["k"] == "s":
                return message["s"]


def test_nothing_to_show_is_said(tmp_path):
    with pytest.raises(InputError, match="there is no"), open_view(str(tmp_path / "nowhere")):
        pass
    Volume.create(
        tmp_path / "v", box=Box.of_shape((4, 4, 4)), dtype="uint8", voxel_size_nm=(1, 1, 1), write_shape=(4,) * 3
    )
    with open_view(str(tmp_path / "v")) as view:
        port = int(view.url.split(":")[2].split("/")[0])
        with pytest.raises(InputError, match=f"port {port} cannot be used"), open_view(str(tmp_path / "v"), port=port):
            pass


def test_serve_prints_its_url_and_stops_when_interrupted(outcome):
    command = f"from connectome.web.view import serve; serve({outcome.dataset.url!r}, open_browser=False)"
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        url = process.stdout.readline().strip()
        assert b"neuroglancer" in _get(url)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
        assert rest == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
