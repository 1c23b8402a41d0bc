"""What a run has done so far, on disk: after any end the same command goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Row = dict[str, str | float | None]
FORMAT = "synthmed-clip journal 1"


@dataclass(frozen=True, eq=False)
class Journal:
    """What is known of images, by their names; see `keep_journal`.

    Attributes
    ----------
    rows : dict of str to dict
        Of those that were scored.
    faults : dict of str to str
        Why others could not be.
    """

    rows: dict[str, Row]
    faults: dict[str, str]
    file: IO[bytes]

    def add(self, name: str, path: Path, row: Row) -> None:
        """Write an image's row down."""
        self._add(name, path, {"row": row})
        self.rows[name] = row

    def leave_out(self, name: str, path: Path, reason: str) -> None:
        """Write down why an image has none."""
        self._add(name, path, {"reason": reason})
        self.faults[name] = reason

    def knows(self, names: Sequence[str]) -> bool:
        """Whether all these images are done."""
        return all(name in self.rows or name in self.faults for name in names)

    def _add(self, name: str, path: Path, found: dict[str, Any]) -> None:
        if not self.knows([name]):
            self.file.write(_line({"image": name, "stamp": _stamp(path), **found}))
            self.file.flush()


@contextmanager
def keep_journal(
    path: Path, settings: Mapping[str, Any], images: Mapping[str, Path], *, force: bool = False
) -> Iterator[Journal]:
    """Write down, image by image, what a run finds, and begin with what it found before it was
    ended; once the run is through, the file goes.

    Parameters
    ----------
    path : Path
        One JSON object a line: the settings, then an image each.
    settings : mapping
        All that rows depend on but for the images; JSON values.
    images : mapping of str to Path
        By name. A file that has another size or time of change than before is not known.
    force : bool
        Begin anew where the settings are others.

    Raises
    ------
    ValueError
        If the file is of a run with other settings; they are named.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     scan, path = Path(folder, "a.png"), Path(folder, "journal.jsonl")
    ...     scan.touch()
    ...     try:
    ...         with keep_journal(path, {"seed": 1}, {"a": scan}) as journal:
    ...             journal.add("a", scan, {"score": 0.5})
    ...             raise KeyboardInterrupt
    ...     except KeyboardInterrupt:
    ...         pass
    ...     with keep_journal(path, {"seed": 1}, {"a": scan}) as journal:
    ...         print(journal.rows)
    ...     path.exists()
    {'a': {'score': 0.5}}
    False
    """
    head = _line({"format": FORMAT, **settings})
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    faults: dict[str, str] = {}
    end = 0
    lines = list(_whole_lines(path))
    if lines and _line(lines[0][0]) != head:
        before, now = lines[0][0], json.loads(head)
        if not force:
            names = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            raise ValueError(
                f"{path} is of an unfinished run with other settings ({', '.join(names)}): give "
                f"those again to go on, --force to begin anew, or another output"
            )
        lines = []
    for entry, position in lines:
        end = position
        name = str(entry.get("image"))
        stamp = _stamp(images[name]) if name in images else None
        if stamp is not None and entry["stamp"] == stamp:
            if "row" in entry:
                rows[name] = entry["row"]
            else:
                faults[name] = entry["reason"]
    with path.open("ab") as file:
        file.truncate(end)  # what follows was being written when the run ended
        if not end:
            file.write(head)
            file.flush()
        yield Journal(rows, faults, file)
    path.unlink()
    if made:  # a run that found nothing leaves nothing
        with suppress(OSError):
            path.parent.rmdir()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode("ascii") + b"\n"  # odd file names are escaped


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines of a journal, each with the position of its end."""
    if not path.is_file():
        return
    position = 0
    with path.open("rb") as file:
        for line in file:
            position += len(line)
            try:
                entry = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n") or not isinstance(entry, dict):
                return
            yield entry, position


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change of a file, or of a folder's files; None where that is not known."""
    try:
        files = [path] if path.is_file() else sorted(path.iterdir())
        found = [file.stat() for file in files]
    except OSError:
        return None
    numbers = [[status.st_size, status.st_mtime_ns] for status in found]
    return [number for pair in numbers for number in pair]
