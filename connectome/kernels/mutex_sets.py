"""Clusters that unite and exclude each other: a union-find whose roots carry mutexes.

A cluster gets a *record* with its first mutex: a circular list of partners. The records are numbered
from 1; `parent` holds the parent of a member, or ``-1 - record`` at a root (record 0: no mutex). Of
two joined lists the shorter one is walked; its partners are found under the new pair in one table by
open addressing, and a partner's own list is left as it is, because stale records lead to their owner.
O((n + m) log m) for m mutexes; 4 bytes per member, at most 80 per mutex.

The state is five flat arrays, handed around one by one: numba counts references to arrays in tuples,
which costs more than the work. Functions that add a mutex need room, which `with_room` makes.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import inlined, jit

_RECORDS, _ENTRIES, _FREE, _FILLED = 0, 1, 2, 3
OWNER, TAIL, DEGREE = 0, 1, 2
PARTNER, FOLLOW = 0, 1


@jit
def singletons(n):
    """Return `n` clusters of one member without mutexes: (parent, records, entries, table, counters)."""
    counters = np.zeros(4, np.int64)
    counters[_RECORDS] = 1
    counters[_FREE] = -1
    records, entries = np.zeros((1 << 8, 3), np.int32), np.zeros((1 << 8, 2), np.int32)
    return np.full(n, -1, np.int32), records, entries, np.zeros(1 << 9, np.uint64), counters


@inlined
def find(parent, member):
    """Return the root of `member`, which is the lowest member of its cluster; halve the path."""
    while True:
        above = parent[member]
        if above < 0:
            return np.int64(member)
        top = parent[above]
        if top < 0:
            return np.int64(above)
        parent[member] = top
        member = np.int64(top)


@inlined
def is_excluded(parent, table, u, v):
    """Tell whether a mutex stands between the clusters of the roots `u` and `v`."""
    a, b = -1 - parent[u], -1 - parent[v]
    if a == 0 or b == 0:
        return False
    key = _key(a, b)
    place = _place(key, table.size)
    while table[place] != 0:
        if table[place] == key:
            return True
        place = (place + 1) & (table.size - 1)
    return False


@inlined
def pairs_needed(parent, records, u, v):
    """Return the room in pairs that uniting the clusters of the roots `u` and `v` may take."""
    return min(records[-1 - parent[u], DEGREE], records[-1 - parent[v], DEGREE])


@inlined
def has_room(records, entries, table, counters, n_pairs):
    """Tell whether a mutex can be added, and `n_pairs` pairs in a join."""
    return (
        counters[_RECORDS] + 2 <= records.shape[0]
        and counters[_ENTRIES] + 2 <= entries.shape[0]
        and (counters[_FILLED] + n_pairs + 1) * 8 <= table.size * 5
    )


@jit
def with_room(records, entries, table, counters, n_pairs):
    """Return records, entries and table with room for one more mutex and for `n_pairs` pairs in a join."""
    if counters[_RECORDS] + 2 > records.shape[0]:
        records = _longer(records)
    if counters[_ENTRIES] + 2 > entries.shape[0]:
        entries = _longer(entries)
    if (counters[_FILLED] + n_pairs + 1) * 8 > table.size * 5:
        table = _rebuilt(records, table, counters, n_pairs + 1)
    return records, entries, table


@jit
def exclude(parent, records, entries, table, counters, u, v):
    """Put a mutex between the clusters of the roots `u` and `v`, which have none. Needs room."""
    a, b = _record_of(parent, records, counters, u), _record_of(parent, records, counters, v)
    _insert(table, counters, _key(a, b))
    _append(records, entries, counters, a, b)
    _append(records, entries, counters, b, a)


@jit
def unite(parent, records, entries, table, counters, u, v):
    """Join the clusters of the roots `u` and `v`; the lower root stays. Needs room for `pairs_needed`."""
    low, high = min(u, v), max(u, v)
    a, b = -1 - parent[low], -1 - parent[high]
    keep = max(a, b)
    if a != 0 and b != 0:
        keep, gone = (a, b) if records[a, DEGREE] >= records[b, DEGREE] else (b, a)
        _join(records, entries, table, counters, keep, gone)
    parent[high] = low
    parent[low] = -1 - keep


@jit
def mutex_pairs(parent, records, table, counters):
    """Return the pairs of roots (lower, higher) with a mutex between them, int64 (n, 2), in no order."""
    root_of = np.full(counters[_RECORDS], -1, np.int64)
    for member in range(parent.size):
        if parent[member] < -1:
            root_of[-1 - parent[member]] = member
    pairs = np.empty((counters[_FILLED], 2), np.int64)
    n = 0
    for key in table:
        if _is_live(records, key):
            u, v = root_of[np.int64(key >> np.uint64(32))], root_of[np.int64(key & np.uint64(0xFFFFFFFF))]
            pairs[n, 0], pairs[n, 1] = min(u, v), max(u, v)
            n += 1
    return pairs[:n]


@jit
def _join(records, entries, table, counters, keep, gone):
    """Hand the partners of the record `gone` to `keep`, dropping those that `keep` has."""
    last, tail = records[gone, TAIL], records[keep, TAIL]
    entry = entries[last, FOLLOW]
    while True:
        following = entries[entry, FOLLOW]
        other = _owner_of(records, entries[entry, PARTNER])
        if _insert(table, counters, _key(keep, other)):
            entries[entry, PARTNER] = other
            entries[entry, FOLLOW] = entries[tail, FOLLOW]
            entries[tail, FOLLOW] = entry
            records[keep, DEGREE] += 1
        else:
            entries[entry, FOLLOW] = counters[_FREE]
            counters[_FREE] = entry
        if entry == last:
            break
        entry = following
    records[gone, OWNER] = keep


@inlined
def _owner_of(records, record):
    while records[record, OWNER] != record:
        records[record, OWNER] = records[records[record, OWNER], OWNER]
        record = records[record, OWNER]
    return record


@jit
def _append(records, entries, counters, record, other):
    entry = counters[_FREE]
    if entry >= 0:
        counters[_FREE] = entries[entry, FOLLOW]
    else:
        entry = counters[_ENTRIES]
        counters[_ENTRIES] += 1
    entries[entry, PARTNER] = other
    if records[record, DEGREE] == 0:
        entries[entry, FOLLOW] = entry
        records[record, TAIL] = entry
    else:
        tail = records[record, TAIL]
        entries[entry, FOLLOW] = entries[tail, FOLLOW]
        entries[tail, FOLLOW] = entry
    records[record, DEGREE] += 1


@jit
def _record_of(parent, records, counters, root):
    """Return the record of a root, a new one if it has none."""
    if parent[root] == -1:
        record = counters[_RECORDS]
        counters[_RECORDS] += 1
        records[record, OWNER] = record
        parent[root] = -1 - record
    return np.int64(-1 - parent[root])


@jit
def _longer(rows):
    longer = np.zeros((rows.shape[0] * 3 // 2, rows.shape[1]), np.int32)
    longer[: rows.shape[0]] = rows
    return longer


@jit
def _rebuilt(records, table, counters, n_pairs):
    """Return the table without stale pairs, at most 3/8 full when `n_pairs` more are in."""
    n_live = 0
    for key in table:
        n_live += _is_live(records, key)
    size = 1 << 9
    while size * 3 < (n_live + n_pairs) * 8:
        size *= 2
    rebuilt = np.zeros(size, np.uint64)
    counters[_FILLED] = 0
    for key in table:
        if _is_live(records, key):
            _insert(rebuilt, counters, key)
    return rebuilt


@inlined
def _is_live(records, key):
    """Tell whether both records of a pair still stand for their clusters (0 is an empty place)."""
    a, b = np.int64(key >> np.uint64(32)), np.int64(key & np.uint64(0xFFFFFFFF))
    return a != 0 and records[a, OWNER] == a and records[b, OWNER] == b


@inlined
def _insert(table, counters, key):
    """Put `key` into the table; return whether it is new."""
    place = _place(key, table.size)
    while table[place] != 0:
        if table[place] == key:
            return False
        place = (place + 1) & (table.size - 1)
    table[place] = key
    counters[_FILLED] += 1
    return True


@inlined
def _key(a, b):
    return (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))


@inlined
def _place(key, size):
    mixed = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(32)) & (size - 1)
