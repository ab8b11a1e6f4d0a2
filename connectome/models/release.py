"""From a trained network to the two files that are used."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save
from torch import nn

from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.flood_filling_network import Weights
from connectome.models.manifest import Manifest, Provenance, channels_of, load_trained, write_manifest
from connectome.models.network import Normalisation
from connectome.models.training_config import Training
from connectome.models.training_run import TrainingRun
from connectome.models.unet import UNet


def release(
    folder: Path,
    config: Training,
    normalisation: tuple[float, float],
    network: nn.Module,
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
    _put(weights, content)
    architecture = config.architecture
    started_from = config.start_from and load_trained(config.start_from).manifest.weights_sha256
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
        training=_provenance(config, figures, started_from),
    )
    path = folder / f"{config.network_name}.yaml"
    write_manifest(path, manifest)
    return path


def release_filling(
    folder: Path,
    config: FloodFillingTraining,
    normalisation: tuple[float, float],
    weights: Weights,
    figures: dict[str, float],
) -> Path:
    """Write weights of a flood-filling network as npz, and beside it how the stage `flood_filling` takes them.

    Returns the path of the latter: a YAML file with the stage's parameters under ``flood_filling``, and under
    ``training`` what a manifest says there.
    """
    content = BytesIO()
    np.savez(content, **weights)  # type: ignore[arg-type]  # no array has the name of the option
    path = folder / f"{config.network_name}.npz"
    _put(path, content.getvalue())
    settings = {
        "weights": str(path),
        "field_of_view": list(config.field_of_view),
        "deltas": list(config.deltas),
        "image_mean": normalisation[0],
        "image_standard_deviation": normalisation[1],
        "trained_voxel_size_nm": list(config.voxel_size_nm),
        "move_threshold": config.move_threshold,
    }
    described = {"flood_filling": settings, "training": _provenance(config, figures).model_dump(mode="json")}
    _put(path.with_suffix(".yaml"), yaml.safe_dump(described, sort_keys=False, width=100).encode())
    return path.with_suffix(".yaml")


def _provenance(config: TrainingRun, figures: dict[str, float], started_from: str | None = None) -> Provenance:
    return Provenance(
        data=config.training_data,
        licence=config.licence,
        command=config.command,
        started_from=started_from,
        figures=figures,
    )


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
