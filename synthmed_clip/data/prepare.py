"""Data sets as they are downloaded, into the split that the method is judged by, in MediCLIP's
layout.

Whatever the data set, one function draws the split and one writes it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed import io
from synthmed.io import MaskLevel
from synthmed_clip.data.downloads import Entry, read_brainmri, read_busi, read_chexpert
from synthmed_clip.files import require_folder


@dataclass(frozen=True)
class Split:
    """How a data set is read and how many images are drawn; None stands for all that are left.

    Attributes
    ----------
    read : callable
        Lists the images of a download, given its folder.
    train, normal, abnormal : int or None
        Normal images to train with, normal and abnormal ones to test with.
    """

    read: Callable[[Path], list[Entry]]
    train: int
    normal: int | None
    abnormal: int | None


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote.

    Attributes
    ----------
    dataset : str
        One of `PROTOCOLS`.
    seed : int
        Of the draw.
    train, normal, abnormal, masks : int
        Normal images to train with, normal and abnormal ones to test with, and how many of the
        last have a mask.
    kinds : dict of int
        Abnormal test images of each class.

    Examples
    --------
    >>> print(Prepared("brainmri", 0, 33, 65, 155, 0, {"tumor": 155}))
    train 33 normal; test 65 normal, 155 abnormal (155 tumor); 0 masks
    """

    dataset: str
    seed: int
    train: int
    normal: int
    abnormal: int
    masks: int
    kinds: dict[str, int]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return (
            f"train {self.train} normal; test {self.normal} normal, {self.abnormal} "
            f"abnormal ({kinds}); {self.masks} masks"
        )


def prepare(
    name: str,
    source: str | Path,
    destination: str | Path,
    *,
    train: int | None = None,
    normal: int | None = None,
    abnormal: int | None = None,
    seed: int = 0,
    mask_level: MaskLevel = None,
) -> Prepared:
    """Bring a download to the split of the method's protocol, in MediCLIP's layout.

    Image files are copied as they are; masks are written as PNG of 0 and 255. The counts are kept
    in `samples/counts.json`. The same source and seed give the same bytes.

    Parameters
    ----------
    name : str
        One of `PROTOCOLS`.
    source : path
        The download, unpacked.
    destination : path
        Of the data set; must be missing or empty. It is written beside its place and then moved
        there.
    train, normal, abnormal : int, optional
        Normal images to train with, normal and abnormal ones to test with; by default the
        protocol's.
    seed : int
        Of the draw, which does not depend on the order in which images are listed. No patient is
        drawn twice.
    mask_level : int, sequence of int, "any" or None
        Which levels of the download's masks are inside; see `synthmed.io.read_mask`.

    Raises
    ------
    FileNotFoundError
        If the download's folders or files are not as they should be.
    FileExistsError
        If the destination is there and not empty.
    ValueError
        If there are too few images, or a fault in the download (the file or column is named).

    Examples
    --------
    BrainMRI comes as the folders `yes` and `no`; `scans` are a few arrays of images.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for index, pixels in enumerate(scans):
    ...         path = Path(folder, "download", "yes" if index == 0 else "no", f"{index}.png")
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.fromarray(pixels).save(path)
    ...     print(prepare("brainmri", f"{folder}/download", f"{folder}/brain", train=2))
    train 2 normal; test 1 normal, 1 abnormal (1 tumor); 0 masks
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no data set {name!r}; known: {', '.join(PROTOCOLS)}")
    protocol, source, destination = PROTOCOLS[name], Path(source), Path(destination)
    require_folder(source, "download")
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise FileExistsError(f"{destination} is there and not empty; nothing was written")
    numbers = (
        protocol.train if train is None else train,
        protocol.normal if normal is None else normal,
        protocol.abnormal if abnormal is None else abnormal,
    )
    if any(number is not None and number < 1 for number in numbers):
        raise ValueError("at least one image of each kind is drawn")
    parts = draw(protocol.read(source), *numbers, seed)
    temporary = destination.absolute().with_name(
        f".{destination.absolute().name}.{os.getpid()}.tmp"
    )
    try:
        prepared = _write(temporary, name, seed, parts, mask_level)
        if destination.exists():
            destination.rmdir()
        temporary.rename(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return prepared


def draw(
    entries: Iterable[Entry], train: int, normal: int | None, abnormal: int | None, seed: int
) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Draw images of different patients: normal ones to train with, normal and abnormal ones to
    test with.

    Parameters
    ----------
    entries : iterable of Entry
    train, normal, abnormal : int or None
        How many; None stands for all that are left.
    seed : int

    Raises
    ------
    ValueError
        If too few images of different patients are left.

    Notes
    -----
    Hashes of the seed with the patients' names give the order: it depends neither on the order of
    the entries nor on a generator of random numbers, and a patient of many images is as likely as
    one of few.

    Examples
    --------
    >>> listed = [Entry(f"{i}.png", Path, i == 0, "", patient=str(i)) for i in range(5)]
    >>> [len(part) for part in draw(listed, train=2, normal=None, abnormal=1, seed=0)]
    [2, 2, 1]
    """

    def rank(text: str) -> bytes:
        return sha256(f"{seed}/{text}".encode()).digest()

    ordered = sorted(entries, key=lambda entry: (rank(entry.patient), rank(entry.name)))
    seen: set[str] = set()

    def take(kind: bool, number: int | None, purpose: str) -> list[Entry]:
        taken: list[Entry] = []
        for entry in ordered:
            if len(taken) == number:
                break
            if entry.abnormal == kind and entry.patient not in seen:
                seen.add(entry.patient)
                taken.append(entry)
        if len(taken) < (1 if number is None else number):
            raise ValueError(
                f"{len(taken)} {purpose} images of different patients are left, of {number or 1} "
                f"to draw"
            )
        return sorted(taken, key=lambda entry: entry.name)

    return (
        take(False, train, "normal training"),
        take(False, normal, "normal test"),
        take(True, abnormal, "abnormal test"),
    )


def _write(
    root: Path,
    name: str,
    seed: int,
    parts: tuple[list[Entry], list[Entry], list[Entry]],
    mask_level: MaskLevel,
) -> Prepared:
    train, normal, abnormal = parts
    _require_names(parts)
    (root / "samples").mkdir(parents=True)
    for listed, entries in (("train", train), ("test", normal + abnormal)):
        rows = [_copy(root / "images", listed, entry, mask_level) for entry in entries]
        (root / "samples" / f"{listed}.json").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), newline="\n"
        )
    prepared = Prepared(
        dataset=name,
        seed=seed,
        train=len(train),
        normal=len(normal),
        abnormal=len(abnormal),
        masks=sum(bool(entry.masks) for entry in abnormal),
        kinds=dict(sorted(Counter(entry.kind for entry in abnormal).items())),
    )
    (root / "samples" / "counts.json").write_text(
        json.dumps(asdict(prepared), indent=1) + "\n", newline="\n"
    )
    return prepared


def _require_names(parts: Iterable[list[Entry]]) -> None:
    """Refuse two images whose copies, or masks, would be one file."""
    for entries in parts:
        seen: dict[str, Entry] = {}
        for entry in entries:
            stem = Path(entry.name).stem if entry.masks else entry.name
            other = seen.setdefault(stem, entry)
            if other is not entry:
                raise ValueError(
                    f"{other.find()} and {entry.find()} would have one copy, {entry.name}; "
                    f"rename one of them"
                )


def _copy(images: Path, listed: str, entry: Entry, mask_level: MaskLevel) -> dict:
    """Copy an image, write its mask, and return its row."""
    label_name = "abnormal" if entry.abnormal else "normal"
    row = {"label": int(entry.abnormal), "label_name": label_name, "clsname": entry.kind}
    place = Path(listed) / label_name / entry.name
    (images / place).parent.mkdir(parents=True, exist_ok=True)
    original = entry.find()
    shutil.copyfile(original, images / place)
    row = {"filename": place.as_posix()} | row
    if entry.masks:
        mask = Path(listed) / "masks" / Path(entry.name).with_suffix(".png")
        (images / mask).parent.mkdir(exist_ok=True)
        union = _union(original, entry.masks, mask_level)
        Image.fromarray(union.astype(np.uint8) * 255).save(images / mask)
        row["mask"] = mask.as_posix()
    return row


def _union(image: Path, masks: Sequence[Path], level: MaskLevel) -> NDArray[np.bool_]:
    shape = io.read_image(image).spatial_shape
    union = np.zeros(shape, bool)
    for path in masks:
        mask = io.read_mask(path, level=level)
        if mask.shape != shape:
            raise ValueError(
                f"{path} is {mask.shape[1]} x {mask.shape[0]}, its image {image.name} {shape[1]} "
                f"x {shape[0]}"
            )
        union |= mask
    if not union.any():
        raise ValueError(f"{image} is abnormal, and nothing is inside its mask")
    return union


PROTOCOLS = {
    "busi": Split(read_busi, train=32, normal=None, abnormal=None),
    # 98 normal images less the 65 of the test: one more than the largest support set, so that its
    # draws differ.
    "brainmri": Split(read_brainmri, train=33, normal=None, abnormal=None),
    "chexpert": Split(read_chexpert, train=32, normal=250, abnormal=250),
}
