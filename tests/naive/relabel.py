"""Renaming in plain Python."""

import numpy as np


def relabel(labels, old, new):
    names = dict(zip(old.tolist(), new.tolist(), strict=True))
    return np.array([names.get(label, label) for label in labels.ravel().tolist()], np.uint64).reshape(labels.shape)
