"""What a run keeps of itself, read back: recipe, manifest, journal. What is damaged is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFEST, JOURNAL, SKIPPED = "manifest.jsonl", ".journal.jsonl", "skipped.json"
RECIPE_FILE = "recipe.json"


def read_run(path: Path) -> dict[str, Any]:
    """Read a run's ``recipe.json``: settings, inputs and what was left out.

    Raises
    ------
    ValueError
        If it is damaged; the file is named.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate.stored import read_run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "recipe.json"
    ...     _ = path.write_text('{"recipe": {"type": "CutPaste"}}')
    ...     try:
    ...         read_run(path)
    ...     except ValueError as error:
    ...         print(str(error).removeprefix(folder))
    /recipe.json is damaged: 'source' is missing
    """
    data = _read(path)
    kinds = {"recipe": dict, "source": list, "inputs": list, "skipped": list}
    for key, kind in kinds.items():
        if key not in data:
            raise _damaged(path, f"{key!r} is missing")
        if not isinstance(data[key], kind):
            raise _damaged(path, f"{key!r} is {data[key]!r}")
    if not all(isinstance(source, str) for source in data["source"]):
        raise _damaged(path, f"'source' is {data['source']!r}")
    for key, names in (("inputs", ("name", "sha256")), ("skipped", ("name", "reason"))):
        for entry in data[key]:
            if not (isinstance(entry, dict) and all(isinstance(entry.get(n), str) for n in names)):
                raise _damaged(path, f"{entry!r} in {key!r}")
    return data


def read_rejected(path: Path) -> list[dict[str, Any]]:
    """Read which samples were not made, as lines of a journal; none where there is no such file.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    if not path.exists():
        return []
    samples = _read(path).get("samples")
    if not isinstance(samples, list):
        raise _damaged(path, f"'samples' is {samples!r}")
    names = ("source", "reason")
    for sample in samples:
        if not (isinstance(sample, dict) and all(isinstance(sample.get(n), str) for n in names)):
            raise _damaged(path, f"{sample!r} in 'samples'")
    return [{"source": s["source"], "rejected": s["reason"]} for s in samples]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest, or of a finished journal.

    Raises
    ------
    ValueError
        At the first that is damaged; file and line are named.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                yield _line(text)
            except ValueError as error:
                raise _damaged(path, f"line {number}: {error}") from None


def read_whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the lines of a journal that was interrupted, as far as they are whole, each with the
    position of its end.
    """
    with path.open("rb") as file:
        for text in file:
            try:
                line = _line(text)
            except ValueError:
                return
            yield line, file.tell()


def _line(text: bytes) -> dict[str, Any]:
    """Parse a line, and see that it says what a line says."""
    line = _parsed(text)
    if not text.endswith(b"\n"):
        raise ValueError("it is cut short")
    if type(line.get("index")) is not int or line["index"] < 0:
        raise ValueError(f"'index' is {line.get('index')!r}")
    for key in ("source", "rejected") if "rejected" in line else ("source", "kind"):
        if not isinstance(line.get(key), str):
            raise ValueError(f"{key!r} is {line.get(key)!r}")
    if "rejected" in line:
        return line
    files = line.get("files")
    if not (
        isinstance(files, dict)
        and "image" in files
        and files.keys() <= {"image", "mask"}
        and all(isinstance(name, str) and "\0" not in name for name in files.values())
    ):
        raise ValueError(f"'files' is {files!r}")
    if not isinstance(line.get("record", {}), dict):
        raise ValueError(f"'record' is {line['record']!r}")
    return line


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(data, dict):
        raise ValueError(f"an object is expected, not {data!r:.60}")
    return data


def _damaged(path: Path, what: object) -> ValueError:
    return ValueError(f"{path} is damaged: {what}")
