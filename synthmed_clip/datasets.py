"""Labelled test images in the layouts that people have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthmed_clip.images import SUFFIXES, image_files


@dataclass(frozen=True)
class Item:
    """One test image; `mask` is None where none is known (a normal image needs none)."""

    image: Path
    abnormal: bool
    mask: Path | None = None


def read_dataset(folder: str | Path) -> list[Item]:
    """List the test images of a dataset, whichever of three layouts it has.

    - MediCLIP's: `samples/test.json`, a JSON object a line, and `images/`;
    - MVTec's: `test/good/`, `test/DEFECT/` and `ground_truth/DEFECT/NAME_mask.png`;
    - plain: `normal/`, `abnormal/` and, if there are masks, `masks/` with the names of the abnormal images.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or an image that a list names is not there.
    ValueError
        If it has none of the layouts, or one kind of image only.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}")
    if (root / "samples" / "test.json").is_file():
        items = _mediclip(root)
    elif (root / "test" / "good").is_dir():
        items = _mvtec(root)
    elif (root / "normal").is_dir() and (root / "abnormal").is_dir():
        items = _plain(root)
    else:
        raise ValueError(
            f"{root} has none of the known layouts: samples/test.json with images/; test/good with "
            "test/DEFECT and ground_truth/; or normal/ with abnormal/ (and masks/)"
        )
    if len({item.abnormal for item in items}) < 2:
        raise ValueError(f"{root}: the test images are all of one kind; normal and abnormal ones are needed")
    for item in items:
        for path in (item.image, item.mask):
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"{root} names {path}, which is not there")
    return items


def _mediclip(root: Path) -> list[Item]:
    lines = (root / "samples" / "test.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    images = root / "images"
    return [
        Item(images / row["filename"], bool(row["label"]), images / row["mask"] if row.get("mask") else None)
        for row in rows
    ]


def _mvtec(root: Path) -> list[Item]:
    items = []
    for kind in sorted(p for p in (root / "test").iterdir() if p.is_dir()):
        truth = root / "ground_truth" / kind.name
        for image in image_files(kind):
            mask = _partner(truth, image.stem, ("_mask", "")) if kind.name != "good" else None
            items.append(Item(image, kind.name != "good", mask))
    return items


def _plain(root: Path) -> list[Item]:
    items = [Item(image, False) for image in image_files(root / "normal")]
    for image in image_files(root / "abnormal"):
        items.append(Item(image, True, _partner(root / "masks", image.stem, ("", "_mask"))))
    return items


def _partner(folder: Path, stem: str, endings: tuple[str, ...]) -> Path | None:
    """Find the mask of an image: the same name with one of the endings, of any image type."""
    names = (folder / f"{stem}{ending}{suffix}" for ending in endings for suffix in sorted(SUFFIXES))
    return next((path for path in names if path.is_file()), None)


def read_mask(path: Path | None, size: int) -> np.ndarray:
    """Return a mask `(size, size)` bool, nearest neighbour; all False without a path.

    Grey levels above 127 are inside, or above 0 where the file has none above 1.
    """
    if path is None:
        return np.zeros((size, size), bool)
    with Image.open(path) as opened:
        values = np.asarray(opened.convert("L"))
    inside = values > (127 if values.max() > 1 else 0)
    return np.asarray(Image.fromarray(inside).resize((size, size), Image.Resampling.NEAREST))
