"""Files that are written whole or not at all; and outputs refused before hours of work."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from enum import Enum
from hashlib import sha256
from pathlib import Path

from synthmed.io import require_own, write_atomically


class Kind(Enum):
    """Files that commands write, each by what stands near its beginning: a command replaces its own
    alone.
    """

    DETECTOR = rb"{\"format\": \"synthmed-clip detector "  # JSON in the JSON of safetensors
    CHECKPOINT = rb"{\"format\": \"synthmed-clip checkpoint "
    LOG = b"number,loss,"
    PLOT = b"Software\0synthmed-clip plot"
    SCORES = b"image,score,"
    JOURNAL = b'{"format": "synthmed-clip journal '
    PREDICTIONS = b'{\n "format": "synthmed-clip predictions '
    MAP = b"synthmed-clip map"
    ONNX = b"synthmed-clip"
    EVALUATION = b'{\n "format": "synthmed-clip evaluation '
    REPORT = b'<meta name="generator" content="synthmed-clip report">'
    RUNS = b"dataset,method,shots,"
    SUMMARY = b"dataset,test,method,"
    SUMMARY_JSON = b'[\n {\n  "dataset": '
    TABLE = b"| data | method | k |"


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
        raise ValueError(f"{path} is a folder; the {what}, a file, is needed")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")


def require_folder(path: str | Path, what: str) -> None:
    """See that a folder is there; likewise.

    Examples
    --------
    >>> require_folder("missing", "data set")
    Traceback (most recent call last):
    FileNotFoundError: no folder at missing
    """
    if Path(path).is_file():
        raise ValueError(f"{path} is a file; the {what}, a folder, is needed")
    if not Path(path).is_dir():
        raise FileNotFoundError(f"no folder at {path}")


def check_outputs(
    outputs: Iterable[tuple[Path | None, Kind]],
    inputs: Iterable[str | Path | None] = (),
    *,
    force: bool = False,
) -> None:
    """Refuse files to be written that would replace what is read or what the command did not write
    itself, or could not be written: before hours of work.

    Parameters
    ----------
    outputs : iterable of (Path or None, Kind)
        Each with what it will be.
    inputs : iterable of path or None
        Files, or names that are no files. None stands for nothing, here and there.
    force : bool
        Replace files of another kind.

    Raises
    ------
    ValueError
        If an output is a folder, is one of the inputs or another output, is there and is no file
        of its kind, or cannot be in the folder that it names.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "figures.json")
    ...     check_outputs([(path, Kind.EVALUATION), (None, Kind.REPORT)])
    """
    read = {Path(path).resolve() for path in inputs if path is not None and Path(path).is_file()}
    written: set[Path] = set()
    for path, kind in outputs:
        if path is None:
            continue
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
        require_own(path, kind.value, force=force)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 that is either whole or as it was; of file names that are not of
    UTF-8 their own bytes.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, kind: str, data: dict) -> None:
    """Write JSON data likewise, with what they are and a SHA-256 of them.

    Parameters
    ----------
    path : Path
    kind : str
        What the data are, as `format`.
    data : dict

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.json")
    ...     write_json(path, "mine 1", {"epochs": 3})
    ...     read_json(path, "mine 1")
    {'epochs': 3}
    """
    write_text(path, _sealed(kind, data))


def read_json(path: Path, kind: str) -> dict:
    """Read back what `write_json` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged anywhere, or of another kind.
    """
    require_file(path, "JSON file")
    try:
        text = path.read_bytes().decode()
        data = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    found = data.pop("format", None) if isinstance(data, dict) else None
    if found != kind:
        raise ValueError(f"{path} is damaged, or of another version: its format is {found!r}")
    data.pop("sha256", None)
    if _sealed(kind, data) != text:  # to the letter: no other spelling of the same data
        raise ValueError(f"{path} is damaged: it does not hold what was written")
    return data


def _sealed(kind: str, data: dict) -> str:
    digest = sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return json.dumps({"format": kind, "sha256": digest} | data, indent=1) + "\n"


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
