"""Stages that do nothing but what a test wants to go wrong, and note where and when they did it.

A preload of Dask workers: `dask_setup` makes their process know the stages.
"""

import os
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from distributed.diagnostics.plugin import WorkerPlugin

from connectome.geometry import Block, Box, Triple
from connectome.runtime.prepare import prepare
from connectome.stages import BlockStage, registry
from connectome.workflow.workflow import Workflow


class Troubled(BlockStage):
    stage: Literal["troubled"] = "troubled"
    version: ClassVar[int] = 1
    shape: Triple
    """Blocks along each axis; a block is one voxel."""
    raises: tuple[int, ...] = ()
    kills: tuple[int, ...] = ()
    """Places along x of blocks that raise, or take their worker with them."""
    seconds: float = 0.0
    log: str = ""

    def domain(self):
        return Box.of_shape(self.shape), (1.0, 1.0, 1.0)

    def process(self, block: Block) -> dict[str, Any]:
        x = block.write_box.start[2]
        began = time.time()
        if self.log:
            self.note("begun", x, began)
        if x in self.kills:
            os._exit(1)
        if x in self.raises:
            raise RuntimeError(f"block {x} is troubled")
        time.sleep(self.seconds)
        if self.log:
            self.note("done", x, began)
        return {}

    def note(self, word: str, x: int, began: float) -> None:
        with Path(self.log).open("a") as file:
            file.write(f"{word} {self.name} {x} {os.getpid()} {began} {time.time()}\n")

    def peak_bytes(self, block: Block) -> int:
        return 0


class Beside(Troubled):
    stage: Literal["beside"] = "beside"


class KnowsTroubled(WorkerPlugin):
    name = "knows-troubled"

    def setup(self, worker):
        learn()


def learn():
    registry().update({"troubled": Troubled, "beside": Beside})


def dask_setup(worker):
    learn()


def troubled_plan(folder, n_blocks, *stages, attempts=3):
    """(plan, dataset) of stages over a row of blocks; each of `stages` is a dict of parameters."""
    learn()
    stages = [{"stage": "troubled", "shape": (1, 1, n_blocks), **each} for each in stages or ({},)]
    content = {"dataset": {"url": str(folder)}, "grid": {"block": (1, 1, 1)}, "attempts": attempts, "stages": stages}
    return prepare(Workflow.parse(content))


def notes_of(log):
    """[(word, stage, x, pid, began, ended)] of what the stages noted."""
    lines = [line.split() for line in Path(log).read_text().splitlines()]
    return [(word, name, int(x), int(pid), float(began), float(ended)) for word, name, x, pid, began, ended in lines]
