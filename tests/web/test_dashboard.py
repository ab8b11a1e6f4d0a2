"""The dashboard: figures as recorded, drawn where they belong, one hardware at a time, and honest about gaps."""

import json
import math
import re
import sys

import pytest

from benchmarks.records import Record as HarnessRecord
from connectome import cli
from connectome.errors import InputError
from connectome.web.dashboard import words
from connectome.web.dashboard.page import dashboard_body, write_dashboard
from connectome.web.dashboard.records import KernelRecord, PipelineRecord, load_records, machines
from connectome.web.dashboard.scale import Scale
from connectome.web.dashboard.scores import scores
from connectome.web.dashboard.targets import memory_share, slowdown, target_of
from connectome.web.quantities import number

HERE = "AMD EPYC, 2 cores, 8 GiB"
X = words.TIMES
ELSEWHERE = "Xeon, 64 cores, 512 GiB"
FIRST, SECOND = ("aaa1111", "2026-11-20T10:00:00+00:00"), ("bbb2222", "2026-11-23T10:00:00+00:00")
QUALITY = {"ours": {"voi": 1.25}, "peer": {"voi_split": 0.5, "voi_merge": 1}}
LEAST = {"case": "fragments", "input": "fib25", "commit": "aaa1111", "hardware": "a machine", "date": FIRST[1]}


def kernel(case="fragments", input_="fib25", ratio=20.0, at=SECOND, **changes):
    """A whole record: 10 ns per voxel and 15 bytes moved, of 30 that the machine could move."""
    voxels = changes.get("voxels", 250**3)
    ours = changes.pop("ours_s", voxels * 1e-8)
    figures = {
        "peer": "waterz", "ours_s": ours, "peer_s": ours * ratio, "ratio": ratio,
        "ratio_min": ratio * 0.9, "ratio_max": ratio * 1.1, "ours_min_s": ours * 0.95, "ours_max_s": ours * 1.2,
        "peer_min_s": ours * ratio, "peer_max_s": ours * ratio, "repeats": 5, "voxels": voxels, "fragments": 1000,
        "edges": 5000, "voxels_per_s": voxels / ours, "voxels_per_core_hour": 3600 * voxels / ours,
        "bytes_moved": 15 * voxels, "peak_bytes": 12 * voxels, "peer_peak_bytes": 90 * voxels,
        "bytes_per_voxel": 12.0, "bytes_per_edge": 0.0, "bandwidth_bytes_per_s": 15e9, "slowdown": None,
        "quality": None, "hardware": HERE, "versions": {"numba": "0.68.1", "waterz": "0.10.1"}, "note": "",
    }  # fmt: skip
    return {"case": case, "input": input_, "commit": at[0], "date": at[1], **figures, **changes}


def pipeline(speed=2e9, at=SECOND, hardware="AMD EPYC, 2 cores"):
    def figures(value):
        return {
            "voxels_per_core_hour": {"median": value, "min": value * 0.9, "max": value * 1.1},
            "core_hours_per_teravoxel": {"median": 1e12 / value, "min": 0.9e12 / value, "max": 1.1e12 / value},
            "usd_per_teravoxel": {"median": 0.05e12 / value, "min": 0.04e12 / value, "max": 0.06e12 / value},
        }

    return {
        "case": "demo", "input": "phantom", "workers": 2, "repeats": 3, "hardware": hardware,
        "commit": at[0], "date": at[1], "prices": {"name": "list price", "source": "a list", "usd_per_core_hour": 0.05},
        "overall": figures(speed), "stages": {"affinities": figures(2 * speed), "edges": figures(9 * speed)},
        "agreement": {"voi_split": 0.4, "voi_merge": 0.3, "adapted_rand_error": 0.1},
    }  # fmt: skip


def whole():
    """Two commits, targets met and not, every section filled; and one record of another hardware."""
    return [
        kernel(at=FIRST, ratio=11.0, ours_s=0.5),
        kernel(ratio=20.0, note="the copy is outside the clock"),
        kernel(peer="scikit-image", ratio=0.5),
        kernel("fragments", "pinky40-256", ratio=10.0, voxels=256**3),
        kernel("fragments_edges_mean", ratio=16.0, quality=QUALITY),
        kernel("mutex_watershed", "pinky40-128", peer="mwatershed", ratio=9.0, voxels=128**3),
        kernel("mutex_watershed", "pinky40-256", peer="mwatershed", ratio=9.0, voxels=256**3),
        kernel("sorting_hats", "a new input", peer="hogwarts", ratio=3.0),
        kernel("fragments", "noise-128", ratio=30.0, voxels=128**3, ours_s=128**3 * 4e-8),
        kernel("fragments", "hub", slowdown={"fib25": 17.0, "hub-half": 1.1}, peak_bytes=30 * 250**3 + 64 * 5000),
        pipeline(1e9, at=FIRST), pipeline(2e9),
        kernel("fragments", ratio=77.0, hardware=ELSEWHERE, at=("ccc3333", FIRST[1])),
    ]  # fmt: skip


def store(folder, records, name="kernels.jsonl"):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def parsed(records):
    return [(PipelineRecord if "stages" in record else KernelRecord).model_validate(record) for record in records]


def body(records):
    return str(dashboard_body(sorted(parsed(records), key=lambda record: record.date)))


@pytest.fixture
def dashboard(tmp_path):
    return write_dashboard(store(tmp_path / "results", whole()), tmp_path / "dashboard.html")


def section(page, title):
    return page.locator("main > section", has=page.get_by_role("heading", name=title, exact=True))


def cells(page, title, table=0):
    """Rows of a section's table as lists of texts."""
    rows = section(page, title).locator("table").nth(table).locator("tbody tr:not(.group)")
    return [rows.nth(n).locator("th, td").all_inner_texts() for n in range(rows.count())]


def test_figures_are_those_of_the_records(dashboard, page):
    page.goto(f"file://{dashboard}")
    rows = cells(page, "Ratio to each peer")
    shown = [record for record in parsed(whole()) if isinstance(record, KernelRecord) and record.hardware == HERE]
    tissue = [record for record in shown if record.input not in ("noise-128", "hub") and record.commit == "bbb2222"]
    assert len(rows) == len(tissue)
    for record in tissue:
        spread = words.span(words.ratio(record.ratio_min), words.ratio(record.ratio_max))
        wanted = [
            record.input, words.peer(record), words.time(record.ours_s), words.time(record.peer_s),
            words.ratio(record.ratio), f"{spread} (5)",
        ]  # fmt: skip
        found = [row for row in rows if row[:6] == wanted]
        assert found, wanted
        assert found[0][8] == number(record.voxels_per_core_hour)
    costs = {row[0]: row for row in cells(page, "What a volume costs")}
    assert [costs["overall"][n] for n in (1, 2, 4, 5)] == ["2 G", "1.80 G to 2.20 G", "500.0", "$25.00"]
    assert costs["affinities"][1] == "4 G"
    assert costs["SyConn2, published: other work"][1] == "34 M"
    text = section(page, "What a volume costs").inner_text()
    assert "list price, $0.05 per core-hour (a list)" in text
    assert "enrichment only" in text
    assert "starting from a finished segmentation" in text
    assert page.errors == []
    assert page.foreign == []


def test_targets_are_judged_by_the_worst_input(dashboard, page):
    page.goto(f"file://{dashboard}")
    verdicts = {row[0]: row[1:5] for row in cells(page, "Targets")}
    assert verdicts["fragments / waterz"] == [f"≥ 12{X}, aim 25{X}", f"10.0{X}", "pinky40-256", "met on 1 of 2 inputs"]
    assert verdicts["fragments_edges_mean / waterz"][3] == "met"
    assert verdicts["mutex_watershed / mwatershed, 128³"][1:] == [f"9.00{X}", "pinky40-128", "met"]
    assert verdicts["mutex_watershed / mwatershed, 256³"][1:] == [f"9.00{X}", "pinky40-256", "not met"]
    assert verdicts["contacts / cc3d"][3] == "not measured"
    assert verdicts["partition against truth"] == [
        "VOI ≤ the peer's",
        f"0.83{X}",
        "fragments_edges_mean, fib25",
        "met",
    ]
    assert verdicts["adversarial: time per voxel"][1:] == [f"17.0{X}", "fragments, hub", "met on 1 of 2 inputs"]
    assert verdicts["adversarial: memory"][1:3] == ["125 %", "fragments, hub"]
    assert "3 of 11" in page.locator("main > .tiles .tile", has_text="targets met").inner_text()
    assert "4 not measured" in page.locator("main > .tiles .tile", has_text="targets met").inner_text()


def test_bars_end_at_their_values(dashboard, page):
    """Whatever the axis: a bar from 1 to the ratio is as long as its logarithm on the scale of the ticks."""
    page.goto(f"file://{dashboard}")
    table = section(page, "Ratio to each peer").locator("table").first
    ticks = {
        float(text.text_content().removesuffix(X)): _attribute(text, "x")
        for text in table.locator("thead svg text").all()
    }
    (low, left), (high, right) = min(ticks.items()), max(ticks.items())
    for row in table.locator("tbody tr:not(.group)").all():
        ratio = float(row.locator("td").nth(3).inner_text().removesuffix(X))
        bar = row.locator("svg rect")
        begin = _attribute(bar, "x")
        end = begin + _attribute(bar, "width")
        drawn = low * (high / low) ** (((end if ratio > 1 else begin) - left) / (right - left))
        assert drawn == pytest.approx(ratio, rel=0.01)
        assert bar.bounding_box()["width"] > 1
        whisker = row.locator("line.whisker").first.bounding_box()["width"]
        assert whisker > 2
    assert table.locator("line.target").count() == 5


def _attribute(locator, name):
    return float(locator.get_attribute(name).removesuffix("%"))


def test_points_lie_under_the_roof_of_the_bandwidth(dashboard, page):
    page.goto(f"file://{dashboard}")
    limit = section(page, "Distance to the physical limit")
    assert limit.locator("circle").count() == 6
    # 15 bytes per voxel at 10 ns are 1.5 GB/s of 15
    assert {row[5] for row in cells(page, "Distance to the physical limit")} == {"10 %"}
    circle = limit.locator("circle").first.bounding_box()
    tenth, roof = (limit.locator(f"path.roof{part}").first.bounding_box() for part in (".part", ":not(.part)"))
    middle = circle["x"] + circle["width"] / 2
    share = (middle - tenth["x"]) / tenth["width"]
    assert circle["y"] + circle["height"] / 2 == pytest.approx(tenth["y"] + share * tenth["height"], abs=2)
    assert circle["y"] > roof["y"] + share * roof["height"]
    assert page.get_by_role("img", name="Nearest to it").count() == 1


def test_history_has_both_commits_and_their_bands(dashboard, page):
    page.goto(f"file://{dashboard}")
    history = section(page, "History")
    assert history.locator("figure h3").all_inner_texts() == ["demo", "fragments"]
    fragments = history.locator("figure").nth(1)
    assert {"aaa1111", "bbb2222"} <= set(fragments.locator("text").all_text_contents())
    line = fragments.locator("g.line").first
    assert line.locator("circle").count() == 2
    assert line.locator("path.band").bounding_box()["height"] > 2
    assert "fib25: from 31.2 M to 100 M" in fragments.locator("svg").get_attribute("aria-label")
    assert "ccc3333" not in history.inner_text()
    history.get_by_text("History as a table").click()
    rows = [row for row in cells(page, "History") if row[0] == "fragments" and row[1] == "fib25"]
    assert [row[2:4] for row in rows] == [["aaa1111", "31.2 M"], ["bbb2222", "100 M"]]


def test_hardware_is_never_mixed(dashboard, page):
    page.goto(f"file://{dashboard}")
    shown = page.locator("main").inner_text()
    assert HERE in shown
    assert f"77.0{X}" not in shown
    other = page.locator("details.machine")
    other.locator("> summary").focus()
    page.keyboard.press("Enter")
    assert f"77.0{X}" in other.inner_text()
    assert "bbb2222" not in other.inner_text()
    assert "No workflow was measured on this hardware" in other.inner_text()
    found = machines(load_records(dashboard.parent / "results"))
    assert [machine.hardware for machine in found] == [HERE, ELSEWHERE]
    assert [len(machine.pipelines) for machine in found] == [2, 0]
    # a record without memory that fits two machines belongs to neither
    records = [kernel(), kernel(hardware="AMD EPYC, 2 cores, 4 GiB"), pipeline()]
    assert len(machines(parsed(records))) == 3


def test_it_is_readable_dark_narrow_by_keyboard_and_by_ear(dashboard, page):
    page.goto(f"file://{dashboard}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert _contrast(page, "section p", "section") > 4.5
        assert _contrast(page, ".verdict.good", "section") > 4.5
        assert _contrast(page, ".verdict.bad", "section") > 4.5
        assert _contrast(page, "summary", "section") > 4.5
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for svg in page.locator("main svg").all():
        is_picture = svg.get_attribute("role") == "img" and len(svg.get_attribute("aria-label")) > 20
        assert is_picture or svg.get_attribute("aria-hidden") == "true"
    for table in page.locator("main table").all():
        assert table.locator("thead th").count() > 0
        assert table.locator("tbody th[scope], tbody td").count() > 0
    page.locator("summary", has_text="Scores against truth").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("cell", name="1.25", exact=True).is_visible()
    assert page.errors == []


def _contrast(page, text, background):
    colours = [
        page.locator(selector).first.evaluate(f"each => getComputedStyle(each).{name}")
        for selector, name in ((text, "color"), (background, "backgroundColor"))
    ]
    first, second = (_luminance([int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]) for colour in colours)
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def _luminance(rgb):
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_is_one_file(dashboard):
    text = dashboard.read_text()
    assert "<script" not in text
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\' >)]+)', text)
    assert all(link.startswith(("data:", "#")) for link in links)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_gaps_are_sentences(left, page, tmp_path):
    """No records; a record of nothing but what is required; one whose ratio is null."""
    records = [[], [LEAST], [kernel(ratio=5.0) | {"ratio": None, "peer_s": None, "bandwidth_bytes_per_s": None}]][left]
    path = write_dashboard(store(tmp_path / "results", records), tmp_path / "pages" / "dashboard.html")
    page.goto(f"file://{path}")
    text = page.locator("main").inner_text()
    if left == 0:
        assert "There are no records of benchmarks here: make bench writes them." in text
    else:
        assert "No target was measured on this hardware yet" in text
        assert "No workflow was measured on this hardware" in text
        assert "nothing to compare" in text
        assert "No adversarial input (constant, noise, hub, checkerboard) was measured" in text
    if left == 1:
        assert "No kernel was measured beside a peer" in text
        assert "No record states peak memory" in text
        assert "No record of this hardware states a speed." in text
    if left == 2:
        assert "≥ 12: not measured" in text
        assert "measured at one commit only (bbb2222): there is no history yet" in text
    assert page.errors == []


@pytest.mark.parametrize("field", sorted(set(kernel()) - set(LEAST)))
def test_any_field_may_be_missing(field):
    for record in ({**kernel(), field: None}, {**kernel("noise", "hub"), field: None}):
        assert "Targets" in body([record, kernel("contacts", at=FIRST)])
        del record[field]
        assert "Targets" in body([record])


def test_a_peer_whose_difference_is_below_zero_is_shown_without_a_bar():
    """A peer's time may be the difference of two calls, and noise larger than it."""
    text = body([kernel(ratio=-5.59, ratio_min=-8.4, ratio_max=2.8, peer_s=-0.4), kernel("edges", ratio=2.0)])
    assert f"-5.59{X}" in text
    assert "not met" in text


def test_a_workflow_alone_and_stages_that_did_not_run():
    record = pipeline()
    record["stages"]["edges"] = {name: dict.fromkeys(("median", "min", "max"), 0) for name in record["overall"]}
    record["prices"] = None
    text = body([record])
    assert "affinities" in text
    assert ">edges<" not in text
    assert "The record names no price table." in text
    assert "No kernel was measured beside a peer" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'case': 1}", "is not JSON"),
        ("[1, 2]", "is not a benchmark record: it: "),
        (json.dumps({**LEAST, "ratio": "fast"}), "ratio: "),
        (json.dumps({**LEAST, "ours_s": -1}), "ours_s: Input should be greater than 0, got -1"),
        (json.dumps({**LEAST, "ours_s": math.nan}), "ours_s: "),
        (json.dumps({**LEAST, "date": "yesterday"}), "date: "),
        (json.dumps({key: value for key, value in LEAST.items() if key != "commit"}), "commit: Field required"),
    ],
)
def test_a_broken_line_is_named(line, message, tmp_path):
    folder = store(tmp_path, [LEAST])
    (folder / "latest.jsonl").write_text(f"{json.dumps(LEAST)}\n\n{line}\n")
    with pytest.raises(InputError, match=re.escape(f"{folder / 'latest.jsonl'}, line 3 is not")) as error:
        load_records(folder)
    assert message in str(error.value)
    assert str(error.value).endswith("repair or delete that line")


def test_a_record_in_two_files_counts_once(tmp_path):
    store(tmp_path, [kernel(at=FIRST), kernel()])
    store(tmp_path, [kernel()], "latest.jsonl")
    assert [record.commit for record in load_records(tmp_path)] == ["aaa1111", "bbb2222"]


def test_what_records_say_is_text():
    evil = "<img src=x onerror=alert(1)>"
    text = body([kernel(evil, evil, peer=evil, note=evil, quality={evil: evil}, at=(evil, FIRST[1]))])
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") > 5


def test_the_fields_are_those_of_the_harness():
    assert set(KernelRecord.model_fields) == set(HarnessRecord.model_fields)
    harness = HarnessRecord.model_validate(kernel())
    assert KernelRecord.model_validate_json(harness.model_dump_json()).ratio == harness.ratio


def test_targets_and_shares():
    records = parsed(whole())
    small, large, tiny = (
        KernelRecord.model_validate(kernel("mutex_watershed", "x", peer="mwatershed", voxels=edge**3))
        for edge in (200, 300, 32)
    )
    assert (target_of(small).least, target_of(large).least, target_of(tiny)) == (8, 12, None)
    assert target_of(KernelRecord.model_validate(kernel(peer="numpy+tinybrain", case="relabel_pyramid"))).least == 2
    kernels = [record for record in records if isinstance(record, KernelRecord)]
    noise, hub = kernels[8], kernels[9]
    assert target_of(noise) is None
    assert slowdown(noise, kernels[1:8]) == pytest.approx(4)
    assert slowdown(noise, kernels[3:8]) is None
    assert slowdown(hub, []) == 17
    assert memory_share(hub) == pytest.approx((30 * 250**3 + 64 * 5000) / (24 * 250**3 + 64 * 5000))
    assert [score.is_met for score in scores(machines(records)[0])].count(True) == 3


@pytest.mark.parametrize(
    ("values", "low", "high", "ticks"),
    [
        ([3.0], 1, 10, [1, 2, 5, 10]),
        ([0.9, 33], 0.5, 50, [1, 3, 10, 30]),
        ([2e6, 9e10], 2e6, 1e11, [1e7, 1e8, 1e9, 1e10, 1e11]),
        ([], 0.2, 5, [0.2, 0.5, 1, 2, 5]),
    ],
)
def test_scales_end_on_round_numbers(values, low, high, ticks):
    scale = Scale.of(values)
    assert all(scale.low <= value <= scale.high for value in values)
    assert scale.high / scale.low >= 9.99
    assert (scale.low, scale.high) == pytest.approx((low, high))
    assert scale.ticks == pytest.approx(ticks)


def test_the_command(tmp_path, monkeypatch, capsys):
    store(tmp_path / "results", [kernel()])
    output = tmp_path / "pages" / "bench.html"
    assert _call(monkeypatch, str(tmp_path / "results"), "--output", str(output)) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert "Ratio to each peer" in output.read_text()
    for arguments, message in (
        ((str(tmp_path / "nowhere"),), "make bench"),
        ((str(tmp_path / "results"), "--output", str(tmp_path)), "is a folder"),
    ):
        assert _call(monkeypatch, *arguments) == 2
        assert message in capsys.readouterr().err


def _call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["connectome", "dashboard", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0
