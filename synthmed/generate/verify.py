"""Regenerating what a manifest says, and comparing it with the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthmed.generate.layouts import GOOD
from synthmed.generate.plan import read_plan
from synthmed.generate.producer import Producer, has_place, kind_of, label_image
from synthmed.generate.stored import MANIFEST, read_lines
from synthmed.io import Image, Unreadable, read_image
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
    if manifest.is_dir():
        raise ValueError(f"{manifest} is a folder; its {MANIFEST} is needed")
    if not manifest.is_file():
        raise FileNotFoundError(f"no manifest {manifest}")
    producer = Producer(read_plan(manifest.parent, source))
    found = False
    for line in read_lines(manifest):
        if line["index"] >= len(producer):
            raise ValueError(
                f"{manifest} is damaged: it has index {line['index']}, and the run makes "
                f"{len(producer)} samples"
            )
        if index is None or line["index"] == index:
            found = True
            yield Difference(line["index"], tuple(_problems(line, producer, manifest.parent)))
    if index is not None and not found:
        raise ValueError(f"{manifest} has no sample with index {index}")


def _problems(line: dict[str, Any], producer: Producer, folder: Path) -> Iterator[str]:
    yield from unlike(line, producer)
    prepared = producer.cache[producer.source_of(line["index"])]
    made = {"image": prepared.image}
    if "record" in line:
        try:
            donors = producer.donors(line["index"])
            sample = replay(line["record"], prepared.image.array, donors=donors)
        except ValueError as error:
            yield str(error)
            return
        image = replace(prepared.image, array=sample.image)
        made = {"image": image, "mask": label_image(sample.mask, image)}
    for role, name in line["files"].items():
        if role not in made:
            yield f"{name}: the record gives no {role}"
            continue
        try:
            found = read_image(folder / name)
        except Unreadable as error:
            yield str(error)
            continue
        there, expected = found.array, _channels_last(made[role])
        if there.dtype != expected.dtype.newbyteorder("=") or there.shape != expected.shape:
            yield (
                f"{name}: holds {there.dtype} of shape {there.shape}, "
                f"the record gives {expected.dtype} of shape {expected.shape}"
            )
        elif not np.array_equal(there, expected):
            yield (
                f"{name}: {np.count_nonzero(there != expected)} values differ from what "
                f"the record gives"
            )
        affine = made[role].affine
        if has_place(made[role]) and affine is not None:
            kept = found.affine  # in single precision
            if kept is None or not np.array_equal(kept.astype(np.float32), np.float32(affine)):
                yield f"{name}: its affine differs from the input's"


def unlike(line: dict[str, Any], producer: Producer) -> Iterator[str]:
    """Say what of a line is not as the run writes it, the record's numbers aside."""
    expected = {
        "source": producer.plan.inputs[producer.source_of(line["index"])].name,
        "kind": GOOD,
    }
    if "record" in line:
        anomalies = line["record"].get("anomalies")
        if not (isinstance(anomalies, list) and all(isinstance(name, str) for name in anomalies)):
            yield f"the record's anomalies are {anomalies!r}"
            return
        expected["kind"] = kind_of(line["record"])
        recipe = json.loads(json.dumps(producer.plan.settings.recipe.to_dict()))
        if line["record"].get("generator") != recipe:
            yield "the record is of another generator than the run's recipe"
    for key, value in expected.items():
        if line[key] != value:
            yield f"{key} is {line[key]!r}, the run gives {value!r}"


def _channels_last(image: Image) -> NDArray[Any]:
    """As files hold an image."""
    axis = image.channel_axis
    return image.array if axis is None else np.moveaxis(image.array, axis, -1)
