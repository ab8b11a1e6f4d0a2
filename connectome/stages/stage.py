"""What a stage is: frozen parameters, what it reads and writes, and pure methods on arrays and tables.

The framework reads, calls, checks, writes and records; a stage never touches a store, so it is
tested with an array. A `BlockStage` maps blocks to blocks; a `TreeStage` reduces tables over an
octree of blocks and expands names on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from connectome.geometry import Block, Box, Halo, Triple

Columns = dict[str, npt.NDArray[Any]]
VoxelSize = tuple[float, float, float]
StepInputs = Mapping[str, Sequence[Columns]]
"""Parts of tables by name, in the order of `RootSteps.reads`."""

TORCH_BYTES = 320_000_000
"""What torch keeps in a process once a network ran (measured with `fib25`, in float32)."""


@dataclass(frozen=True)
class VolumeArtifact:
    """A volume that a stage writes, one write box per block, with its mip pyramid if it has one."""

    name: str
    dtype: str
    n_channels: int | None = None
    pyramid: Literal["mean", "mode"] | None = None

    def bytes_per_voxel(self) -> int:
        return np.dtype(self.dtype).itemsize * (self.n_channels or 1)


@dataclass(frozen=True)
class TableArtifact:
    """A table that a stage writes, one part per block or node."""

    name: str
    columns: Mapping[str, str]


Artifact = VolumeArtifact | TableArtifact


class Stage(BaseModel):
    """Base of all stages. A subclass declares ``stage: Literal["its_name"]`` and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    inputs: ClassVar[tuple[str, ...]] = ()
    """Artifacts that the stage reads."""
    outputs: ClassVar[tuple[Artifact, ...]] = ()
    """Artifacts that the stage writes; no other stage writes them."""
    resident_bytes: ClassVar[int] = 0
    """What stays in a worker's process when a task of the stage is done: libraries that no other stage loads."""
    version: ClassVar[int] = 1
    """Raised when the stage's results change for the same input and parameters."""

    resources: dict[str, int] = Field(default_factory=dict, max_length=1)
    """What a worker must offer to run the stage, such as ``{gpu: 1}``; the result does not depend on it."""

    fuse: bool = False
    """Run in the tasks of the stage that follows, which then gets what this one writes from memory."""
    keep: bool = True
    """Keep the volumes that the stage writes; if not, they are deleted when all that reads them is done."""

    @property
    def name(self) -> str:
        return str(self.stage)  # type: ignore[attr-defined]

    @property
    def pool(self) -> str:
        """The pool of workers that runs the stage: the resource that it asks for, or ``cpu``."""
        return next(iter(self.resources), "cpu")

    @property
    def parameters(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"stage", "resources", "fuse", "keep"})

    def identity(self) -> dict[str, Any]:
        """Return everything that the result depends on beside the inputs."""
        return {**self.parameters, "version": self.version}

    def domain(self) -> tuple[Box, VoxelSize] | None:
        """Box and voxel size of the volume that the stage makes from nothing, if it does."""
        return None

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:
        """Raise InputError where the volume does not suit the stage."""

    def check_beside(self, stages: Sequence[Stage]) -> None:
        """Raise ValueError where the stages of a workflow do not suit each other."""


class BlockStage(Stage):
    """Maps boxes of volumes (and the block's own table parts) to the block's outputs."""

    is_local: ClassVar[bool] = False
    """Whether a voxel's value is the same from every block that holds it."""
    process: ClassVar[Callable[..., dict[str, Any]]]
    """``process(block, **inputs)`` with an array or columns per input; returns the same per output."""
    process_levels: ClassVar[Callable[..., dict[str, Any]] | None] = None
    """``process_levels(block, steps, **inputs)`` where pooling its volume takes a stage less than pooling after it:
    as `process`, but with a list of levels for the volume; `steps` are the factors of 1 or 2 between them. It may
    overwrite its inputs: its caller gives them away."""

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        """Voxels of input volume `name` needed around the write box."""
        return Halo()

    def read_box(self, name: str, block: Block) -> Box:
        """Box of input volume `name` that `process` gets for `block`, inside the domain."""
        return block.write_box.grow(self.halo(name, block.voxel_size_nm)).intersect(block.domain)

    def peak_bytes(self, block: Block) -> int:
        """Estimate the memory that `process` takes beside inputs and outputs."""
        raise NotImplementedError


class TreeStage(Stage):
    """Reduces tables up an octree over the grid, and expands them down again.

    A leaf reduces the tables named in `inputs` of its own block; a node those that its children wrote
    under `carried` (the same order as `inputs`). `outputs` lists what `reduce` writes at each node,
    then what `expand` writes at each node.
    """

    carried: ClassVar[tuple[str, ...]]
    """Outputs of `reduce` that the node above reads, in the order of `inputs`."""
    expanded: ClassVar[tuple[str, ...]]
    """Outputs of `expand`; the leaf's parts are the stage's result for a block."""
    kept: ClassVar[tuple[str, ...]]
    """Outputs of `reduce` that `expand` reads at the same node."""
    stepped: ClassVar[tuple[str, ...]] = ()
    """Outputs of `step` alone; the last step writes to the first of them what `expand` reads at the top nodes."""

    @property
    def cell_shape(self) -> Triple | None:
        """Shape in voxels of the cells in which the octree begins anew, if there are any."""
        return None

    @property
    def root_rounds(self) -> tuple[int, int] | None:
        """Level of the top nodes, and rounds that take the place of the levels above, where the root is in parts."""
        return None

    def step(self, phase: str, number: int, shard: tuple[int, int], inputs: StepInputs) -> dict[str, Columns]:
        """Do one step of a root in parts: `phase` of round `number` for shard (or group) i of n."""
        raise NotImplementedError

    def reduce(
        self, box: Box, children: Sequence[tuple[Box, Mapping[str, Columns]]], domain: Box
    ) -> dict[str, Columns]:
        """Join the tables of the children (keyed by the names in `inputs`) at the node of `box`."""
        raise NotImplementedError

    def expand(
        self, box: Box, own: Mapping[str, Columns], above: Mapping[str, Columns] | None, domain: Box
    ) -> dict[str, Columns]:
        """Compose what the node kept with what the node above wrote (None at the root)."""
        raise NotImplementedError


def integer_voxel_size(voxel_size_nm: VoxelSize) -> Triple:
    """Round a voxel size to whole nanometres, at least 1."""
    z, y, x = (max(1, round(size)) for size in voxel_size_nm)
    return z, y, x
