"""Cross-validation: a network is trained on all parts of its volumes but one, and judged on that one."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectome.geometry import Box, Triple, as_triple


class CrossValidation(BaseModel):
    """Which part of every source's box is held out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    parts: Triple = (1, 2, 2)
    """Into how many parts (z, y, x) a box is cut, as evenly as whole voxels allow; quadrants of all sections."""
    held_out: int = Field(default=0, ge=0)
    """Number of the part, in C order, that is not learned from: the fold."""

    @model_validator(mode="after")
    def _check_held_out(self) -> Self:
        if min(self.parts) < 1 or self.n_folds < 2:
            raise ValueError(f"a box is cut into two parts at least, got parts {self.parts}")
        if self.held_out >= self.n_folds:
            raise ValueError(f"parts {self.parts} are {self.n_folds}, numbered from 0: got held_out {self.held_out}")
        return self

    @property
    def n_folds(self) -> int:
        z, y, x = self.parts
        return z * y * x

    def split(self, box: Box) -> tuple[list[Box], Box]:
        """Return the boxes to learn from, and the one that is held out."""
        cuts = [
            [a + n * k // p for k in range(p + 1)] for a, n, p in zip(box.start, box.shape, self.parts, strict=True)
        ]
        boxes = []
        for number in range(self.n_folds):
            z, rest = divmod(number, self.parts[1] * self.parts[2])
            place = (z, *divmod(rest, self.parts[2]))
            spans = [(cut[k], cut[k + 1]) for cut, k in zip(cuts, place, strict=True)]
            boxes.append(Box(as_triple([a for a, _ in spans]), as_triple([b for _, b in spans])))
        held_out = boxes.pop(self.held_out)
        return boxes, held_out
