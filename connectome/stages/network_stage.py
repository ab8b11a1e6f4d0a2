"""What stages share that predict a head of a network from the image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Box, Halo
from connectome.models import load_network
from connectome.models.architecture import HeadName
from connectome.models.inference import RECENT_BYTES, image_box, predict, working_bytes
from connectome.stages.stage import TORCH_BYTES, BlockStage, VoxelSize


class NetworkStage(BlockStage):
    """A stage whose blocks are one head of a network, predicted tile by tile."""

    head: ClassVar[HeadName]
    """What the network must predict."""

    is_local: ClassVar[bool] = True
    resident_bytes: ClassVar[int] = TORCH_BYTES + RECENT_BYTES

    network: str
    """Name of a shipped network, or path to a manifest."""
    mirrored: bool = False
    """Average the predictions of the eight mirror images: better, for eight times the work."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "network": load_network(self.network).fingerprint}

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:  # noqa: ARG002
        network = load_network(self.network)
        network.check_voxel_size(voxel_size_nm)
        network.channels(self.head)
        if self.mirrored:
            network.check_mirrors()

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return load_network(self.network).halo

    def read_box(self, name: str, block: Block) -> Box:  # noqa: ARG002
        return image_box(load_network(self.network), block.domain, block.write_box)

    def peak_bytes(self, block: Block) -> int:  # noqa: ARG002
        return working_bytes(load_network(self.network))

    def predict(
        self, block: Block, image: npt.NDArray[np.uint8], wanted: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Predict the head in a block from the image of its read box, where it is wanted."""
        network = load_network(self.network)
        boxes = (image_box(network, block.domain, block.write_box), block.domain, block.write_box)
        return predict(network, image, *boxes, head=self.head, mirrored=self.mirrored, wanted=wanted)
