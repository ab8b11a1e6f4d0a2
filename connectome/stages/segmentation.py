"""The segmentation: fragments under their final names, with its mip pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Triple
from connectome.kernels.relabel import relabel, relabel_pyramid
from connectome.stages.stage import Artifact, BlockStage, Columns, VolumeArtifact


class Segmentation(BlockStage):
    """Write the final labels; ids are 1 + the index of the segment's first voxel, 0 is background."""

    inputs: ClassVar[tuple[str, ...]] = ("fragments", "names")
    outputs: ClassVar[tuple[Artifact, ...]] = (VolumeArtifact("segmentation", "uint64", pyramid="mode"),)

    stage: Literal["segmentation"] = "segmentation"

    def process(
        self,
        block: Block,  # noqa: ARG002
        *,
        fragments: npt.NDArray[np.uint64],
        names: Columns,
    ) -> dict[str, Any]:
        return {"segmentation": relabel(fragments, names["old"].astype(np.uint64), names["new"].astype(np.uint64))}

    def process_levels(
        self,
        block: Block,  # noqa: ARG002
        steps: Sequence[Triple],
        *,
        fragments: npt.NDArray[np.uint64],
        names: Columns,
    ) -> dict[str, Any]:
        old, new = names["old"].astype(np.uint64), names["new"].astype(np.uint64)
        labels = np.require(fragments, requirements=["C_CONTIGUOUS", "WRITEABLE"])
        return {"segmentation": relabel_pyramid(labels, old, new, steps, out=[labels])}

    def peak_bytes(self, block: Block) -> int:
        return 3 * block.write_box.n_voxels
