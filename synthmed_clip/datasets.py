"""Normal training images and labelled test images in the layouts that people have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthmed_clip.images import SUFFIXES, image_files


@dataclass(frozen=True)
class Item:
    """One test image; `mask` is None where none is known (a normal image needs none), `kind` its class's name."""

    image: Path
    abnormal: bool
    mask: Path | None = None
    kind: str = ""


@dataclass(frozen=True)
class Dataset:
    """A folder's images.

    Attributes
    ----------
    root : Path
    train : tuple of Path
        Normal images, from which support sets are drawn; may be empty.
    test : tuple of Item
        Of both kinds.
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Item, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name


def read_dataset(folder: str | Path) -> Dataset:
    """List the images of a dataset, whichever of three layouts it has.

    - MediCLIP's: `samples/train.json` and `samples/test.json`, a JSON object a line, and `images/`;
    - MVTec's: `train/good/`, `test/good/`, `test/DEFECT/` and `ground_truth/DEFECT/NAME_mask.png`;
    - plain: `normal/`, `abnormal/` and, if there are masks, `masks/` with the names of the abnormal images; normal
      images to train with, if there are any, in `train/`.

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
        found = Dataset(root, _mediclip_train(root), _mediclip_test(root))
    elif (root / "test" / "good").is_dir():
        found = Dataset(root, _images_in(root / "train" / "good"), _mvtec_test(root))
    elif (root / "normal").is_dir() and (root / "abnormal").is_dir():
        found = Dataset(root, _images_in(root / "train"), _plain_test(root))
    else:
        raise ValueError(
            f"{root} has none of the known layouts: samples/test.json with images/; test/good with "
            "test/DEFECT and ground_truth/; or normal/ with abnormal/ (and masks/)"
        )
    if len({item.abnormal for item in found.test}) < 2:
        raise ValueError(f"{root}: the test images are all of one kind; normal and abnormal ones are needed")
    for path in (*found.train, *(path for item in found.test for path in (item.image, item.mask))):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{root} names {path}, which is not there")
    return found


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _mediclip_train(root: Path) -> tuple[Path, ...]:
    listed = root / "samples" / "train.json"
    rows = _rows(listed) if listed.is_file() else []
    return tuple(root / "images" / row["filename"] for row in rows if not row["label"])


def _mediclip_test(root: Path) -> tuple[Item, ...]:
    images = root / "images"
    return tuple(
        Item(
            images / row["filename"],
            bool(row["label"]),
            images / row["mask"] if row.get("mask") else None,
            row.get("clsname") or row.get("label_name", ""),
        )
        for row in _rows(root / "samples" / "test.json")
    )


def _images_in(folder: Path) -> tuple[Path, ...]:
    return tuple(image_files(folder)) if folder.is_dir() else ()


def _mvtec_test(root: Path) -> tuple[Item, ...]:
    items = []
    for kind in sorted(p for p in (root / "test").iterdir() if p.is_dir()):
        truth = root / "ground_truth" / kind.name
        for image in image_files(kind):
            mask = _partner(truth, image.stem, ("_mask", "")) if kind.name != "good" else None
            items.append(Item(image, kind.name != "good", mask, kind.name))
    return tuple(items)


def _plain_test(root: Path) -> tuple[Item, ...]:
    items = [Item(image, False, None, "normal") for image in image_files(root / "normal")]
    for image in image_files(root / "abnormal"):
        items.append(Item(image, True, _partner(root / "masks", image.stem, ("", "_mask")), "abnormal"))
    return tuple(items)


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
