"""Regenerating what a manifest says, and comparing it with the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthmed.generate.plan import read_plan
from synthmed.generate.producer import Producer, label_pixels
from synthmed.io import Unreadable, read_image
from synthmed.replay import replay


@dataclass(frozen=True)
class Difference:
    """What regenerating one sample showed.

    Attributes
    ----------
    index : int
    problems : tuple of str
        Empty if image and mask are identical to the files.

    Examples
    --------
    >>> from synthmed.generate import Difference
    >>> Difference(3, ("images/000003.png: No such file or directory",)).index
    3
    """

    index: int
    problems: tuple[str, ...]


def verify(
    manifest: str | Path, index: int | None = None, source: Sequence[str] = ()
) -> Iterator[Difference]:
    """Regenerate samples from their records and compare them with their files.

    Parameters
    ----------
    manifest : path
        The ``manifest.jsonl`` of a run, beside its ``recipe.json``.
    index : int, optional
        One sample; all by default.
    source : sequence of str
        Where the inputs are now, if not where they were.

    Yields
    ------
    Difference

    Raises
    ------
    FileNotFoundError, ValueError
        If the manifest, its run or its inputs are missing or are not what they were, or there is no
        such index.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate import Settings, generate, verify
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = generate("sample:retina", folder, Settings(per_image=1))
    ...     sum(not found.problems for found in verify(Path(folder) / "manifest.jsonl"))
    14
    """
    manifest = Path(manifest)
    if not manifest.is_file():
        raise FileNotFoundError(f"no manifest {manifest}")
    producer = Producer(read_plan(manifest.parent, source))
    found = False
    with manifest.open(encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            if index is None or line["index"] == index:
                found = True
                yield Difference(line["index"], tuple(_problems(line, producer, manifest.parent)))
    if index is not None and not found:
        raise ValueError(f"{manifest} has no sample with index {index}")


def _problems(line: dict[str, Any], producer: Producer, folder: Path) -> Iterator[str]:
    prepared = producer.cache[producer.source_of(line["index"])]
    made = {"image": prepared.image.array}
    if "record" in line:
        sample = replay(line["record"], prepared.image.array, donors=producer.donors(line["index"]))
        made = {"image": sample.image, "mask": label_pixels(sample.mask)}
    for role, name in line["files"].items():
        try:
            there = read_image(folder / name).array
        except Unreadable as error:
            yield str(error)
            continue
        if there.dtype != made[role].dtype or there.shape != made[role].shape:
            yield (
                f"{name}: holds {there.dtype} of shape {there.shape}, "
                f"the record gives {made[role].dtype} of shape {made[role].shape}"
            )
        elif not np.array_equal(there, made[role]):
            yield (
                f"{name}: {np.count_nonzero(there != made[role])} values differ from what "
                f"the record gives"
            )
