import contextlib
import io
import shutil
import tempfile
import time

import numpy as np
import PIL.Image
import pytest

from connectome.geometry import Box
from connectome.phantom import generate
from connectome.runtime.run import run
from connectome.workflow.workflow import Workflow
from tests.tissue import VOXEL_SIZE_NM, noisy_affinities, workflow_content, write_volume

SHAPE = (64, 80, 96)
SWITCHES = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def outcome(tmp_path_factory):
    """A finished run from stored affinities, with image and truth beside them."""
    folder = tmp_path_factory.mktemp("web")
    affinities, truth = noisy_affinities(SHAPE)
    image, _ = generate(Box.of_shape(SHAPE), seed=3, voxel_size_nm=VOXEL_SIZE_NM)
    given = {
        name: write_volume(folder / name, array)
        for name, array in (("affinities", affinities), ("truth", truth), ("image", image))
    }
    content = workflow_content(folder / "run", given.pop("affinities"), **given)
    return run(Workflow.parse(content), runner="serial")


@pytest.fixture
def page():
    """A page of a headless Chromium that notes what it logs and what it asks for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        driver = stack.enter_context(playwright.sync_playwright())
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            headless=True,
            args=SWITCHES,
            viewport={"width": 900, "height": 700},
        )
        stack.callback(context.close)
        page = context.pages[0]
        page.errors, page.foreign = [], []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))

        def watch(route):
            url = route.request.url
            if url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
                route.continue_()
            else:
                page.foreign.append(url)
                route.abort()

        page.route("**/*", watch)
        yield page


def pixels(locator):
    """Screenshot of an element as an HSV array; one black pixel while a page replaces the element."""
    try:
        picture = PIL.Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    except playwright_error() as error:
        if "not attached" not in str(error) and "Timeout" not in str(error):
            raise
        return np.zeros((1, 1, 3), np.uint8)
    return np.asarray(picture.convert("HSV"))


def playwright_error():
    return pytest.importorskip("playwright.sync_api").Error


def hues(hsv, least_share=0.01):
    """How many of 18 hues cover at least that share of the picture with saturated, bright pixels."""
    vivid = hsv[(hsv[..., 1] > 80) & (hsv[..., 2] > 60)]
    counts = np.bincount(vivid[:, 0].astype(np.int64) * 18 // 256, minlength=18)
    return int((counts >= least_share * hsv[..., 0].size).sum())


def wait_until(condition, seconds=60.0):
    """Poll until `condition` returns something true, and return it; the last answer where it never does."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.5)
    return answer
