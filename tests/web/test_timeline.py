"""The timeline: one small picture, however many receipts there are."""

import xml.etree.ElementTree as ET

import pytest

from connectome.runtime.history import Timeline
from connectome.store.ledger import Receipt
from connectome.web.timeline import timeline_section

STAGES = ["fragments", "edges", "agglomeration"]


def receipt(stage, number, start, wall):
    return Receipt(stage, ((number, number + 1),), 1, 10, start, wall, wall, 1, 1, 1, "host")


def timeline_of(n, workers=4):
    timeline = Timeline()
    timeline.begin(1000.0)
    for number in range(n):
        stage = ("edges", "agglomeration.reduce")[number > n / 2]
        timeline.add(receipt(stage, number, 1000.0 + number, 0.8))
        timeline.hold({"cpu": workers}, 1.0)
    return timeline


@pytest.mark.parametrize("n", [3, 100, 5000, 200_000])
def test_it_is_small_and_whole(n):
    markup = timeline_section(timeline_of(n), STAGES)
    assert len(markup) < 100_000
    root = ET.fromstring(f"<div>{markup}</div>")
    paths = root.findall(".//svg//path")
    assert len(paths) == 3  # two stages and what was held
    for path in paths:
        points = [tuple(map(float, point.split())) for point in path.get("d").strip("MZ").split("L")]
        assert all(0 <= x <= 640 and 0 <= y <= 260 for x, y in points)
    text = "".join(root.itertext())
    assert "fragments" not in text  # nothing of it was done
    assert "Busy for 20 % of the held time" in text
    assert "edges: busy for" in text


def test_nothing_is_done_yet():
    assert "No task is done yet." in timeline_section(Timeline(), STAGES)
    begun = Timeline()
    begun.begin(5.0)
    begun.hold({"cpu": 1}, 2.0)
    assert "No task is done yet." in timeline_section(begun, STAGES)


def test_runs_are_told_apart():
    timeline = timeline_of(10)
    timeline.begin(9e9)
    timeline.add(receipt("edges", 50, 9e9 + 1, 2.0))
    timeline.hold({"cpu": 1}, 4.0)
    root = ET.fromstring(f"<div>{timeline_section(timeline, STAGES)}</div>")
    upright = [line for line in root.findall(".//svg/line") if line.get("x1") == line.get("x2")]
    assert len(upright) == 1
    assert "14.0 s" in "".join(root.itertext())
