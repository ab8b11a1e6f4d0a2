"""Affinity networks: what is shipped, how it is applied, how it is trained."""

import os

from connectome.models.foreign_manifest import ForeignManifest, ForeignNetwork
from connectome.models.inference import engine_name, image_box, predict_affinities, working_bytes
from connectome.models.manifest import Manifest, TrainedNetwork, load_network, shipped_networks
from connectome.models.network import Network
from connectome.models.training_config import Training

__all__ = [
    "ForeignManifest",
    "ForeignNetwork",
    "Manifest",
    "Network",
    "TrainedNetwork",
    "Training",
    "engine_name",
    "image_box",
    "load_network",
    "predict_affinities",
    "shipped_networks",
    "working_bytes",
]

# Activations are large and short-lived: with 4 kB pages a third of the time goes into zeroing them. Torch
# asks for huge pages if told so before its first allocation (measured: 1.6 -> 2.2 Mvoxel/s).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
