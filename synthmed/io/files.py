"""Writing files so that a file that is there is whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TEMPORARY = ".tmp-"


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place and rename into it; on any error nothing is left behind."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{path.name}"
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_temporary(folder: Path) -> None:
    """Remove what a killed run left half-written, in a folder and all below it."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)
