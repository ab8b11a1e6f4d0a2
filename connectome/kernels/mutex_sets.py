"""Clusters that unite and exclude each other: a union-find whose roots carry mutexes.

A cluster gets a *record* with its first mutex: a list of partners in one piece of a pool. The records are numbered
from 1; `parent` holds the parent of a member, or ``-1 - record`` at a root (record 0: no mutex). Of
two joined lists the shorter one is walked; its partners are found under the new pair in one table by
open addressing, and a partner's own list is left as it is, because stale records lead to their owner.
O((n + m) log m) for m mutexes; 4 bytes per member, some 80 per mutex.

A mutex has a strength, uint64 above 0: that of the strongest edge which demands it, or `SURE`. Whoever notes
mutexes ahead of their turn compares it; joined clusters keep the greater one. A place of the table is two
numbers, the pair and the strength.

The state is five flat arrays, handed around one by one: numba counts references to arrays in tuples,
which costs more than the work. Functions that add a mutex need room, which `with_room` makes.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import inlined, jit, prefetch

_RECORDS, _ENTRIES, _FILLED, _FREE = 0, 1, 2, 3  # from _FREE on: a free piece of 2^k entries, or -1
_OWNER, _START, _SIZE, _POWER = 0, 1, 2, 3
SURE = np.uint64((1 << 64) - 1)


@jit
def singletons(n):
    """Return `n` clusters of one member without mutexes: (parent, records, entries, table, counters)."""
    counters = np.zeros(_FREE + 33, np.int64)
    counters[_RECORDS] = 1
    counters[_FREE:] = -1
    records, entries = np.zeros((1 << 8, 4), np.int32), np.zeros(1 << 8, np.int32)
    return np.full(n, -1, np.int32), records, entries, np.zeros(1 << 10, np.uint64), counters


@inlined
def find(parent, member):
    """Return the root of `member`, which is the lowest member of its cluster; halve the path."""
    # Nearly all are roots or point to them, and which of both is not foreseen: no branch tells them apart.
    above = np.int64(parent[member])
    top = above ^ ((above ^ np.int64(member)) & (above >> np.int64(63)))
    if parent[top] < 0:
        return top
    while True:
        above = parent[member]
        if above < 0:
            return np.int64(member)
        top = parent[above]
        if top < 0:
            return np.int64(above)
        parent[member] = top
        member = np.int64(top)


@jit
def flatten(parent):
    """Let every member point to its root."""
    for member in range(parent.size):
        above = parent[member]
        if above >= 0 and parent[above] >= 0:
            parent[member] = find(parent, above)


@inlined
def is_excluded(parent, table, u, v):
    """Tell whether a mutex stands between the clusters of the roots `u` and `v`."""
    return mutex_strength(parent, table, u, v) != 0


@inlined
def mutex_strength(parent, table, u, v):
    """Return the strength of the mutex between the clusters of the roots `u` and `v`, 0 if there is none."""
    a, b = -1 - parent[u], -1 - parent[v]
    if a == 0 or b == 0:
        return np.uint64(0)
    return table[2 * _place_of(table, _key(a, b)) + 1]


@inlined
def prefetch_pair(parent, records, table, u, v):
    """Ask for what deciding an edge between the roots `u` and `v` looks at first."""
    a, b = -1 - parent[u], -1 - parent[v]
    if a != 0 and b != 0:
        prefetch(table, 2 * _place(_key(a, b), table.size // 2))
        prefetch(records, np.int64(a) * 4)
        prefetch(records, np.int64(b) * 4)


@inlined
def prefetch_lists(parent, records, entries, attracts, u, v):
    """Ask for the list that is walked if the roots `u` and `v` unite, or for the ends of theirs that grow."""
    a, b = -1 - parent[u], -1 - parent[v]
    if attracts and a != 0 and b != 0:
        prefetch(entries, np.int64(records[b if records[a, _SIZE] >= records[b, _SIZE] else a, _START]))
    elif not attracts:
        prefetch(entries, np.int64(records[a, _START]) + records[a, _SIZE])
        prefetch(entries, np.int64(records[b, _START]) + records[b, _SIZE])


@inlined
def must_wait(parent, blocked, attracts, u, v):
    """Tell whether an edge between the roots `u` and `v` is not decided yet; pass `blocked` on.

    A root is blocked if its cluster goes on outside, or if a stronger edge of it waits. What is the best
    edge of one side that is not blocked is decided if it repels, or if that side excludes nothing: no
    partner of it can have joined the other side. An edge that attracts and is the best of both sides is
    decided too.
    """
    if not (blocked[u] or blocked[v]):
        return False
    if blocked[u] and blocked[v]:
        return True
    free = v if blocked[u] else u
    if attracts:
        blocked[u] = blocked[v] = True
        return parent[free] != -1
    return False


@inlined
def pairs_needed(parent, records, u, v):
    """Return the room in pairs that uniting the clusters of the roots `u` and `v` may take."""
    return np.int64(min(records[-1 - parent[u], _SIZE], records[-1 - parent[v], _SIZE]))


@inlined
def has_room(records, entries, table, counters, n_pairs, n_entries):
    """Tell whether a mutex can be added, or `n_pairs` pairs in a join to a list of `n_entries`."""
    return (
        counters[_RECORDS] + 2 <= records.shape[0]
        and counters[_ENTRIES] + 8 + 2 * n_entries <= entries.size
        and (counters[_FILLED] + n_pairs + 1) * 16 <= table.size * 5
    )


@inlined
def entries_needed(parent, records, u, v):
    """Return the length of the longest list that a mutex between the roots `u` and `v` or their union may make."""
    return np.int64(records[-1 - parent[u], _SIZE]) + np.int64(records[-1 - parent[v], _SIZE]) + 1


@jit
def with_room(records, entries, table, counters, n_pairs, n_entries):
    """Return records, entries and table with room for one mutex, or a join of `n_pairs` to a list of `n_entries`."""
    if counters[_RECORDS] + 2 > records.shape[0]:
        records = with_records(records, records.shape[0])
    if counters[_ENTRIES] + 8 + 2 * n_entries > entries.size:
        pool = np.empty(entries.size * 2 + 2 * n_entries + 8, np.int32)
        pool[: entries.size] = entries
        entries = pool
    if (counters[_FILLED] + n_pairs + 1) * 16 > table.size * 5:
        table = _rebuilt(records, table, counters, n_pairs + 1)
    return records, entries, table


@jit
def with_records(records, n):
    """Return records with room for `n` more."""
    longer = np.zeros((records.shape[0] + n, 4), np.int32)
    longer[: records.shape[0]] = records
    return longer


@inlined
def exclude(parent, records, entries, table, counters, u, v, strength):
    """Put a mutex between the clusters of the roots `u` and `v`, or raise its strength. Needs room."""
    a, b = record_of(parent, records, counters, u), record_of(parent, records, counters, v)
    if _insert(table, counters, _key(a, b), strength):
        _append(records, entries, counters, a, b)
        _append(records, entries, counters, b, a)


@inlined
def unite(parent, records, entries, table, counters, u, v):
    """Join the clusters of the roots `u` and `v`; the lower root stays. Needs room for `pairs_needed`."""
    low, high = min(u, v), max(u, v)
    a, b = -1 - parent[low], -1 - parent[high]
    keep = max(a, b)
    if a != 0 and b != 0:
        keep, gone = (a, b) if records[a, _SIZE] >= records[b, _SIZE] else (b, a)
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
    for place in range(0, table.size, 2):
        key = table[place]
        if _is_live(records, key):
            u, v = root_of[np.int64(key >> np.uint64(32))], root_of[np.int64(key & np.uint64(0xFFFFFFFF))]
            pairs[n, 0], pairs[n, 1] = min(u, v), max(u, v)
            n += 1
    return pairs[:n]


@inlined
def _join(records, entries, table, counters, keep, gone):
    """Hand the partners of the record `gone` to `keep`, dropping those that `keep` has."""
    start, size = records[gone, _START], records[gone, _SIZE]
    touched = np.uint64(0)
    for entry in range(start, start + size):
        other = _owner_of(records, entries[entry])
        entries[entry] = other
        touched ^= table[2 * _place(_key(keep, other), table.size // 2)]
        touched ^= table[2 * _place(_key(gone, other), table.size // 2)]
    counters[-1] = np.int64(touched)
    for entry in range(start, start + size):
        strength = table[2 * _place_of(table, _key(gone, entries[entry])) + 1]
        if _insert(table, counters, _key(keep, entries[entry]), strength):
            _append(records, entries, counters, keep, entries[entry])
    if size > 0:  # a record without mutexes has no piece of the pool
        _release(entries, counters, start, records[gone, _POWER])
    records[gone, _OWNER] = keep


@inlined
def _owner_of(records, record):
    while records[record, _OWNER] != record:
        records[record, _OWNER] = records[records[record, _OWNER], _OWNER]
        record = records[record, _OWNER]
    return record


@inlined
def _append(records, entries, counters, record, other):
    """Add a partner; a full list moves to a piece of twice its size."""
    size, power = records[record, _SIZE], records[record, _POWER]
    if size == 0 or size == 1 << power:
        start = records[record, _START]
        power = power + 1 if size > 0 else 1
        piece = counters[_FREE + power]
        if piece >= 0:
            counters[_FREE + power] = entries[piece]
        else:
            piece = counters[_ENTRIES]
            counters[_ENTRIES] += 1 << power
        for k in range(size):
            entries[piece + k] = entries[start + k]
        if size > 0:
            _release(entries, counters, start, power - 1)
        records[record, _START], records[record, _POWER] = piece, power
    entries[records[record, _START] + size] = other
    records[record, _SIZE] = size + 1


@inlined
def _release(entries, counters, start, power):
    """Chain a piece of the pool to the free ones of its size."""
    entries[start] = counters[_FREE + power]
    counters[_FREE + power] = start


@inlined
def record_of(parent, records, counters, root):
    """Return the record of a root, a new one if it has none."""
    if parent[root] == -1:
        record = counters[_RECORDS]
        counters[_RECORDS] += 1
        records[record, _OWNER] = record
        parent[root] = -1 - record
    return np.int64(-1 - parent[root])


@jit
def _rebuilt(records, table, counters, n_pairs):
    """Return the table without stale pairs, at most 1/4 full when `n_pairs` more are in."""
    n_live = _count_live(records, table)
    size = 1 << 10
    while size < (n_live + n_pairs) * 8:
        size *= 2
    rebuilt = np.zeros(size, np.uint64)
    counters[_FILLED] = 0
    _insert_live(records, table, rebuilt, counters)
    return rebuilt


@inlined
def _count_live(records, table):
    n_live = 0
    for place in range(0, table.size, 2):
        _prefetch_records(records, table, place + 32)
        n_live += _is_live(records, table[place])
    return n_live


@inlined
def _insert_live(records, table, rebuilt, counters):
    """Fill a larger table; its places ascend with those of the old one."""
    for place in range(0, table.size, 2):
        _prefetch_records(records, table, place + 32)
        if _is_live(records, table[place]):
            _insert(rebuilt, counters, table[place], table[place + 1])


@inlined
def _prefetch_records(records, table, place):
    if place < table.size and table[place] != 0:
        prefetch(records, np.int64(table[place] >> np.uint64(32)) * 4)
        prefetch(records, np.int64(table[place] & np.uint64(0xFFFFFFFF)) * 4)


@inlined
def _is_live(records, key):
    """Tell whether both records of a pair still stand for their clusters (0 is an empty place)."""
    a, b = np.int64(key >> np.uint64(32)), np.int64(key & np.uint64(0xFFFFFFFF))
    return a != 0 and records[a, _OWNER] == a and records[b, _OWNER] == b


@inlined
def note(records, entries, table, counters, pairs, n):
    """Put mutexes between records, or raise their strengths, last first: (record, record, strength) each.

    Returns how many are left when room runs out, and the length of the list that wants it.
    """
    for k in range(n - 1, -1, -1):
        a, b = np.int64(pairs[k, 0]), np.int64(pairs[k, 1])
        key = _key(a, b)
        place = 2 * _place_of(table, key)
        if table[place] != 0:
            table[place + 1] = max(table[place + 1], pairs[k, 2])
            continue
        n_entries = np.int64(records[a, _SIZE]) + np.int64(records[b, _SIZE]) + 1
        if not has_room(records, entries, table, counters, 0, n_entries):
            return k + 1, n_entries
        table[place], table[place + 1] = key, pairs[k, 2]
        counters[_FILLED] += 1
        _append(records, entries, counters, a, b)
        _append(records, entries, counters, b, a)
    return 0, 0


@inlined
def _insert(table, counters, key, strength):
    """Put a pair into the table, or raise its strength; return whether it is new."""
    place = _place_of(table, key)
    is_new = table[2 * place] == 0
    table[2 * place] = key
    table[2 * place + 1] = max(table[2 * place + 1], strength)
    counters[_FILLED] += is_new
    return is_new


@inlined
def _place_of(table, key):
    """Return the place of a pair, or the empty one where it would go."""
    size = table.size // 2
    place = _place(key, size)
    while table[2 * place] != 0 and table[2 * place] != key:
        place = (place + 1) & (size - 1)
    return place


@inlined
def _key(a, b):
    return (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))


@inlined
def _place(key, size):
    mixed = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32))
