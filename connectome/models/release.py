"""From a trained network to the two files that are shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save

from connectome.models.manifest import Manifest, Provenance, channels_of, load_trained, write_manifest
from connectome.models.network import Normalisation
from connectome.models.training_config import Training
from connectome.models.unet import UNet


def command_of(config: Training) -> str:
    """Return the command that trains the network again."""
    command = f"connectome train workflows/train/{config.name}.yaml"
    if config.cross_validation is not None:
        command += f" --set cross_validation.held_out={config.cross_validation.held_out}"
    return command


def release(
    folder: Path,
    config: Training,
    normalisation: tuple[float, float],
    network: UNet,
    figures: dict[str, float],
) -> Path:
    """Write weights and manifest of a trained network to `folder` and return the manifest's path.

    Auxiliary outputs are left out. Weights are stored in bfloat16, which is what inference multiplies;
    where it computes in float32 it does so with the same rounded weights. The weights come first and
    the manifest holds their hash, so a run that dies in between leaves no pair that loads.
    """
    kept = UNet(config.architecture, auxiliary=False).state_dict()
    state = {
        name: value.to(torch.bfloat16).contiguous() for name, value in network.state_dict().items() if name in kept
    }
    content = save(state, metadata={"name": config.network_name})
    weights = folder / f"{config.network_name}.safetensors"
    partial = weights.with_name(f"{weights.name}.partial")
    partial.write_bytes(content)
    partial.replace(weights)
    architecture = config.architecture
    manifest = Manifest(
        name=config.network_name,
        weights=weights.name,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        voxel_size_nm=config.voxel_size_nm,
        voxel_size_tolerance=config.voxel_size_tolerance,
        normalisation=Normalisation(mean=normalisation[0], standard_deviation=normalisation[1]),
        channels=channels_of(architecture),
        tile=config.tile,
        stride=architecture.stride,
        receptive_field=architecture.receptive_field,
        halo_low=architecture.halo.low,
        halo_high=architecture.halo.high,
        architecture=architecture,
        training=Provenance(
            data=config.training_data,
            licence=config.licence,
            command=command_of(config),
            started_from=config.start_from and load_trained(config.start_from).manifest.weights_sha256,
            figures=figures,
        ),
    )
    path = folder / f"{config.network_name}.yaml"
    write_manifest(path, manifest)
    return path
