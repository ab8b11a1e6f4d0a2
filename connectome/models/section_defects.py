"""What goes wrong with single sections: lost, stained, out of focus, too thick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]


def spoil_section(image: Image, random: np.random.Generator) -> None:
    """Make one section of an image (z, y, x) flat, bright or dark, in place."""
    section = image[random.integers(image.shape[0])]
    kind = random.integers(3)
    if kind == 0:
        section[:] = section.mean()
    else:
        section += np.float32(random.uniform(0.5, 2.0) * (1 if kind == 1 else -1))


def defocus_sections(image: Image, largest_sigma: float, random: np.random.Generator) -> None:
    """Blur one section in its plane, or all from there to another, in place; sigma in voxels."""
    from scipy.ndimage import gaussian_filter  # A plan knows augmentation, and needs no filters.

    first, last = sorted(int(n) for n in random.integers(image.shape[0], size=2))
    if random.random() < 0.5:
        last = first
    sigma = random.uniform(0.25, 1) * largest_sigma
    for section in image[first : last + 1]:
        section[:] = gaussian_filter(section, sigma, mode="reflect")


def stain_sections(image: Image, largest: float, random: np.random.Generator) -> None:
    """Give every section a contrast and a brightness of its own, in place."""
    contrast = 1 + random.uniform(-largest, largest, size=(image.shape[0], 1, 1))
    brightness = random.uniform(-largest, largest, size=(image.shape[0], 1, 1))
    image *= contrast.astype(np.float32)
    image += brightness.astype(np.float32)


def thicken_sections(image: Image, largest_factor: int, random: np.random.Generator) -> None:
    """Show the mean of every few sections in all of them, in place: what thicker sections would show."""
    factor = int(random.integers(2, largest_factor + 1))
    for start in range(-int(random.integers(factor)), image.shape[0], factor):
        slab = image[max(0, start) : start + factor]
        slab[:] = slab.mean(axis=0)
