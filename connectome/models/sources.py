"""Labelled volumes as the configuration names them, read and made fit for training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.kernels.downsample import downsample_mean, downsample_mode
from connectome.models.samples import LabelledImage
from connectome.models.targets import UNKNOWN, absorb_enclosed
from connectome.models.training_run import Source, TrainingRun

Read = Callable[[str], npt.NDArray[Any]]
Generate = Callable[[Box, int], tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]]


def load_source(source: Source, config: TrainingRun, read: Read, generate: Generate | None) -> LabelledImage:
    """Read or generate one labelled volume and join its organelles to their cells."""
    masks: dict[str, npt.NDArray[np.uint8]] = {}
    labels: npt.NDArray[Any] | None
    if source.phantom_seed is not None:
        if generate is None:
            raise ValueError("the configuration asks for a phantom: give train() a generator")
        assert source.box is not None
        image, labels = generate(Box.parse(source.box), source.phantom_seed)
    else:
        assert source.image is not None
        image = _cut(read, source.image, source.box)
        labels = None if source.labels is None else _cut(read, source.labels, source.box)
        masks = {name: _mask(_cut(read, url, source.box), source.unknown) for name, url in source.classes.items()}
    if source.downsample != (1, 1, 1):
        image = downsample_mean(image, source.downsample)
        masks = {name: downsample_mode(mask, source.downsample) for name, mask in masks.items()}
        labels = None if labels is None else downsample_mode(labels, source.downsample)
    if labels is not None:
        labels = absorb_enclosed(labels.astype(np.int64), config.absorb_below, config.absorb_share)
    labelled = LabelledImage(image, labels, config, masks)
    labelled.check_patch(config.patch)
    return labelled


def _cut(read: Read, url: str, box: str | None) -> npt.NDArray[Any]:
    array = read(url)
    if box is None:
        return array
    wanted = Box.parse(box)
    if not Box.of_shape(array.shape).contains(wanted):
        raise InputError(f"box {wanted} leaves {url} of shape {array.shape}: choose one inside")
    return array[wanted.slices]


def _mask(array: npt.NDArray[Any], unknown: int | None) -> npt.NDArray[np.uint8]:
    mask: npt.NDArray[np.uint8] = (array != 0).astype(np.uint8)
    if unknown is not None:
        mask[array == unknown] = UNKNOWN
    return mask
