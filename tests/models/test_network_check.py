"""What `connectome networks` prints, and that a claim which does not hold is found."""

import json

import numpy as np
import pytest

from connectome import cli
from connectome.models import network_check
from connectome.models.architecture import Architecture
from connectome.models.network_check import check_network, measure_geometry
from tests.models.small_networks import CUBIC, FLAT, random_network


@pytest.mark.parametrize("levels", [CUBIC, FLAT])
def test_geometry_is_what_the_architecture_derives(levels):
    architecture = Architecture.model_validate(levels)
    halo = architecture.halo
    assert measure_geometry(architecture) == (halo.low, halo.high, architecture.receptive_field)


def test_an_honest_network_passes(tmp_path):
    assert [proof.is_met for proof in check_network(random_network(tmp_path))] == [True] * 4


def test_claims_that_do_not_hold_are_found(tmp_path, monkeypatch):
    """A field that is claimed too small, tiles that depend on their place, and bytes that depend on the box."""
    network, calls = random_network(tmp_path), []

    def other_each_time(function):
        def changed(*arguments, **options):
            calls.append(arguments)
            return function(*arguments, **options) ^ np.uint8(4 * (len(calls) % 2))

        return changed

    monkeypatch.setattr(network_check, "measure_geometry", lambda _: ((1, 1, 1), (1, 1, 1), (3, 3, 3)))
    assert [proof.is_met for proof in check_network(network)] == [False, False, True, True]
    for name in ("run_tile", "predict"):
        monkeypatch.setattr(network_check, name, other_each_time(getattr(network_check, name)))
    assert [proof.is_met for proof in check_network(network)] == [False] * 4


def test_commands(tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, "list", "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["fib25", "phantom"]
    path = random_network(tmp_path).weights_path.with_suffix(".yaml")
    assert call(monkeypatch, "check", path) == 0
    printed = capsys.readouterr().out
    assert printed.count("holds") == 4
    assert "receptive field" in printed
    monkeypatch.setattr(network_check, "measure_geometry", lambda _: ((1, 1, 1), (1, 1, 1), (3, 3, 3)))
    assert call(monkeypatch, "check", path) == 1
    assert capsys.readouterr().out.count("differs") >= 2


def call(monkeypatch, *arguments):
    """Return the exit code of the command."""
    monkeypatch.setattr("sys.argv", ["connectome", "networks", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0
