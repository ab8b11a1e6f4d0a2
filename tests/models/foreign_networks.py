"""Networks in exchange formats, small enough to be written and run in a test."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from connectome.models import load_network
from connectome.models.foreign_manifest import ForeignNetwork

INPUT = (14, 16, 18)
FORMATS = ("torchscript", "torch_export", "onnx")
SUFFIXES = {"torchscript": ".pt", "torch_export": ".pt2", "onnx": ".onnx"}


class Valid(nn.Module):
    """Two valid convolutions: three voxels of halo before, two after along z; two and two along y and x."""

    def __init__(self, norm: nn.Module | None = None, n_channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, (4, 3, 3))
        self.norm = norm or nn.Identity()
        self.last = nn.Conv3d(4, n_channels, 3)
        nn.init.normal_(self.first.weight, 0, 0.4)
        nn.init.normal_(self.last.weight, 0, 0.6)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(functional.relu(self.norm(self.first(image))))


class Pooled(nn.Module):
    """One level of pooling, zeros padded at the border: the output is as large as the image."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv3d(1, 3, 3, padding=1)
        self.coarse = nn.Conv3d(3, 3, 3, padding=1)
        self.joined = nn.Conv3d(6, 3, 3, padding=1)
        for layer in (self.fine, self.coarse, self.joined):
            nn.init.normal_(layer.weight, 0, 0.4)

    def forward(self, image: Tensor) -> Tensor:
        fine = functional.relu(self.fine(image))
        coarse = functional.relu(self.coarse(functional.max_pool3d(fine, [1, 2, 2])))
        up = functional.interpolate(coarse, scale_factor=[1.0, 2.0, 2.0], mode="nearest")
        return self.joined(torch.cat([fine, up], dim=1))


VALID: dict[str, Any] = {"halo_low": [3, 2, 2], "halo_high": [2, 2, 2]}
POOLED: dict[str, Any] = {
    "halo_low": [3, 6, 6],
    "halo_high": [3, 6, 6],
    "crop_low": [3, 6, 6],
    "crop_high": [3, 6, 6],
    "stride": [1, 2, 2],
    "input_tile": [14, 20, 22],
}


def module(kind: type[nn.Module] = Valid, **arguments: Any) -> nn.Module:
    """Return a network with weights that are the same in every test."""
    torch.manual_seed(5)
    return kind(**arguments).eval()


def write_file(network: nn.Module, path: Path, form: str, shape: tuple[int, ...] = INPUT) -> None:
    """Export a network; skip the test where nothing here writes or reads the format."""
    image = torch.zeros(1, 1, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch thinks of its own formats
        if form == "torchscript":
            torch.jit.save(torch.jit.script(network), path)
        elif form == "torch_export":
            torch.export.save(torch.export.export(network, (image,)), path)
        else:
            pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'connectome[onnx]'")
            pytest.importorskip("onnxscript", reason="onnxscript, which writes ONNX from torch, is not installed")
            torch.onnx.export(network, (image,), path, dynamo=True, external_data=False, verbose=False)


def foreign(folder: Path, network: nn.Module, form: str = "torchscript", **changes: Any) -> ForeignNetwork:
    """Write a network with its manifest, and load it."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"foreign{SUFFIXES[form]}"
    write_file(network, path, form, tuple(changes.get("input_tile", INPUT)))
    return manifested(path, form, **changes)


def manifested(path: Path, form: str = "torchscript", **changes: Any) -> ForeignNetwork:
    """Write the manifest of a file, and load it."""
    offsets = {"affinity_z": [-1, 0, 0], "affinity_y": [0, -1, 0], "affinity_x": [0, 0, -1]}
    content = {
        "name": "foreign",
        "file": path.name,
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "format": form,
        "voxel_size_nm": [10, 10, 10],
        "normalisation": {"mean": 128, "standard_deviation": 64},
        "channels": [{"name": name, "offset": offset} for name, offset in offsets.items()],
        "outputs": "logits",
        "input_tile": list(INPUT),
        "memory_gb": 0.1,
        "licence": "Apache-2.0",
        "source": "this test",
        **VALID,
        **changes,
    }
    manifest = path.with_suffix(".yaml")
    manifest.write_text(yaml.safe_dump(content))
    return load_network(str(manifest))
