import pytest

from tests.object_stores import gs, s3  # noqa: F401
from tests.tissue import noisy_affinities, write_volume


@pytest.fixture(scope="session")
def stored_affinities(tmp_path_factory):
    """(url of affinities, url of truth) of a small phantom of odd shape."""
    folder = tmp_path_factory.mktemp("stored")
    affinities, truth = noisy_affinities((60, 70, 90))
    return (
        write_volume(folder / "affinities.zarr", affinities),
        write_volume(folder / "truth.zarr", truth, block=(60, 70, 90)),
    )
