"""Scratch folders of processes that may be killed: whoever comes next sweeps what the dead have left."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from connectome.errors import InputError
from connectome.store.run_lock import Claim

OWNER = "owner.json"
"""Says whose the folder is; a folder without it is left alone."""


def scratch_folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Return a new scratch folder of this process, after those of dead ones with the same prefix are deleted."""
    sweep(prefix)
    folder = tempfile.TemporaryDirectory(prefix=prefix)
    (Path(folder.name) / OWNER).write_bytes(Claim.of_this_process().content())
    return folder


def sweep(prefix: str) -> None:
    """Delete scratch folders of this user whose process, of this machine, is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, InputError):  # half written, or swept by another process meanwhile
            is_ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
            if is_ours and Claim.parse((folder / OWNER).read_bytes(), str(folder)).is_dead:
                shutil.rmtree(folder, ignore_errors=True)
