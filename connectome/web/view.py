"""The viewer: Neuroglancer from the installed package, on this machine, without the internet.

One server gives the page, the voxels and the meshes, so that the browser needs no permission to read
from elsewhere. It listens on the loopback interface only, below a random token.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
import webbrowser
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import neuroglancer.server
from neuroglancer.viewer_base import ViewerBase
from tornado.web import HTTPError, RequestHandler

from connectome.errors import InputError
from connectome.web.meshes import mesh_source
from connectome.web.scene import Scene, open_scene
from connectome.web.viewer_state import viewer_state
from connectome.web.virtual_zarr import ARRAY, VirtualZarr

ADDRESS = "127.0.0.1"
N_SHOWN = 30
"""Segments with a mesh at first."""
MESHED = ("segmentation", "truth")
FASTEST = 1
"""zlib's level: labels shrink fiftyfold all the same."""


@dataclass(frozen=True)
class View:
    """A page that is being served."""

    url: str
    scene: Scene


class _VolumeHandler(RequestHandler):  # type: ignore[misc]
    """Serves the keys of virtual zarr groups."""

    def initialize(self, volumes: Sequence[VirtualZarr]) -> None:
        self._volumes = volumes

    async def get(self, number: str, key: str) -> None:
        accepts_gzip = "gzip" in self.request.headers.get("Accept-Encoding", "")
        loop = asyncio.get_running_loop()
        if int(number) >= len(self._volumes):
            raise HTTPError(404)
        answer = await loop.run_in_executor(None, _answer, self._volumes[int(number)], key, accepts_gzip)
        if answer is None:
            raise HTTPError(404)
        content, media_type, is_zipped = answer
        self.set_header("Content-Type", media_type)
        # A run may still be writing: what was empty a moment ago is asked for again.
        self.set_header("Cache-Control", "no-cache")
        if is_zipped:
            self.set_header("Content-Encoding", "gzip")
        self.finish(content)


class _NoIconHandler(RequestHandler):  # type: ignore[misc]
    """Tells browsers that there is no icon, so that their consoles stay clean."""

    def get(self) -> None:
        self.set_status(204)


def _answer(volume: VirtualZarr, key: str, accepts_gzip: bool) -> tuple[bytes, str, bool] | None:
    found = volume.read(key)
    if found is None:
        return None
    content, media_type = found
    if media_type == ARRAY and accepts_gzip and volume.is_labels:
        packer = zlib.compressobj(FASTEST, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush(), media_type, True
    return content, media_type, False


@contextmanager
def open_view(url: str, port: int = 0) -> Iterator[View]:
    """Serve a dataset or volume while the context lasts.

    Parameters
    ----------
    url : str
        Dataset, or volume of any kind that `open_volume` reads.
    port : int
        Port on the loopback interface; 0 takes a free one.
    """
    scene = open_scene(url)
    if not scene.layers:
        raise InputError(f"{url} has nothing to show: {'; '.join(scene.notes) or 'it holds no volume yet'}")
    volumes = [VirtualZarr(layer, scene.voxel_size_nm, scene.box.start) for layer in scene.layers]
    meshes = {
        layer.name: mesh_source(layer.volume, scene.voxel_size_nm, scene.box.start, N_SHOWN)
        for layer in scene.layers
        if layer.kind == "labels" and (layer.name in MESHED or len(scene.layers) == 1)
    }
    server = _start(port)
    try:
        token = secrets.token_hex(16)
        pattern = rf"/volumes/{token}/([0-9]+)/(.+)"
        routes = [(pattern, _VolumeHandler, {"volumes": volumes}), ("/favicon.ico", _NoIconHandler)]
        server.app.add_handlers(".*", routes)
        root = f"http://{ADDRESS}:{server.port}"
        sources = {layer.name: f"{root}/volumes/{token}/{n}/|zarr3:" for n, layer in enumerate(scene.layers)}
        viewer = ViewerBase(allow_credentials=False)
        viewer.set_state(viewer_state(scene, sources, meshes))
        server.viewers[viewer.token] = viewer
        yield View(f"{root}/v/{viewer.token}/", scene)
    finally:
        server.stop()
        server.executor.shutdown(wait=False, cancel_futures=True)


def _start(port: int) -> neuroglancer.server.Server:
    try:
        # Tried first: a server that fails to bind would leave its socket open.
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((ADDRESS, port))
        return neuroglancer.server.Server(bind_address=ADDRESS, bind_port=port)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"port {port} cannot be used ({reason}): give another one, or 0 for any") from error


def serve(dataset_url: str, *, port: int = 0, open_browser: bool = True) -> None:
    """Serve a dataset or volume until the user interrupts.

    The page's URL is printed to standard output as soon as it can be opened.
    """
    try:
        with open_view(dataset_url, port) as view:
            for note in view.scene.notes:
                sys.stderr.write(f"{note}\n")
            sys.stdout.write(f"{view.url}\n")
            sys.stdout.flush()
            if open_browser:
                webbrowser.open(view.url)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return
