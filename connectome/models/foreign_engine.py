"""Networks in exchange formats: the file is loaded once per process, and gives probabilities as our own networks do.

Nothing is unpickled by Python. TorchScript is read by torch's own reader. An archive of `torch.export` is looked
through first, since torch would unpickle what it cannot store otherwise. What is left is code of torch's or of
onnxruntime's interpreter, so a network is trusted as far as its author is.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from connectome.errors import InputError
from connectome.models.foreign_manifest import ForeignNetwork

Run = Callable[[Tensor], Any]
"""From an image (1, 1, z, y, x) to what the network returns."""
PLAIN_RECORDS = (
    "models/",
    "data/weights/",
    "data/constants/",
    "data/sample_inputs/",
    "archive_",
    ".data/",
    "byteorder",
)
"""What an archive of `torch.export` may hold."""
UNPICKLED_CONSTANTS = "tensor_"
"""How the names of constants begin that are arrays of numbers."""


def foreign_probability(network: ForeignNetwork, device: str, image: Tensor) -> Tensor:
    """Return probabilities (3, z, y, x), float32, of the tile that a normalised image (z, y, x) gives."""
    manifest = network.manifest
    values = _output_of(network, _load(network, device)(image[None, None].contiguous()))
    if manifest.outputs == "logits":
        values = torch.sigmoid(values)
    planes = []
    for axis in range(3):
        channel, start = manifest.channel_of(axis)
        z, y, x = (slice(a, a + n) for a, n in zip(start, manifest.tile, strict=True))
        planes.append(values[channel, z, y, x])
    probability = torch.stack(planes)
    low, high = (float(each) for each in torch.aminmax(probability))
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"network {network.name!r} gave values from {low:g} to {high:g} as probabilities, which lie from 0 to 1: "
            "set outputs: logits if they are logits, or correct the normalisation"
        )
    return probability


def _output_of(network: ForeignNetwork, returned: Any) -> Tensor:
    """Return the wanted output (channel, z, y, x), or say what is wrong with it."""
    manifest = network.manifest
    outputs = list(returned) if isinstance(returned, list | tuple) else [returned]
    if manifest.output >= len(outputs):
        raise InputError(
            f"network {network.name!r} has {len(outputs)} outputs, so there is no output {manifest.output}: give 0 to "
            f"{len(outputs) - 1}"
        )
    values = outputs[manifest.output]
    wanted = (1, len(manifest.channels), *manifest.output_shape)
    if not isinstance(values, Tensor) or tuple(values.shape) != wanted:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"network {network.name!r} returned {got} for an image of {manifest.input_tile}, but its manifest says "
            f"{wanted} (batch, channel, z, y, x): correct channels, halo or crop"
        )
    return values[0].float()


@lru_cache(maxsize=4)
def _load(network: ForeignNetwork, device: str) -> Run:
    loaders = {"torchscript": _load_torchscript, "torch_export": _load_torch_export, "onnx": _load_onnx}
    return loaders[network.manifest.format](network.path, device)


def _load_torchscript(path: Path, device: str) -> Run:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the files are there, whatever torch advises
            module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise _unreadable(path, "TorchScript", "torch.jit.save") from error
    run: Run = module.eval()
    return run


def _load_torch_export(path: Path, device: str) -> Run:
    _refuse_pickles(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise _unreadable(path, "torch.export", "torch.export.save") from error
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    run: Run = program.module()
    return run


def _refuse_pickles(path: Path) -> None:
    """Raise InputError where torch would unpickle a part of an archive with all that Python can do."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise _unreadable(path, "torch.export", "torch.export.save") from error
    for name, content in records.items():
        if not name.startswith(PLAIN_RECORDS) or not _is_plain(name, content):
            raise InputError(
                f"{path} holds {name}, which only Python's pickle can read, and that could run any code: export the "
                "network without custom objects"
            )


def _is_plain(name: str, content: bytes) -> bool:
    """Tell whether torch reads a record without pickle, or with the restricted one that makes tensors alone."""
    if name.endswith("_config.json"):
        entries = json.loads(content)["config"].values()
        is_constant = name.startswith("data/constants/")
        names = all(entry["path_name"].startswith(UNPICKLED_CONSTANTS) or not is_constant for entry in entries)
        return names and not any(entry["use_pickle"] for entry in entries)
    if not name.endswith(".pt"):
        return True
    if not name.startswith("data/sample_inputs/"):
        return False  # weights of the older layout
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except pickle.UnpicklingError:
        return False
    return True


def _load_onnx(path: Path, device: str) -> Run:  # noqa: ARG001
    """Load for the processor, whatever the device: the wheels for accelerators are others."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{path} needs onnxruntime: pip install 'connectome[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _unreadable(path, "ONNX", "torch.onnx.export") from error
    (name, *others) = [each.name for each in session.get_inputs()]
    if others:
        raise InputError(f"{path} has {1 + len(others)} inputs, wanted is one: the image")

    def run(image: Tensor) -> list[Tensor]:
        return [torch.from_numpy(each) for each in session.run(None, {name: image.cpu().numpy()})]

    return run


def _unreadable(path: Path, form: str, writer: str) -> InputError:
    return InputError(
        f"{path} is no {form} file that this version reads: write it with {writer}, or correct its format"
    )
