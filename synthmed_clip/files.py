"""Files that are written whole or not at all; and outputs refused before hours of work."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from synthmed.io import write_atomically


def require_file(path: str | Path, what: str) -> None:
    """See that a file is there.

    Parameters
    ----------
    path : str or Path
    what : str
        What the file should be, for the message.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is a folder.

    Examples
    --------
    >>> require_file("missing.safetensors", "detector")
    Traceback (most recent call last):
    FileNotFoundError: no file at missing.safetensors
    """
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder; the {what} itself is needed")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse files to be written that would replace what is read, or could not be written: before
    hours of work.

    Parameters
    ----------
    outputs : iterable of Path or None
    inputs : iterable of path or None
        Files, or names that are no files. None stands for nothing, here and there.

    Raises
    ------
    ValueError
        If an output is a folder, is one of the inputs or another output, or cannot be in the folder
        that it names.
    """
    read = {Path(path).resolve() for path in inputs if path is not None and Path(path).is_file()}
    written: set[Path] = set()
    for path in (path for path in outputs if path is not None):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; a file's name is needed")
        if path.resolve() in read:
            raise ValueError(
                f"{path} is read here, too, and would be replaced; name another output"
            )
        if path.resolve() in written:
            raise ValueError(f"{path} is named for two outputs; name another")
        written.add(path.resolve())
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"{path} cannot be written: {folder} is no folder that can be written to"
            )


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either whole or as it was."""
    write_bytes(path, text.encode())


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows that share their keys, at least one, likewise."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is either whole or as it was, in a folder that is made where it
    is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
