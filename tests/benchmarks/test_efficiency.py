"""What workers wait, computed from receipts."""

import pytest

from benchmarks.efficiency import waiting
from connectome.store.ledger import Receipt


def receipts(n_workers, rounds, pause):
    """Workers that begin a little after each other, and pause between tasks of 10 s."""
    starts = [worker * 0.01 + number * (10 + pause) for worker in range(n_workers) for number in range(rounds)]
    return [Receipt("sleep", ((n, n + 1),), 1, 1, start, 10.0, 0, 0, 0, 0, "host") for n, start in enumerate(starts)]


@pytest.mark.parametrize("pause", [0.0, 0.1, 1.0])
def test_pauses_are_the_overhead(pause):
    found = waiting(receipts(50, 5, pause), 50)
    assert found["overhead"] == pytest.approx(pause / (10 + pause), abs=5e-3)
    assert found["window_seconds"] == pytest.approx(4 * (10 + pause) - 0.49, abs=0.1)
