"""Plain-Python twins of the phantom's kernels. `p` is a place in nm, zyx."""

import itertools
import math

import numpy as np

BITS = 2**64 - 1
PERIOD, NODES = 1300.0, 8
CORNERS = list(itertools.product((0, 1), repeat=3))


def mix(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & BITS
    return value ^ value >> 31


def hash4(seed, kind, a, b, c):
    value = mix(seed + kind * 0x9E3779B97F4A7C15 + a * 0xD1342543DE82EF95 & BITS)
    return mix(value + b * 0xA0761D6478BD642F + c * 0xE7037ED1A0B428DB & BITS)


def uniform(bits):
    return (bits >> 11) / 2**53


def chance(seed, kind, a, b=0, c=0):
    return uniform(hash4(seed, kind, a, b, c))


def fade(t):
    return t**3 * (t * (t * 6 - 15) + 10)


def noise_along(seed, kind, place):
    index = math.floor(place)
    t = fade(place - index)
    return 2 * ((1 - t) * chance(seed, kind, index) + t * chance(seed, kind, index + 1)) - 1


def _corners(p, pitch):
    """The eight nodes around a place, and their weights."""
    low = [math.floor(x / pitch) for x in p]
    t = [fade(x / pitch - a) for x, a in zip(p, low, strict=True)]
    for corner in CORNERS:
        weight = math.prod(f if d else 1 - f for f, d in zip(t, corner, strict=True))
        yield [a + d for a, d in zip(low, corner, strict=True)], weight


def smooth_noise(start, shape, voxel_size_nm, pitch_nm, seed, channel):
    out = np.empty(shape)
    for index in np.ndindex(*shape):
        p = [(a + i + 0.5) * s for a, i, s in zip(start, index, voxel_size_nm, strict=True)]
        out[index] = sum(w * (2 * chance(seed, channel, *node) - 1) for node, w in _corners(p, pitch_nm))
    return out


def rod_of(seed, axis, i, j):
    return hash4(seed, 100 + axis, i, j, 0)


def rod_kind(rod):
    u = uniform(mix(rod + 1 & BITS))
    return 0 if u < 0.3 else 1 if u < 0.55 else 2


def count_lanes(rod):
    u = uniform(mix(rod + 2 & BITS))
    return (1, 6 + int(3 * u), 8 + int(12 * u))[rod_kind(rod)]


def lane_offset(rod, lane, place):
    n = count_lanes(rod)
    if rod_kind(rod) == 2:
        radius, step, shake = 275 * math.sqrt((lane + 0.5) / n), lane * 98, 14
    else:
        radius, step, shake = (255, (lane - 1) * 256 // (n - 1), 22) if lane else (0, 0, 22)
    turn = 2 * math.pi * ((step + rod) % 256) / 256 + 2 * math.atan(0.8 * noise_along(rod, 11, place / 3.1 / NODES))
    u = radius * math.cos(turn) + shake * noise_along(rod, 20 + lane, place / 3.3)
    return u, radius * math.sin(turn) + shake * noise_along(rod, 50 + lane, place / 3.7)


def lane_radius(rod, lane, place):
    u, swell = chance(rod, 3, lane), noise_along(rod, 80 + lane, place / 4.3)
    if rod_kind(rod) == 0:
        return (200 + 90 * u) * (1 + 0.25 * swell)
    if rod_kind(rod) == 1 and lane == 0:
        return (90 + 80 * u) * (1 + 0.3 * swell)
    return (30 + 45 * u) * (1 + 0.35 * swell) + 60 * max(0, noise_along(rod, 110 + lane, place / 5) - 0.35)


def crossing(axis, i, j, node, side):
    if node % NODES == 0:
        return (axis + 1) % 3, j - 1 + side, node // NODES
    return (axis + 2) % 3, node // NODES, i + side


def piece_start(rod, lane, piece):
    return 2 * NODES * piece + int(chance(rod, 5, lane, piece) * NODES)


def dendrite_beside(seed, axis, i, j, rod, lane, first, last):
    """(chance, node, side, rod) of the dendrite that owns the piece first..last of a lane, or None."""
    found = []
    for node, side in itertools.product(range(first + 1, last - 1), (0, 1)):
        if node % (NODES // 2) == 0:
            other_axis, other_i, other_j = crossing(axis, i, j, node, side)
            k = 1 if other_axis == (axis + 1) % 3 else 0
            offsets = [lane_offset(rod, other, node)[k] for other in range(count_lanes(rod))]
            facing = np.argmax(offsets) if side else np.argmin(offsets)
            if facing == lane and rod_kind(rod_of(seed, other_axis, other_i, other_j)) == 0:
                found.append((chance(rod, 6, node, side), node, (other_axis, other_i, other_j)))
    return min((each for each in found if each[0] < 0.7), default=None)


def mitochondrion(rod, lane, node):
    stretch, place = divmod(node, NODES)
    wanted = 0.8 if lane == 0 and rod_kind(rod) < 2 else 0.22
    start, length = int(3 * chance(rod, 10, lane, stretch)), 2 + int(5 * chance(rod, 12, lane, stretch))
    return chance(rod, 9, lane, stretch) < wanted and start <= place < start + length


def cell(rod, kind, lane, piece):
    return (hash4(rod, kind, lane, piece, 0) >> 2) + 1


def seed_rotation(seed):
    x, y, z, w = (0.25 + 0.5 * chance(seed, 14, k) for k in range(4))
    n = x * x + y * y + z * z + w * w
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), w * w - x * x + y * y - z * z, 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), w * w - x * x - y * y + z * z],
    ]
    return np.array(rows) / n


def node_place(seed, axis, i, j, lane, node):
    """z, y, x and radius of one skeleton node."""
    rod = rod_of(seed, axis, i, j)
    u, v = lane_offset(rod, lane, node)
    unbent = np.roll([PERIOD * node / NODES, PERIOD * (i + 0.5) + u, PERIOD * j + v], axis)
    bent = unbent.copy()
    for amplitude, pitch in ((1200, 5000), (230, 1600)):
        for corner, weight in _corners(unbent, pitch):
            bits = hash4(seed, pitch, *corner)
            bent += [weight * amplitude * ((bits >> 21 * k & 0x1FFFFF) / 2**20 - 1) for k in range(3)]
    return np.append(seed_rotation(seed) @ bent, lane_radius(rod, lane, node))


def lane_segments(seed, axis, i, j, lane, first, last):
    """All segments of one lane, wherever they are: [(end, end, owner, kind)]."""
    rod, out = rod_of(seed, axis, i, j), []
    is_shared = rod_kind(rod) > 0 and lane > 0 and chance(rod, 4, lane) < 0.6
    for node in range(first, last):
        owner = cell(rod, 7, lane, 0)
        ends = [node_place(seed, axis, i, j, lane, n) for n in (node, node + 1)]
        if is_shared:
            piece = max(p for p in range(node // 16 - 1, node // 16 + 1) if piece_start(rod, lane, p) <= node)
            start, stop = piece_start(rod, lane, piece), piece_start(rod, lane, piece + 1)
            owner, other = cell(rod, 8, lane, piece), dendrite_beside(seed, axis, i, j, rod, lane, start, stop)
            if node + 1 == stop:
                continue
            if other:
                owner = cell(rod_of(seed, *other[2]), 7, 0, 0)
                if node == other[1]:
                    there = NODES * i + NODES // 2 if other[2][0] == (axis + 1) % 3 else NODES * j
                    far = node_place(seed, *other[2], 0, there)
                    out.append((ends[0], np.append(far[:3], ends[0][3]), owner, 0))
        out.append((*ends, owner, 0))
        if mitochondrion(rod, lane, node):
            thin = 0.8 * min(ends[0][3], ends[1][3])
            shift = [(2 * chance(rod, 13, lane, node // NODES, k) - 1) * thin / 2 for k in range(3)]
            inner = [np.append(end[:3] + shift, min(max(thin, 55), 190)) for end in ends]
            out.append((*inner, owner, 1))
    return out


def _from_segment(p, segment):
    """Distance less radius, direction from the segment to the place, distance."""
    a, b = segment[:3], segment[4:7]
    t = min(1, max(0, (p - a) @ (b - a) / ((b - a) @ (b - a))))
    offset = p - a - t * (b - a)
    distance = math.sqrt(offset @ offset)
    return distance - segment[3] - t * (segment[7] - segment[3]), offset / distance, distance


def own_voxels(start, voxel_size_nm, wobble, segments, owners, kinds):
    shape = wobble.shape[1:]
    out = np.zeros(shape, np.uint64), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for index in np.ndindex(*shape):
        p = (np.add(start, index) + 0.5) * voxel_size_nm + wobble[(slice(None), *index)]
        near = {}
        for segment, owner, kind in zip(segments, owners, kinds, strict=True):
            found = _from_segment(p, segment)
            if kind == 0 and found[2] <= 1000 and found[0] < near.get(owner, (1e9,))[0]:
                near[owner] = found
        (f1, n1, _), (f2, n2, _) = sorted([*near.values(), *[(1e9, np.zeros(3), 0)] * 2], key=lambda each: each[0])[:2]
        owner = min(near, key=lambda each: near[each][0], default=0)
        steep = max(0.4, math.sqrt((n1 - n2) @ (n1 - n2)))
        margin = min(1000, (f2 - f1) / steep)
        smear = np.linalg.norm((n1 - n2) * voxel_size_nm) / steep
        organelles = segments[(kinds == 1) & (owners == owner)]
        depth = min((_from_segment(p, each)[0] for each in organelles), default=200)
        for array, value in zip(out, (owner, margin, smear, max(min(200, depth), 40 - margin)), strict=True):
            array[index] = value
    return out


def spot(p, pitch, seed, channel):
    """How far inside the deepest vesicle a place is, among all in the 27 cubes around."""
    best = -pitch
    for near in itertools.product((-1, 0, 1), repeat=3):
        cube = [math.floor(x / pitch) + d for x, d in zip(p, near, strict=True)]
        bits = hash4(seed, channel, *cube)
        centre = [pitch * (c + 0.05 + 0.9 * (bits >> 8 + 16 * k & 0xFFFF) / 2**16) for k, c in enumerate(cube)]
        if bits & 0xFF >= 96:
            best = max(best, 10 + 20 * (bits & 0xFF) / 256 - math.dist(centre, p))
    return best


def paint(start, voxel_size_nm, seed, contrast, truth, margin, smear, depth, textures):
    out = np.empty(truth.shape)
    for index in np.ndindex(*truth.shape):
        p = (np.add(start, index) + 0.5) * voxel_size_nm
        patch, rough, grain, clumps = (float(texture[index]) for texture in textures)
        bits = mix(int(truth[index]))
        shade, crowd = uniform(bits), uniform(mix(bits))
        value = (118 if shade < 0.2 else 138) + 48 * shade + 12 * patch + 7 * rough + 9 * grain
        value += (78 - value) * 1.4 * (0.4 + 0.6 * crowd) * np.clip(clumps + 0.25 * rough - 0.15, 0, 0.5)
        many = np.clip(2 * (patch + 1.6 * crowd - 0.8), 0, 1)
        value += (78 - value) * 0.6 * many * np.clip((spot(p, 62, seed, 30) + 6) / 12, 0, 1)
        body = 80 + 12 * grain + 16 * clumps if depth[index] < -16 else 70
        value += (body - value) * np.clip((8 - depth[index]) / 12, 0, 1)
        width = math.sqrt(400 + 0.2 * smear[index] ** 2)
        dark = contrast * 20 / width * (1 - 0.6 * max(0, rough)) / (1 + (margin[index] / width) ** 4)
        out[index] = value + (86 + 6 * grain - value) * dark
    return out


def white(seed, channel, z, y, x):
    return (sum(hash4(seed, channel, z, y, x).to_bytes(8, "little")) - 1020) / 209


def expose(start, seed, shot, readout, scene):
    out = np.empty([n - 2 for n in scene.shape], np.uint8)
    for index in np.ndindex(*out.shape):
        place = [a + i for a, i in zip(start, index, strict=True)]
        value = 6 * chance(seed, 33, place[0]) - 3 + readout * white(seed, 32, *place)
        for near in itertools.product((-1, 0, 1), repeat=3):
            weight = (0.2, 0.6)[near[0] == 0] * (0.25, 0.5)[near[1] == 0] * (0.25, 0.5)[near[2] == 0]
            grey = scene[tuple(np.add(index, near) + 1)]
            value += weight * (grey + shot * white(seed, 31, *(a + d for a, d in zip(place, near, strict=True))))
        out[index] = min(255, max(0, math.floor(value + 0.5)))
    return out
