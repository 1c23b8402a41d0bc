"""Writing files so that a file that is there is whole."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

TEMPORARY = ".tmp-"
_HEAD = 4096
_LONGEST = 200
_OURS = re.compile(rf"{re.escape(TEMPORARY)}(\d+-.+|manifest\.jsonl)")


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place and rename into it; on any error nothing is left behind.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "a.txt", b"whole")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:  # a file system takes 255 bytes
        name = sha256(os.fsencode(name)).hexdigest()
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{name}"
    try:
        with naming(path):
            temporary.write_bytes(data)
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def require_own(path: Path, mark: bytes, *, force: bool = False) -> None:
    """Refuse to replace a file that a command did not write itself.

    Parameters
    ----------
    path : Path
        To be written.
    mark : bytes
        What every file of its kind holds within its first 4 KiB.
    force : bool
        Refuse nothing.

    Raises
    ------
    ValueError
        If something is there without the mark.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import require_own
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "thesis.csv"
    ...     require_own(path, b"image,score")  # nothing is there
    ...     _ = path.write_text("patient,age")
    ...     try:
    ...         require_own(path, b"image,score")
    ...     except ValueError as error:
    ...         print("did not write" in str(error))
    True
    """
    if not force and os.path.lexists(path) and not has_mark(path, mark):
        raise ValueError(
            f"{path} is there, and this command did not write it; name another output, or give "
            f"--force to replace it"
        )


def has_mark(path: Path, mark: bytes) -> bool:
    """Whether something is a file that holds a mark within its first 4 KiB.

    Examples
    --------
    >>> from pathlib import Path
    >>> from synthmed.io import has_mark
    >>> has_mark(Path("missing.csv"), b"image,score")
    False
    """
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        return mark in file.read(_HEAD)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error that does not: a write to a full disk knows no path."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def remove_temporary(folder: Path) -> None:
    """Remove what a killed run left half-written, in a folder and all below it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import remove_temporary
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / ".tmp-7-a.png").touch()
    ...     remove_temporary(Path(folder))
    ...     list(Path(folder).iterdir())
    []
    """
    for path in folder.rglob(f"{TEMPORARY}*"):
        if is_temporary(path):
            path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that is written here before it is renamed into its place."""
    return _OURS.fullmatch(path.name) is not None and not path.is_dir()
