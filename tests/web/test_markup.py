"""Markup, quantities and charts: text stays text, numbers get units."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from connectome.web import quantities
from connectome.web.charts import Series, meter, size_histogram
from connectome.web.markup import Markup, element, escape, join


def test_text_is_escaped_and_markup_is_not():
    evil = "<script>alert('x')</script>"
    inner = element("b", evil, title=f'"{evil}"')
    assert "<script" not in inner
    assert "<b " in element("p", inner, None, 3)
    assert escape(inner) is inner
    assert isinstance(inner + evil, Markup)
    assert "<script" not in inner + evil
    assert join("a", None, element("br"), 1) == "a<br/>1"
    assert element("p", class_="x", text_anchor="end", id=None) == '<p class="x" text-anchor="end"></p>'


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (quantities.number, 950, "950"),
        (quantities.number, 12345, "12.3 k"),
        (quantities.number, 999.6, "1.00 k"),
        (quantities.number, 15_625_000, "15.6 M"),
        (quantities.number, 0, "0"),
        (quantities.number, 3e20, "300000 P"),
        (quantities.size, 512, "512 B"),
        (quantities.size, 1.25e9, "1.25 GB"),
        (quantities.dollars, 0.394, "$0.39"),
        (quantities.dollars, 29412.4, "$29,412"),
        (quantities.duration, 4.68, "4.7 s"),
        (quantities.duration, 725, "12 min 05 s"),
        (quantities.duration, 12000, "3 h 20 min"),
        (quantities.length, 450, "450 nm"),
        (quantities.length, 2500, "2.50 µm"),
        (quantities.length, -2e6, "-2 mm"),
    ],
)
def test_quantities(function, value, text):
    assert function(value) == text


def test_shares_and_triples():
    assert quantities.share(1, 4) == "25 %"
    assert quantities.share(1, 0) == ""
    assert quantities.triple((40, 4.6, 100_000)) == quantities.TIMES.join(["40", "4.6", "100,000"])
    assert quantities.lengths((900, 4700)) == quantities.TIMES.join(["900 nm", "4.70 µm"])


def test_every_size_is_in_one_bar():
    sizes = np.array([1, 1, 5, 99, 100, 12345, 10**9])
    chart = ET.fromstring(size_histogram([Series("segments", sizes, "segments")], "size", "n"))
    bars = [each for each in chart.iter("rect") if each.get("class") == "segments"]
    # 99 and 100 lie in neighbouring bins, the two of size 1 in one.
    assert len(bars) == 6
    assert all(float(bar.get("height")) > 0 for bar in bars)
    assert "7 segments, median 99" in chart.find("title").text


@pytest.mark.parametrize("sizes", [[], [1], [3, 3, 3], [10**12]])
def test_few_sizes_make_a_chart_too(sizes):
    truth = Series("true cells", np.array([2, 7]), "truth")
    chart = ET.fromstring(size_histogram([Series("segments", np.array(sizes, int), "segments"), truth], "size", "n"))
    assert len(list(chart.iter("path"))) == 1


def test_meters_stay_within_their_cell():
    assert "width:50.0%" in meter(1, 2)
    assert "width:100.0%" in meter(3, 2)
    assert "width:0.0%" in meter(3, 0)
