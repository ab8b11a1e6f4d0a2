import pytest

from connectome.errors import InputError
from connectome.runtime.recut import check_thresholds


def test_thresholds_are_affinities():
    assert check_thresholds([0.7, 0.5, 0.7]) == [0.5, 0.7]
    for wrong in ([], [0.5, 1.2], [-0.1], [float("nan")]):
        with pytest.raises(InputError, match="--threshold takes affinities from 0 to 1"):
            check_thresholds(wrong)
