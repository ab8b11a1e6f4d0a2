"""Commands about networks: which are there, and whether one is what its manifest says."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from connectome.commands import options
from connectome.runtime.terminal import show, table_of

commands = typer.Typer(no_args_is_help=True, help="Networks that are shipped, and proofs of what they claim.")


@commands.command("list")
def list_networks(as_json: options.AsJson = False) -> None:
    """Print the networks that are shipped: voxel size, receptive field, training data and licence."""
    from connectome.models import TrainedNetwork, load_network, shipped_networks

    networks = map(load_network, shipped_networks())
    manifests = [each.manifest for each in networks if isinstance(each, TrainedNetwork)]
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in manifests]))
        return
    table = table_of("networks", "name", "voxel nm", "receptive field", "stride", "licence", "trained on")
    for each in manifests:
        sizes = (each.voxel_size_nm, each.receptive_field, each.stride)
        table.add_row(each.name, *map(_sizes, sizes), each.training.licence, each.training.data)
    show(table)


@commands.command()
def check(
    network: Annotated[str, typer.Argument(help="Name of a shipped network, or path of a manifest.")],
    as_json: options.AsJson = False,
) -> None:
    """Measure a network's receptive field, halo, stride and independence of tiles; exit code 1 where one differs."""
    from connectome.models import load_network
    from connectome.models.network_check import check_network

    proofs = check_network(load_network(network))
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in proofs]))
    else:
        table = table_of(network, "property", "claimed", "measured", "")
        for each in proofs:
            table.add_row(each.name, each.claimed, each.measured, "holds" if each.is_met else "differs")
        show(table)
        for remedy in dict.fromkeys(each.remedy for each in proofs if each.remedy and not each.is_met):
            print(f"refused: {remedy}")
    if not all(each.is_met for each in proofs):
        raise typer.Exit(1)


def _sizes(triple: tuple[float, float, float]) -> str:
    return " x ".join(f"{n:g}" for n in triple)
