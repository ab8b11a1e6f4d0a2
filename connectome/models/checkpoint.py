"""Checkpoints of a training run: one safetensors file with JSON in its header, no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from connectome.errors import InputError
from connectome.models.validation import History

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """Everything that training changes."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    progress: Progress
    best: dict[str, Tensor] = field(default_factory=dict)
    """Averaged weights at the best validation; empty before there was one."""
    history: History = field(default_factory=History)


def save_checkpoint(path: Path, state: State, identity: dict[str, object]) -> None:
    """Write `state` beside `path`, then put it in place in one step; `identity` is what it depends on."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.network.named_parameters():
        tensors[f"network.{name}"] = value
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = state.optimizer.state[value][moment]
    for name, value in state.average.named_parameters():
        tensors[f"average.{name}"] = value
    tensors |= {f"best.{name}": value for name, value in state.best.items()}
    contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
    described = {"progress": asdict(state.progress), "history": asdict(state.history), "identity": identity}
    header = {name: json.dumps(value) for name, value in described.items()}
    partial = path.with_name(f"{path.name}.partial")
    save_file(contiguous, partial, metadata=header)
    partial.replace(path)


def load_checkpoint(path: Path, state: State, identity: dict[str, object]) -> bool:
    """Bring `state` to the state saved at `path`; tell whether there was one."""
    if not path.exists():
        return False
    with safe_open(path, "pt") as file, torch.no_grad():
        header = file.metadata()
        _check_identity(path, json.loads(header["identity"]), json.loads(json.dumps(identity)))
        for name, value in state.network.named_parameters():
            value.copy_(file.get_tensor(f"network.{name}"))
            state.optimizer.state[value] = {m: file.get_tensor(f"{m}.{name}").clone() for m in MOMENTS}
        for name, value in state.average.named_parameters():
            value.copy_(file.get_tensor(f"average.{name}"))
        state.best = {name[5:]: file.get_tensor(name).clone() for name in file.keys() if name.startswith("best.")}  # noqa: SIM118
        state.progress = Progress(**json.loads(header["progress"]))
        state.history = History(**json.loads(header["history"]))
    return True


def _check_identity(path: Path, saved: dict[str, object], present: dict[str, object]) -> None:
    changed = sorted(key for key in saved.keys() | present.keys() if saved.get(key) != present.get(key))
    if changed:
        raise InputError(
            f"the training run at {path} was begun with other values of {', '.join(changed)}: restore them to go "
            "on, or choose another folder (or remove the checkpoint) to begin anew"
        )
