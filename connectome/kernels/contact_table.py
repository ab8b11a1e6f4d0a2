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
from connectome.kernels.label_numbers import is_ascending, ranks_of
from connectome.kernels.pair_order import LEVEL_BITS, index_bits, sort_buckets, starts_of_counts

# The words of a record: key (other number << LEVEL_BITS | level), value, home number << 32 | count.
_KEY, _VALUE, _HOME = 0, 1, 2
# Record 0 is never found; record 1 takes what is turned away, so that adding needs no branch.
_NOWHERE = 1
_FIRST_RECORD = 2
# Slots of its bucket that a pair looks at before it goes to the common ones.
_PROBES = 8
_COUNT = (1 << 32) - 1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_HOME = np.uint64(0xBF58476D1CE4E5B9)
_MIX_LAST = np.uint64(0x94D049BB133111EB)


class ContactTable(NamedTuple):
    """Values by (home, other, level).

    Attributes
    ----------
    slots : uint32 array
        A bucket of records by home number, 0 where empty.
    records : int64 array, three words to a record
        Room for all of them; what is not used is never touched.
    common : int32 array
        Slots of the pairs that found their bucket full, open addressing.
    state : int64 array
        The next record, the records in `common`, and the slots of a bucket as a power of two.
    """

    slots: npt.NDArray[np.uint32]
    records: npt.NDArray[np.int64]
    common: npt.NDArray[np.int32]
    state: npt.NDArray[np.int64]

    def without_slots(self) -> ContactTable:
        """Return the table for `sorted_rows`, which needs no slots and would be short of their memory."""
        return self._replace(slots=np.zeros(0, np.uint32), common=np.zeros(0, np.int32))


class ContactRows(NamedTuple):
    """Rows sorted by (a, b, level), int64 values and counts, uint8 levels."""

    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    levels: npt.NDArray[np.uint8]
    values: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def new_table(n_numbers: int, n_values: int, *, has_levels: bool = False) -> ContactTable:
    """Make an empty table for pairs of the numbers 1 ... `n_numbers` and at most `n_values` values.

    With levels a pair has several records, and a number twice the slots: those that find none are slow.

    Notes
    -----
    24 bytes for each record that is used, 32 to 256 for each number (8 to 64 slots, by how many values it may get).
    """
    bits = min(max((n_values // max(n_numbers, 1)).bit_length() - 1 + has_levels, 3), 6)
    slots = np.zeros((n_numbers + 1) << bits, np.uint32)
    records = np.zeros(3 * (n_values + _FIRST_RECORD), np.int64)
    records[_KEY] = -1
    return ContactTable(slots, records, np.zeros(1 << 10, np.int32), np.array([_FIRST_RECORD, 0, bits], np.int64))


@jit
def add_values(table, homes, keys, values, counts, left, n, largest):
    """Add `n` values, each of so many contacts, to their records, or keep the largest of each record.

    All pairs look at the first slot of their probe sequence, those that met another pair there at the second, and
    so on: a round is free of branches, and most pairs are done after one. `left` is room for `n` indices.
    """
    slots, records, common, state = table
    for i in range(n):
        left[i] = i
    for probe in range(min(1 << state[2], _PROBES)):
        if n == 0:
            break
        given = (homes, keys, values, counts, left)
        state[0], n = _add_round(slots, records, state[0], state[2], *given, n, probe, largest)
    for k in range(n):
        i = left[k]
        if 2 * state[1] > common.size:
            common = _grown(common, records)
        home, key, value = np.int64(homes[i]), keys[i], values[i]
        place = _place(common, records, home, key)
        record = np.int64(common[place])
        if record == 0:
            record = state[0]
            common[place] = record
            records[3 * record + _KEY] = key
            records[3 * record + _HOME] = home << 32
            state[0] += 1
            state[1] += 1
        before = records[3 * record + _VALUE]
        records[3 * record + _VALUE] = max(before, value) if largest else before + value
        records[3 * record + _HOME] += np.int64(counts[i])
    return ContactTable(slots, records, common, state)


@jit
def _add_round(slots, records, next_record, bits, homes, keys, values, counts, left, n, probe, largest):
    """Add what finds its record, or an empty slot, at the probe; keep the others in `left`, and count them.

    Everything that is an index is unsigned, or the compiled code checks each for being negative.
    """
    bits, probe, new = np.uint64(bits), np.uint64(probe), np.uint64(next_record)
    shift, wrap = np.uint64(64) - bits, (np.uint64(1) << bits) - np.uint64(1)
    n_left = np.uint64(0)
    for k in range(np.uint64(n)):
        i = np.uint64(left[k])
        home, key, value = np.uint64(homes[i]), keys[i], values[i]
        place = (home << bits) | ((((np.uint64(key) * _MIX) >> shift) + probe) & wrap)
        met = np.uint64(slots[place])
        is_it = records[np.uint64(3) * met] == key
        is_empty = met == np.uint64(0)
        is_other = not (is_it | is_empty)
        left[n_left] = i
        n_left += np.uint64(is_other)
        # Slot 0 is nobody's: writing there instead of the slot just read spares the next contact the wait for it.
        slots[place if is_empty else np.uint64(0)] = new
        target = met if is_it else new
        target = np.uint64(3) * (np.uint64(_NOWHERE) if is_other else target)
        new += np.uint64(is_empty)
        records[target] = key
        before = records[target + np.uint64(_VALUE)]
        records[target + np.uint64(_VALUE)] = max(before, value) if largest else before + value
        counted = records[target + np.uint64(_HOME)] | np.int64(home << np.uint64(32))
        records[target + np.uint64(_HOME)] = counted + np.int64(counts[i])
    return np.int64(new), np.int64(n_left)


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
        if records[3 * met + _KEY] == key and records[3 * met + _HOME] >> 32 == home:
            break
        place = (place + 1) & wrap
    return place


@jit
def _grown(common, records):
    wider = np.zeros(4 * common.size, np.int32)
    for slot in range(common.size):
        record = np.int64(common[slot])
        if record != 0:
            wider[_place(wider, records, records[3 * record + _HOME] >> 32, records[3 * record + _KEY])] = record
    return wider


def sorted_rows(table: ContactTable, ids: npt.NDArray[np.uint64]) -> ContactRows:
    """Return the rows of a table, a the lower and b the higher id of each pair.

    `ids` has the label of number k at k - 1, in any order.

    Notes
    -----
    O(rows); 8 bytes per row beside the records and the result.
    """
    n = int(table.state[0]) - _FIRST_RECORD
    records = table.records[3 * _FIRST_RECORD : 3 * (n + _FIRST_RECORD)]
    bits = index_bits(n, ids.size, LEVEL_BITS)
    keys = np.empty(n, np.uint64)
    ranks = np.zeros(0, np.int32) if is_ascending(ids) else ranks_of(ids)
    _order(records, keys, ranks, np.zeros(ids.size + 2, np.int64), bits)
    a, b, level = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint8)
    # The value of a row takes the place of its key, which is read first: memory that is not new costs no page faults.
    rows = ContactRows(a, b, level, keys.view(np.int64), np.empty(n, np.int64))
    _fill(records, keys, np.uint64((1 << bits) - 1), ids, *rows)
    return rows


@jit
def _order(records, keys, ranks, stops, bits):
    """Sort by (a, b, level); the record's index is the key's last `bits` bits."""
    three, level_bits, bits = np.uint64(3), np.uint64(LEVEL_BITS), np.uint64(bits)
    for record in range(np.uint64(keys.size)):
        low, _ = _ends(records, three * record, ranks)
        stops[low + np.uint64(1)] += 1
    starts_of_counts(stops)
    for record in range(np.uint64(keys.size)):
        low, high = _ends(records, three * record, ranks)
        level = np.uint64(records[three * record]) & ((np.uint64(1) << level_bits) - np.uint64(1))
        keys[np.uint64(stops[low])] = (((high << level_bits) | level) << bits) | record
        stops[low] += 1
    sort_buckets(keys, stops)


@jit
def _ends(records, record, ranks):
    """Return the ranks of the two ends; numbers in the order of the ids are ranks (the home number is the larger)."""
    other = np.uint64(records[record]) >> np.uint64(LEVEL_BITS)
    home = np.uint64(records[record + np.uint64(_HOME)]) >> np.uint64(32)
    if ranks.size == 0:
        return other, home
    low, high = np.uint64(ranks[other]), np.uint64(ranks[home])
    return min(low, high), max(low, high)


@jit
def _fill(records, keys, mask, ids, a, b, level, value, count):
    one, level_bits = np.uint64(1), np.uint64(LEVEL_BITS)
    for row in range(np.uint64(keys.size)):
        record = np.uint64(3) * (keys[row] & mask)
        key = np.uint64(records[record])
        home = np.uint64(records[record + np.uint64(_HOME)])
        other_id, home_id = ids[(key >> level_bits) - one], ids[(home >> np.uint64(32)) - one]
        a[row] = min(other_id, home_id)
        b[row] = max(other_id, home_id)
        level[row] = key & ((one << level_bits) - one)
        value[row] = records[record + np.uint64(_VALUE)]
        count[row] = home & np.uint64(_COUNT)
