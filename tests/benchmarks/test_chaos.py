"""What `make chaos` demands of a run: each condition alone makes it fail."""

import pytest

from benchmarks.chaos import unmet

GOOD = {
    "blocks": 216,
    "exit_code": 0,
    "killed": {"worker": 4, "scheduler": 1, "driver": 2},
    "store_requests": {"requests": 5000, "passed": 4500, "503": 200, "429": 100, "reset": 200},
    "is_same_checksum": True,
    "audit_findings": [],
    "computed_more_than_once_share": 0.05,
}


def test_the_demanded_run_passes():
    assert unmet(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"exit_code": 2}, "the driver ends with 0, got 2"),
        ({"is_same_checksum": False}, "the checksum is that of the quiet run"),
        ({"audit_findings": ["x is missing"]}, "the audit finds nothing, got ['x is missing']"),
        ({"computed_more_than_once_share": 0.2}, "less than 15% of tasks are computed again, got 20.0%"),
        ({"killed": {"worker": 1, "driver": 2}}, "the scheduler is killed once, got 0"),
        ({"killed": {"worker": 1, "scheduler": 1, "driver": 1}}, "the driver is killed twice, got 1"),
        ({"killed": {"scheduler": 1, "driver": 2}}, "workers are killed, got 0"),
        ({"blocks": 199}, "there are 200 blocks or more, got 199"),
        ({"store_requests": {}}, "store requests fail, got 0 of 0"),
        ({"store_requests": {"requests": 9, "passed": 9}}, "store requests fail, got 0 of 9"),
    ],
)
def test_each_condition_is_judged(changes, sentence):
    assert unmet(GOOD | changes) == [sentence]
