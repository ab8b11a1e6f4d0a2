"""A hash table that adds up values by pairs of numbers: the store behind edges and contact areas.

Contacts come in scan order, so that the pairs that are alive at a time are few and near. The table keeps them near
in memory: every number has a bucket of slots of its own, in the order of the numbers, and a record is written
where the last one ended. Pairs that find their bucket full (those of hubs) go to one common table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit
from connectome.kernels.pair_order import LEVEL_BITS, index_bits, sort_buckets, starts_of_counts

# A record: key (other number << LEVEL_BITS | level), value, home number << 32 | count.
_KEY, _VALUE, _HOME = 0, 1, 2
# Record 0 is never found; record 1 takes what is turned away, so that adding needs no branch.
_NOWHERE = 1
_FIRST_RECORD = 2
_COUNT = (1 << 32) - 1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_HOME = np.uint64(0xBF58476D1CE4E5B9)
_MIX_LAST = np.uint64(0x94D049BB133111EB)


class ContactTable(NamedTuple):
    """Values by (home, other, level).

    Attributes
    ----------
    slots : int32 array
        A bucket of records by home number, 0 where empty.
    records : int64 array, shape (n, 3)
        Room for all records; what is not used is never touched.
    common : int32 array
        Slots of the pairs that found their bucket full, open addressing.
    state : int64 array
        The next record, the records in `common`, and the slots of a bucket as a power of two.
    """

    slots: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]
    common: npt.NDArray[np.int32]
    state: npt.NDArray[np.int64]

    def without_slots(self) -> ContactTable:
        """Return the table for `sorted_rows`, which needs no slots and would be short of their memory."""
        return self._replace(slots=np.zeros(0, np.int32), common=np.zeros(0, np.int32))


class ContactRows(NamedTuple):
    """Rows sorted by (a, b, level), int64 values and counts, uint8 levels."""

    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    levels: npt.NDArray[np.uint8]
    values: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def new_table(n_numbers: int, n_values: int) -> ContactTable:
    """Make an empty table for pairs of the numbers 1 ... `n_numbers` and at most `n_values` values.

    Notes
    -----
    24 bytes for each record that is used, 16 to 256 for each number (4 to 64 slots, by how many values it may get).
    """
    bits = min(max((n_values // max(n_numbers, 1)).bit_length() - 1, 2), 6)
    slots = np.zeros((n_numbers + 1) << bits, np.int32)
    records = np.zeros((n_values + _FIRST_RECORD, 3), np.int64)
    records[0, _KEY] = -1
    return ContactTable(slots, records, np.zeros(1 << 10, np.int32), np.array([_FIRST_RECORD, 0, bits], np.int64))


@jit
def add_values(table, homes, keys, values, late, n, largest):
    """Add `n` values to their records, or keep the largest of each record.

    The first slot of a bucket that a pair looks at is mostly right or empty; this is decided without a branch.
    The others are put off to `late` (indices) and looked up in turn.
    """
    slots, records, common, state = table
    bits = state[2]
    shift = np.uint64(64 - bits)
    record, n_late = state[0], np.int64(0)
    for i in range(n):
        home, key, value = np.int64(homes[i]), keys[i], values[i]
        place = (home << bits) | np.int64((np.uint64(key) * _MIX) >> shift)
        met = np.int64(slots[place])
        is_it = records[met, _KEY] == key
        is_empty = met == 0
        is_late = np.int64(not (is_it | is_empty))
        late[n_late] = i
        n_late += is_late
        target = met if is_it else record
        slots[place] = met if is_late else target
        target = _NOWHERE if is_late else target
        record += np.int64(is_empty)
        records[target, _KEY] = key
        before = records[target, _VALUE]
        records[target, _VALUE] = max(before, value) if largest else before + value
        records[target, _HOME] = ((records[target, _HOME] & _COUNT) | (home << 32)) + 1
    state[0] = record
    for k in range(n_late):
        i = late[k]
        home, key, value = np.int64(homes[i]), keys[i], values[i]
        if 2 * state[1] > common.size:
            common = _grown(common, records)
        target = _look_further(slots, records, common, state, home, key)
        before = records[target, _VALUE]
        records[target, _VALUE] = max(before, value) if largest else before + value
        records[target, _HOME] += 1
    return ContactTable(slots, records, common, state)


@jit
def _look_further(slots, records, common, state, home, key):
    """Return the record of a pair that is not in the first slot of its bucket; make one if it has none."""
    bits = state[2]
    first = home << bits
    offset = np.int64((np.uint64(key) * _MIX) >> np.uint64(64 - bits))
    new = state[0]
    for k in range(1, 1 << bits):
        place = first | ((offset + k) & ((1 << bits) - 1))
        met = np.int64(slots[place])
        if met == 0:
            slots[place] = new
            records[new, _KEY] = key
            records[new, _HOME] = home << 32
            state[0] += 1
            return new
        if records[met, _KEY] == key:
            return met
    place = _place(common, records, home, key)
    met = np.int64(common[place])
    if met != 0:
        return met
    common[place] = new
    records[new, _KEY] = key
    records[new, _HOME] = home << 32
    state[0] += 1
    state[1] += 1
    return new


@jit
def _place(common, records, home, key):
    """Return where a pair is in the common slots, or the empty slot where it belongs."""
    wrap = common.size - 1
    mixed = (np.uint64(key) * _MIX) ^ (np.uint64(home) * _MIX_HOME)
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX_LAST
    place = np.int64(mixed >> np.uint64(32)) & wrap
    while common[place] != 0:
        met = np.int64(common[place])
        if records[met, _KEY] == key and records[met, _HOME] >> 32 == home:
            break
        place = (place + 1) & wrap
    return place


@jit
def _grown(common, records):
    wider = np.zeros(4 * common.size, np.int32)
    for slot in range(common.size):
        record = np.int64(common[slot])
        if record != 0:
            wider[_place(wider, records, records[record, _HOME] >> 32, records[record, _KEY])] = record
    return wider


def sorted_rows(table: ContactTable, ids: npt.NDArray[np.uint64]) -> ContactRows:
    """Return the rows of a table, a the id of the other number and b that of the home number.

    Notes
    -----
    O(rows); 8 bytes per row beside the records and the result.
    """
    n = int(table.state[0]) - _FIRST_RECORD
    records = table.records[_FIRST_RECORD : n + _FIRST_RECORD]
    bits = index_bits(n, ids.size, LEVEL_BITS)
    keys = np.empty(n, np.uint64)
    _order(records, keys, np.zeros(ids.size + 2, np.int64), bits)
    a, b, level = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint8)
    rows = ContactRows(a, b, level, np.empty(n, np.int64), np.empty(n, np.int64))
    _fill(records, keys, np.uint64((1 << bits) - 1), ids, *rows)
    return rows


@jit
def _order(records, keys, stops, bits):
    """Sort by (other, home, level); the record's index is the key's last `bits` bits."""
    for record in range(keys.size):
        stops[(records[record, _KEY] >> LEVEL_BITS) + 1] += 1
    starts_of_counts(stops)
    for record in range(keys.size):
        other = records[record, _KEY] >> LEVEL_BITS
        level = records[record, _KEY] & ((1 << LEVEL_BITS) - 1)
        home = records[record, _HOME] >> 32
        keys[stops[other]] = np.uint64((((home << LEVEL_BITS) | level) << bits) | record)
        stops[other] += 1
    sort_buckets(keys, stops)


@jit
def _fill(records, keys, mask, ids, a, b, level, value, count):
    for row in range(keys.size):
        record = np.int64(keys[row] & mask)
        key, home = records[record, _KEY], records[record, _HOME]
        a[row] = ids[(key >> LEVEL_BITS) - 1]
        b[row] = ids[(home >> 32) - 1]
        level[row] = key & ((1 << LEVEL_BITS) - 1)
        value[row] = records[record, _VALUE]
        count[row] = home & _COUNT
