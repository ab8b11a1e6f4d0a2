"""A hash table that adds up values by pairs of numbers: the store behind edges and contact areas.

Contacts come in scan order, so that the pairs that are alive at a time are few and near. The table keeps them near
in memory: every number has a bucket of slots of its own, in the order of the numbers, and a record is written
where the last one ended. Pairs that find their bucket full (those of hubs) go to one common table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit
from connectome.kernels.label_numbers import is_ascending, ranks_of
from connectome.kernels.pair_order import LEVEL_BITS, index_bits, sort_buckets, starts_of_counts

# The words of a record: key (other number << LEVEL_BITS | level), home number << 32 | count, value if there is one.
_KEY, _HOME, _VALUE = 0, 1, 2
_WORDS, _WORDS_WITHOUT_VALUE = 3, 2
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
    records : int64 array, three words to a record, or two without values
        Room for all of them; what is not used is never touched.
    common : int32 array
        Slots of the pairs that found their bucket full, open addressing.
    state : int64 array
        The next record, the records in `common`, the slots of a bucket as a power of two, and the words of a record.
    """

    slots: npt.NDArray[np.uint32]
    records: npt.NDArray[np.int64]
    common: npt.NDArray[np.int32]
    state: npt.NDArray[np.int64]

    @property
    def n_bytes(self) -> int:
        """Bytes of the records that are used."""
        return 8 * int(self.state[0] * self.state[3])

    def without_slots(self) -> ContactTable:
        """Return the table for `sorted_rows`, which needs no slots and would be short of their memory."""
        return self._replace(slots=np.zeros(0, np.uint32), common=np.zeros(0, np.int32))


class ContactRows(NamedTuple):
    """Rows sorted by (a, b, level).

    Attributes
    ----------
    ends : int32 array, shape (rows, 2)
        Numbers of both ends.
    levels : uint8 array
    counts : uint32 array
    values : int64 array
        Empty where the table has none.
    """

    ends: npt.NDArray[np.int32]
    levels: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.uint32]
    values: npt.NDArray[np.int64]


def new_table(n_numbers: int, n_values: int, *, has_levels: bool = False, has_values: bool = True) -> ContactTable:
    """Make an empty table for pairs of the numbers 1 ... `n_numbers` and at most `n_values` values, below 2^32.

    With levels a pair has several records, and a number twice the slots: those that find none are slow. Without
    values contacts are only counted.

    Notes
    -----
    24 bytes for each record that is used (16 without values), 32 to 256 for each number (8 to 64 slots, by how many
    values it may get).
    """
    bits = min(max((n_values // max(n_numbers, 1)).bit_length() - 1 + has_levels, 3), 6)
    slots = np.zeros((n_numbers + 1) << bits, np.uint32)
    words = _WORDS if has_values else _WORDS_WITHOUT_VALUE
    records = np.zeros(words * (n_values + _FIRST_RECORD), np.int64)
    records[_KEY] = -1
    state = np.array([_FIRST_RECORD, 0, bits, words], np.int64)
    return ContactTable(slots, records, np.zeros(1 << 10, np.int32), state)


@jit
def add_values(table, homes, keys, values, counts, left, n, largest):
    """Add `n` values, each of so many contacts, to their records, or keep the largest of each record.

    All pairs look at the first slot of their probe sequence, those that met another pair there at the second, and
    so on: a round is free of branches, and most pairs are done after one. `left` is room for `n` indices.
    """
    slots, records, common, state = table
    words = state[3]
    for i in range(n):
        left[i] = i
    for probe in range(min(1 << state[2], _PROBES)):
        if n == 0:
            break
        given = (homes, keys, values, counts, left)
        state[0], n = _add_round(slots, records, words, state[0], state[2], *given, n, probe, largest)
    for k in range(n):
        i = left[k]
        if 2 * state[1] > common.size:
            common = _grown(common, records, words)
        home, key, value = np.int64(homes[i]), keys[i], values[i]
        place = _place(common, records, words, home, key)
        record = np.int64(common[place])
        if record == 0:
            record = state[0]
            common[place] = record
            records[words * record + _KEY] = key
            records[words * record + _HOME] = home << 32
            state[0] += 1
            state[1] += 1
        records[words * record + _HOME] += np.int64(counts[i])
        if words == _WORDS:
            before = records[words * record + _VALUE]
            records[words * record + _VALUE] = max(before, value) if largest else before + value
    return ContactTable(slots, records, common, state)


@jit
def _add_round(slots, records, words, next_record, bits, homes, keys, values, counts, left, n, probe, largest):
    """Add what finds its record, or an empty slot, at the probe; keep the others in `left`, and count them.

    Everything that is an index is unsigned, or the compiled code checks each for being negative.
    """
    bits, probe, new, words = np.uint64(bits), np.uint64(probe), np.uint64(next_record), np.uint64(words)
    has_values = np.uint64(words == np.uint64(_WORDS))
    shift, wrap = np.uint64(64) - bits, (np.uint64(1) << bits) - np.uint64(1)
    n_left = np.uint64(0)
    for k in range(np.uint64(n)):
        i = np.uint64(left[k])
        home, key, value = np.uint64(homes[i]), keys[i], values[i]
        place = (home << bits) | ((((np.uint64(key) * _MIX) >> shift) + probe) & wrap)
        met = np.uint64(slots[place])
        is_it = records[words * met] == key
        is_empty = met == np.uint64(0)
        is_other = not (is_it | is_empty)
        left[n_left] = i
        n_left += np.uint64(is_other)
        # Slot 0 is nobody's: writing there instead of the slot just read spares the next contact the wait for it.
        slots[place if is_empty else np.uint64(0)] = new
        target = met if is_it else new
        target = words * (np.uint64(_NOWHERE) if is_other else target)
        new += np.uint64(is_empty)
        records[target] = key
        counted = records[target + np.uint64(_HOME)] | np.int64(home << np.uint64(32))
        records[target + np.uint64(_HOME)] = counted + np.int64(counts[i])
        # A value that is not kept goes where record 0 would have its home.
        place = has_values * (target + np.uint64(_VALUE - _HOME)) + np.uint64(_HOME)
        before = records[place]
        records[place] = max(before, value) if largest else before + value
    return np.int64(new), np.int64(n_left)


@jit
def _place(common, records, words, home, key):
    """Return where a pair is in the common slots, or the empty slot where it belongs."""
    wrap = common.size - 1
    mixed = (np.uint64(key) * _MIX) ^ (np.uint64(home) * _MIX_HOME)
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX_LAST
    place = np.int64(mixed >> np.uint64(32)) & wrap
    while common[place] != 0:
        met = np.int64(common[place])
        if records[words * met + _KEY] == key and records[words * met + _HOME] >> 32 == home:
            break
        place = (place + 1) & wrap
    return place


@jit
def _grown(common, records, words):
    wider = np.zeros(4 * common.size, np.int32)
    for slot in range(common.size):
        record = np.int64(common[slot])
        if record != 0:
            home, key = records[words * record + _HOME] >> 32, records[words * record + _KEY]
            wider[_place(wider, records, words, home, key)] = record
    return wider


def sorted_rows(table: ContactTable, ids: npt.NDArray[np.uint64]) -> ContactRows:
    """Return the rows of a table, sorted by the lower and the higher id of each pair, and the level.

    `ids` has the label of number k at k - 1, in any order.

    Notes
    -----
    O(rows); 21 bytes per row beside the records (13 without values), all of it the result.
    """
    n, words = int(table.state[0]) - _FIRST_RECORD, int(table.state[3])
    records = table.records[words * _FIRST_RECORD : words * (n + _FIRST_RECORD)]
    bits = index_bits(n, ids.size, LEVEL_BITS)
    keys = np.empty(n, np.uint64)
    ranks = np.zeros(0, np.int32) if is_ascending(ids) else ranks_of(ids)
    _order(records, words, keys, ranks, np.zeros(ids.size + 2, np.int64), bits)
    # The ends of a row take the place of its key, which is read first: memory that is not new costs no page faults.
    ends = keys.view(np.int32).reshape(n, 2)
    values = np.empty(n if words == _WORDS else 0, np.int64)
    rows = ContactRows(ends, np.empty(n, np.uint8), np.empty(n, np.uint32), values)
    _fill(records, words, keys, np.uint64((1 << bits) - 1), *rows)
    return rows


def ids_of_ends(
    ends: npt.NDArray[np.int32], ids: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the lower and the higher id of each row, in the place of its ends; `ids` as in `sorted_rows`."""
    a, b = np.empty(len(ends), np.uint64), ends.reshape(-1).view(np.uint64)
    _name_ends(ends, ids, a, b)
    return a, b


@jit
def _order(records, words, keys, ranks, stops, bits):
    """Sort by (a, b, level); the record's index is the key's last `bits` bits."""
    words, level_bits, bits = np.uint64(words), np.uint64(LEVEL_BITS), np.uint64(bits)
    for record in range(np.uint64(keys.size)):
        low, _ = _ends(records, words * record, ranks)
        stops[low + np.uint64(1)] += 1
    starts_of_counts(stops)
    for record in range(np.uint64(keys.size)):
        low, high = _ends(records, words * record, ranks)
        level = np.uint64(records[words * record]) & ((np.uint64(1) << level_bits) - np.uint64(1))
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
def _fill(records, words, keys, mask, ends, levels, counts, values):
    one, level_bits, words = np.uint64(1), np.uint64(LEVEL_BITS), np.uint64(words)
    for row in range(np.uint64(keys.size)):
        record = words * (keys[row] & mask)
        key = np.uint64(records[record])
        home = np.uint64(records[record + np.uint64(_HOME)])
        ends[row, 0], ends[row, 1] = key >> level_bits, home >> np.uint64(32)
        levels[row] = key & ((one << level_bits) - one)
        counts[row] = home & np.uint64(_COUNT)
        if words == np.uint64(_WORDS):
            values[row] = records[record + np.uint64(_VALUE)]


@jit
def _name_ends(ends, ids, a, b):
    for row in range(np.uint64(a.size)):
        one, two = ids[np.uint64(ends[row, 0] - 1)], ids[np.uint64(ends[row, 1] - 1)]
        a[row], b[row] = min(one, two), max(one, two)
