"""Take the pictures of a dataset and of the benchmarks: ``python docs/images/take.py runs/demo``.

Needs chromium and playwright. Pictures have 256 colours, which keeps each below 400 kB.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import PIL.Image
from playwright.sync_api import Page, sync_playwright

from connectome.web.dashboard.page import write_dashboard
from connectome.web.view import open_view

HERE = Path(__file__).parent
RECORDS = HERE.parents[1] / "benchmarks" / "results"
SIZE = {"width": 1280, "height": 860}
SWITCHES = ("--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking", "--disable-sync")
SETTLED_MS, LONGEST_MS = 3000, 90_000
"""Time without a change after which a page counts as drawn, and how long to wait for that."""


def settle(page: Page) -> bytes:
    """Return a screenshot once nothing has changed for a while."""
    before, waited = page.screenshot(), 0
    while waited < LONGEST_MS:
        page.wait_for_timeout(SETTLED_MS)
        after, waited = page.screenshot(), waited + SETTLED_MS
        if after == before and waited > 2 * SETTLED_MS:
            break
        before = after
    return before


def save(picture: bytes, name: str) -> None:
    """Write a screenshot with a palette of its own."""
    image = PIL.Image.open(io.BytesIO(picture)).convert("RGB")
    palette = image.quantize(256, PIL.Image.Quantize.MEDIANCUT)
    image.quantize(palette=palette, dither=PIL.Image.Dither.FLOYDSTEINBERG).save(HERE / name, optimize=True)


def take_dashboard(page: Page) -> None:
    """Write ``dashboard.png``: the first sections of the page of all records."""
    with tempfile.TemporaryDirectory() as folder:
        page.goto(f"file://{write_dashboard(RECORDS, Path(folder) / 'dashboard.html')}")
        page.set_viewport_size({"width": SIZE["width"], "height": 1480})
        save(page.screenshot(), "dashboard.png")


def take_dataset(page: Page, dataset: str) -> None:
    """Write ``demo-view.png`` and ``demo-report.png``."""
    with open_view(dataset) as view:
        page.goto(view.url)
        save(settle(page), "demo-view.png")
        page.goto("about:blank")
    page.goto(f"file://{Path(dataset).absolute()}/report.html")
    page.set_viewport_size({"width": SIZE["width"], "height": 1180})
    save(page.screenshot(), "demo-report.png")


def main(dataset: str | None = None) -> None:
    """Write the pictures beside this file; without a dataset, that of the benchmarks alone."""
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            profile, executable_path=shutil.which("chromium"), args=SWITCHES, viewport=SIZE
        )
        page = browser.pages[0]
        if dataset is not None:
            take_dataset(page, dataset)
        take_dashboard(page)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
