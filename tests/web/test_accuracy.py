"""The page of a comparison with truth: curves, and the worst errors with pictures at the spot."""

import json
import re

import pytest

from connectome import cli
from connectome.runtime.accuracy import measure_accuracy
from connectome.web.accuracy import write_accuracy
from connectome.web.sweep_chart import Score, sweep_chart
from tests.web.conftest import hues, pixels


@pytest.fixture(scope="module")
def swept(outcome, tmp_path_factory):
    """(path, content, Accuracy) of the page of a run at three thresholds."""
    truth = outcome.plan.workflow.dataset.truth
    found = measure_accuracy(outcome.dataset.url, truth, thresholds=(0.4, 0.6, 0.9), spacing_nm=200.0, n_worst=2)
    path = write_accuracy(tmp_path_factory.mktemp("page") / "new" / "accuracy.html", outcome.dataset.url, truth, found)
    return path, path.read_text(encoding="utf-8"), found


def test_scores_and_errors_are_there(swept, outcome):
    _, text, found = swept
    best = found.scored[found.best]
    for each in found.scored:
        assert f"{each.agreement.voi:.4f}" in text
    for word in ("Along thresholds", "Worst merges", "Worst splits", f"{best.threshold:g} (best)", outcome.dataset.url):
        assert word in text, word
    assert {error.kind for error, _ in found.worst} == {"merge", "split"}
    for error, spot in found.worst:
        assert f"{error.bits:.4f} bits" in text
        assert f"At z, y, x = {', '.join(map(str, spot.voxel))} (" in text
        assert str(error.label) in text
    # image, truth, segmentation and borders of each, with a text for those who do not see them
    assert text.count('class="picture"') == text.count('class="mark"') == 4 * len(found.worst)
    assert len(re.findall(r"<title>(yx|zx|zy) plane: ", text)) == 4 * len(found.worst)


def test_it_is_one_file(swept):
    text = swept[1]
    assert len(text) < 1_000_000
    assert "<script" not in text
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\' >)]+)', text)
    assert all(link.startswith("data:") for link in links)


def test_pictures_show_the_error(swept, page):
    page.goto(f"file://{swept[0]}")
    rows = page.locator("article .row")
    assert rows.count() == len(swept[2].worst)
    for row in rows.all():
        image, truth, segmentation, borders = row.locator("svg.picture").all()
        assert hues(pixels(image)) <= 1  # the ring
        assert hues(pixels(truth)) >= 2
        assert hues(pixels(segmentation)) >= 2
        assert hues(pixels(borders), least_share=0.001) >= 2
    curves = page.locator(".multiples svg.chart")
    assert curves.count() == 3
    assert [each.locator("g.line").count() for each in curves.all()] == [3, 1, 1]
    for chart in curves.all():
        assert len(chart.get_attribute("aria-label")) > 20
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.errors == []


def test_points_lie_where_the_scores_are(page, tmp_path):
    drawn = sweep_chart([0.2, 0.4, 0.8], [Score("voi", [2.0, 1.0, 4.0])], 1, "bits")
    (tmp_path / "chart.html").write_text(f"<body style='width:640px'>{drawn}</body>")
    page.goto(f"file://{tmp_path / 'chart.html'}")
    xs, ys = ([float(each.get_attribute(key)) for each in page.locator("circle").all()] for key in ("cx", "cy"))
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(1 / 3, abs=0.01)
    assert (ys[0] - ys[1]) / (ys[0] - ys[2]) == pytest.approx(-0.5, abs=0.01)
    assert page.locator("text", has_text=re.compile("^4$")).count() == 1


def test_the_command(outcome, tmp_path, monkeypatch, capsys):
    """One volume, without an image of its own."""
    truth, segmentation = outcome.plan.workflow.dataset.truth, outcome.dataset.volume_url("segmentation")
    output = tmp_path / "errors.html"
    arguments = (segmentation, truth, "--run-length", "250", "--page", output)
    assert _call(monkeypatch, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run_length"]["expected_nm"] > 0
    assert found["worst"][0]["kind"] == "merge"
    text = output.read_text()
    assert "There is no image to show: give --image." in text
    assert "Along thresholds" not in text
    assert _call(monkeypatch, *arguments, "--image", outcome.plan.workflow.dataset.image) == 0
    printed = capsys.readouterr().out
    assert "expected run length" in printed
    assert str(output) in printed
    assert output.read_text().count('class="picture"') > text.count('class="picture"')
    assert _call(monkeypatch, segmentation, truth, "--page", tmp_path) == 2
    assert "is a folder: give a name such as" in capsys.readouterr().err


def test_a_perfect_segmentation_says_so(outcome, tmp_path):
    truth = outcome.plan.workflow.dataset.truth
    found = measure_accuracy(truth, truth, n_worst=2)
    text = write_accuracy(tmp_path / "page.html", truth, truth, found).read_text()
    assert "There is no merge." in text
    assert "There is no split." in text


def _call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["connectome", "evaluate", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0
