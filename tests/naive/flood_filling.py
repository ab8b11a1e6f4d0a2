"""Plain twins of the flood-filling network and of its search."""

import numpy as np


def update(weights, image, logits):
    """The network by shifted copies and matrix products: image, logits (z, y, x) -> logits with the update."""

    def convolve(features, layer):
        kernel, biases = weights[f"seed_update.{layer}.weights"], weights[f"seed_update.{layer}.biases"]
        margins = [size // 2 for size in kernel.shape[:3]]
        padded = np.pad(features, [(m, m) for m in margins] + [(0, 0)])
        total = np.zeros((*features.shape[:3], kernel.shape[4]), features.dtype) + biases
        for shift in np.ndindex(kernel.shape[:3]):
            place = tuple(slice(s, s + n) for s, n in zip(shift, features.shape, strict=False))
            total += padded[place] @ kernel[shift]
        return total

    depth = sum(name.endswith("_a.weights") for name in weights)
    features = np.stack([image, logits], axis=-1)
    for module in range(depth):
        rectified = np.maximum(features, 0) if module else features
        change = convolve(np.maximum(convolve(rectified, f"conv{module}_a"), 0), f"conv{module}_b")
        features = features + change if module else change
    return convolve(np.maximum(features, 0), "conv_lom")[..., 0] + logits


def flood_fill(predict, image, seeds, field, deltas, move, segment, padding, initial, smallest):
    """Objects one after the other, each by a list of places; thresholds are logits. Returns labels."""
    labels, reach = np.zeros(image.shape, int), [size // 2 for size in field]
    for seed in seeds:
        around = tuple(slice(max(0, p - 1), p + 2) for p in seed)
        if labels[around].any() or not _fits(seed, reach, image.shape):
            continue
        logits, queue, done = np.full(image.shape, np.nan, np.float32), [seed], set()
        logits[seed] = initial
        while queue and logits[seed] >= move:
            place = queue.pop(0)
            cell = tuple((p - s + d // 2) // d for p, s, d in zip(place, seed, deltas, strict=True))
            if cell in done or labels[place] or not logits[place] >= move or not _fits(place, reach, image.shape):
                continue
            done.add(cell)
            box = tuple(slice(p - r, p + r + 1) for p, r in zip(place, reach, strict=True))
            old = logits[box].copy()
            new = predict(image[box], np.where(np.isnan(old), padding, old).astype(np.float32))
            frozen = (old < 0) & (new > old) if (new >= move).any() else np.zeros(field, bool)
            logits[box] = np.where(frozen, old, new)
            queue += [tuple(np.add(place, o)) for _, o in sorted(_moves(logits[box], deltas, move), reverse=True)]
        new = (logits >= segment) & (labels == 0)
        if logits[seed] >= move and new.sum() >= smallest:
            labels[new] = labels.max() + 1
    return labels


def _moves(logits, deltas, threshold):
    centre = np.array(logits.shape) // 2
    for axis in range(3):
        for side in (-1, 1):
            spans = [[side * deltas[k]] if k == axis else range(-deltas[k], deltas[k] + 1) for k in range(3)]
            offsets = [(a, b, c) for a in spans[0] for b in spans[1] for c in spans[2]]
            score, offset = max(((logits[tuple(centre + o)], o) for o in offsets), key=lambda pair: pair[0])
            if score >= threshold:
                yield score, offset


def _fits(place, reach, shape):
    return all(r <= p < n - r for p, r, n in zip(place, reach, shape, strict=True))


def walk_losses(weights, image, target, known, field, deltas, move):
    """The mean cross entropy at each place of the walk through a training subvolume, nothing being learned."""
    shape, reach = image.shape, [size // 2 for size in field]
    centre = tuple(size // 2 for size in shape)
    logits, queue, done, losses = np.full(shape, np.log(1 / 19), np.float32), [centre], set(), []
    logits[centre] = np.log(19)
    while queue:
        place = queue.pop(0)
        cell = tuple((p - c + d // 2) // d for p, c, d in zip(place, centre, deltas, strict=True))
        if cell in done or not _fits(place, reach, shape) or logits[place] < move:
            continue
        done.add(cell)
        box = tuple(slice(p - r, p + r + 1) for p, r in zip(place, reach, strict=True))
        logits[box] = update(weights, image[box], logits[box])
        entropy = np.logaddexp(0, logits[box]) - target[box] * logits[box]
        losses.append((entropy * known[box]).sum() / max(known[box].sum(), 1))
        queue += [tuple(np.add(place, o)) for _, o in sorted(_moves(logits[box], deltas, move), reverse=True)]
        if logits[centre] < move:
            break
    return losses
