"""Which inputs belong together: those of one patient, and identical files."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def group_keys(names: Sequence[str], by: str) -> list[str]:
    """Return the key of each input; inputs of one key stay on one side of a split.

    Parameters
    ----------
    names : sequence of str
        The inputs' names, relative to the source.
    by : str
        ``"folder"``: the folder that the file is in. ``FILE.csv:COLUMN``: the value in this column,
        in the row whose first column holds the input's name, its file name, or either without
        suffix. Anything else: a regular expression that is searched for in the name, whose first
        group is the key.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If an input has no key, or `by` is none of these.
    FileNotFoundError
        If there is no such table.

    Examples
    --------
    >>> from synthmed.generate.groups import group_keys
    >>> group_keys(["p1/a.png", "p1/b.png", "p2/a.png"], "folder")
    ['p1', 'p1', 'p2']
    >>> group_keys(["p1_a.png", "p2_a.png"], "^(p[0-9]+)_")
    ['p1', 'p2']
    """
    if by == "folder":
        return [PurePosixPath(name).parent.as_posix() for name in names]
    table = re.fullmatch(r"(.+\.csv):(.+)", by, re.IGNORECASE)
    if table:
        return _from_table(names, Path(table[1]), table[2])
    try:
        pattern = re.compile(by)
    except re.error as error:
        raise ValueError(f"group_by is no regular expression: {error}, got {by!r}") from None
    if pattern.groups < 1:
        raise ValueError(
            f"group_by must be 'folder', FILE.csv:COLUMN or a regular expression with a group in "
            f"brackets, got {by!r}"
        )
    keys = []
    for name in names:
        match = pattern.search(name)
        if match is None or match[1] is None:
            raise ValueError(f"group_by {by!r} does not match the input {name!r}")
        keys.append(match[1])
    return keys


def _from_table(names: Sequence[str], path: Path, column: str) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        header = list(rows.fieldnames or [])
        if column not in header:
            raise ValueError(f"{path} has no column {column!r}; it has {', '.join(header)}")
        keys: dict[str, str] = {}
        for row in rows:
            name, key = row[header[0]], row[column]
            if not key:
                raise ValueError(f"{path}: {name!r} has no value in the column {column!r}")
            if keys.setdefault(name, key) != key:
                raise ValueError(f"{path}: {name!r} has two values in the column {column!r}")
    found = []
    for name in names:
        whole = PurePosixPath(name)
        spellings = (name, whole.with_suffix("").as_posix(), whole.name, whole.stem)
        key = next((keys[spelling] for spelling in spellings if spelling in keys), None)
        if key is None:
            raise ValueError(
                f"{path}: the first column, {header[0]!r}, does not hold the input {name!r}"
            )
        found.append(key)
    return found


def join_groups(keys: Sequence[str], digests: Sequence[str]) -> list[int]:
    """Number the groups of inputs that share a key or, through others perhaps, a digest.

    Parameters
    ----------
    keys : sequence of str
    digests : sequence of str
        Of the files: identical files belong to one group.

    Returns
    -------
    list of int
        For each input, the number of its group, in the order of their first inputs.

    Examples
    --------
    >>> from synthmed.generate.groups import join_groups
    >>> join_groups(["a", "b", "c", "b"], ["1", "2", "1", "3"])
    [0, 1, 0, 1]
    """
    group = list(range(len(keys)))
    for shared in (keys, digests):
        first: dict[str, int] = {}
        for i, value in enumerate(shared):
            old, new = group[i], group[first.setdefault(value, i)]
            group = [new if g == old else g for g in group] if old != new else group
    numbers: dict[int, int] = {}
    return [numbers.setdefault(g, len(numbers)) for g in group]
