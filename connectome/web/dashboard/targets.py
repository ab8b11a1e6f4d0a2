"""What the project set itself, and whether the records show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connectome.web.dashboard.records import KernelRecord

SOURCE = "project targets"
ADVERSARIAL = ("constant", "noise", "hub", "checkerboard")
"""What the names of inputs begin with that were made to be hard, not to look like tissue."""
REFERENCE = "fib25"
"""The input that adversarial ones are compared with: affinities that a network gave for real tissue."""
MOST_SLOWDOWN = 15.0
"""An adversarial voxel takes at most so many times the time of one of the reference."""
BYTES_PER_VOXEL, BYTES_PER_EDGE = 24, 64
"""Memory beyond the inputs that a kernel may take."""


@dataclass(frozen=True)
class Target:
    """A ratio to a peer that a case shall reach on every input that looks like tissue.

    `least_voxels` holds for inputs of that size or larger, up to the next target of the same case.
    """

    case: str
    peer: str
    least: float
    aim: float | None = None
    least_voxels: int = 0

    @property
    def name(self) -> str:
        edge = round(self.least_voxels ** (1 / 3))
        return f"{self.case} / {self.peer}" + (f", {edge}\N{SUPERSCRIPT THREE}" if edge else "")


TARGETS = (
    Target("fragments_edges_mean", "waterz", 8, 15),
    Target("fragments", "waterz", 12, 25),
    Target("median_linkage", "waterz", 6),
    Target("mutex_watershed", "mwatershed", 8, least_voxels=128**3),
    Target("mutex_watershed", "mwatershed", 12, least_voxels=256**3),
    Target("relabel_pyramid", "numpy+tinybrain", 2),
    Target("contacts", "cc3d", 7),
    Target("contacts_fragments", "cc3d", 7),
)


def is_adversarial(record: KernelRecord) -> bool:
    """Tell whether an input was made to be hard."""
    return record.input.startswith(ADVERSARIAL)


def target_of(record: KernelRecord, targets: Sequence[Target] = TARGETS) -> Target | None:
    """Return the target that a record is held against; None where the project set none."""
    if is_adversarial(record) or record.peer is None:
        return None
    fitting = [
        target
        for target in targets
        if (target.case, target.peer) == (record.case, record.peer) and target.least_voxels <= (record.voxels or 0)
    ]
    return max(fitting, key=lambda target: target.least_voxels, default=None)


def allowed_bytes(record: KernelRecord) -> int | None:
    """Return the memory that a record may have taken; None where its size is not stated."""
    if record.voxels is None:
        return None
    return BYTES_PER_VOXEL * record.voxels + BYTES_PER_EDGE * (record.edges or 0)


def memory_share(record: KernelRecord) -> float | None:
    """Return the peak as a share of what is allowed."""
    allowed = allowed_bytes(record)
    return None if allowed is None or record.peak_bytes is None else record.peak_bytes / allowed


def slowdown(record: KernelRecord, records: Iterable[KernelRecord]) -> float | None:
    """Return a record's time per voxel relative to the reference input's, as the run stated it or from the times.

    Parameters
    ----------
    record : KernelRecord
    records : iterable of KernelRecord
        Current ones of the same hardware: the reference is that of the same case and, if there is one, peer.
    """
    if record.slowdown and REFERENCE in record.slowdown:
        return record.slowdown[REFERENCE]
    references = [
        each for each in records if each.case == record.case and each.input == REFERENCE and each.speed is not None
    ]
    if not references or record.speed is None:
        return None
    reference = min(references, key=lambda each: each.peer != record.peer)
    assert reference.speed is not None
    return reference.speed / record.speed
