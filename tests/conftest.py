"""What all tests share: one thread per process, a quiet disk, and the folder of real data."""

import os
import signal
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402


def pytest_configure() -> None:
    """Let what tests start be interrupted, though a run in the background inherits that it is not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real tissue; tests that need it skip where it is absent."""
    if not (REAL_DATA / "fib25_ts2.npz").exists():
        pytest.skip(f"real data is not at {REAL_DATA}")
    return REAL_DATA
