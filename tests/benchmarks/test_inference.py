"""The benchmark of inference, on a network so small that it takes no time."""

import json
import sys

import pytest

from benchmarks import inference
from tests.models.small_networks import random_network


@pytest.fixture
def network(tmp_path):
    return random_network(tmp_path, tile=(8, 8, 16))


def test_monai_gives_the_same_bytes(network):
    pytest.importorskip("monai", reason="monai is not installed: pip install -e '.[bench]'")
    found = inference.measure(str(network.weights_path.with_suffix(".yaml")), [16, 32], 16, 20, 2)
    assert json.loads(json.dumps(found))["blocks"].keys() == {"16", "32"}
    for block in found["blocks"].values():
        assert block["largest_difference"] <= 1
        assert block["share_of_bytes_that_differ"] < 0.01
        assert block["ours_to_monai"]["min"] <= block["ours_to_monai"]["median"] <= block["ours_to_monai"]["max"]


def test_ours_and_the_bare_network_are_calls(network, monkeypatch):
    monkeypatch.setattr(inference, "windows", lambda *_: None)
    timed = inference.calls(network, 16, 24, 20)
    assert timed["ours"]().shape == (3, 16, 16, 16)
    assert timed["bare"]().shape == (3, 24, 24, 24)
    with pytest.raises(ValueError, match="choose another --block"):
        inference.calls(network, 20, 24, 20)


def test_without_monai_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(inference.machine, "take_one_core", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["inference"])
    monkeypatch.setitem(sys.modules, "monai", None)
    assert inference.main() == 1
    assert "monai is not installed" in capsys.readouterr().err
