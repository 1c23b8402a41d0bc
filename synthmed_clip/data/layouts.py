"""Normal training images and labelled test images in the layouts that people have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from synthmed import io
from synthmed.io import MaskLevel
from synthmed_clip.data.images import image_files
from synthmed_clip.data.labelled import Labelled, list_labelled, mask_folders
from synthmed_clip.files import require_folder


@dataclass(frozen=True)
class Item:
    """One test image.

    Attributes
    ----------
    image : Path
    abnormal : bool
    mask : Path or None
        None where none is known; a normal image needs none.
    kind : str
        Its class's name.
    mask_level : int, tuple of int, "any" or None
        Which levels of the mask are inside; see `synthmed.io.read_mask`.

    Examples
    --------
    >>> item = Item(Path("scan.png"), abnormal=True, mask=Path("scan_mask.png"), kind="tumour")
    >>> item.kind, item.mask_level
    ('tumour', None)
    """

    image: Path
    abnormal: bool
    mask: Path | None = None
    kind: str = ""
    mask_level: MaskLevel = None


@dataclass(frozen=True)
class Dataset:
    """A folder's images.

    Attributes
    ----------
    root : Path
    train : tuple of Path
        Normal images, from which support sets are drawn; may be empty.
    test : tuple of Item
        Of both kinds, or of one.
    validation : tuple of Item
        To choose an epoch by; usually there are none.
    left_out : tuple of str
        What else is in its folders, counted, in words.

    Examples
    --------
    >>> normals = tuple(Path("brain", "normal", f"{i}.png") for i in range(3))
    >>> tests = Item(normals[2], False), Item(Path("brain/abnormal/0.png"), True)
    >>> dataset = Dataset(Path("brain"), normals[:2], tests)
    >>> dataset.name, dataset.relative(dataset.train[0])
    ('brain', 'normal/0.png')
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Item, ...]
    validation: tuple[Item, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name

    def relative(self, path: Path) -> str:
        """Name a file of the data set from its root; one that lies elsewhere by its whole path."""
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()


def read_dataset(
    folder: str | Path, *, mask_level: MaskLevel = None, volumes: bool = False
) -> Dataset:
    """List the images of a dataset, whichever of four layouts it has.

    - MediCLIP's: `samples/train.json` and `samples/test.json` (and `valid.json`), a JSON object a
      line, and `images/`;
    - VisA's: `split_csv/1cls.csv` with the columns object, split, label, image and mask; an item's
      kind is its object;
    - MVTec's: `train/good/`, `test/good/`, `test/DEFECT/` and `ground_truth/DEFECT/NAME_mask.png`;
    - plain: `normal/`, `abnormal/` or both, and `masks/` or `ground_truth/`, if there are masks;
      normal images to train with, if there are any, in `train/`. Folders in `abnormal/` are kinds.

    In the last two a mask is found by its image's name wherever data sets have it; see
    `synthmed_clip.data.labelled.list_labelled`. Hidden files and folders are left out.

    Parameters
    ----------
    folder : path
    mask_level : int, sequence of int, "any" or None
        Which levels of its masks are inside, for `Item.mask_level`; by default all but 0 of VisA's,
        whose levels are numbers of defects, and of the others' masks what `synthmed.io.read_mask`
        takes to be inside.
    volumes : bool
        Whether its images are volumes, so that a folder of DICOM slices is one of them.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or an image that a list names is not there.
    ValueError
        If it has none of the layouts, no test image, or a list that lacks a column or has an
        unknown word; an image has two masks, or two images have one.
    TypeError
        If the mask level is none.

    Examples
    --------
    `scans` are a few arrays of images.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     for kind, pixels in zip(("train", "normal", "abnormal"), scans):
    ...         Path(folder, kind).mkdir()
    ...         Image.fromarray(pixels).save(Path(folder, kind, "scan.png"))
    ...     dataset = read_dataset(folder)
    >>> len(dataset.train), [(item.kind, item.abnormal) for item in dataset.test]
    (1, [('normal', False), ('abnormal', True)])
    """
    root = Path(folder)
    level = io.require_mask_level(mask_level)
    read = _reader(root, volumes)
    if read is None:
        raise ValueError(f"{root} has none of the known layouts: {_LAYOUTS}")
    (train, beside), (test, others) = read(root)
    if not test:
        raise ValueError(f"{root}: no test image is listed")
    found = Dataset(root, train, test, _listed(root, "valid.json"), (*beside, *others))
    if level is not None:
        found = replace(
            found,
            test=tuple(replace(item, mask_level=level) for item in found.test),
            validation=tuple(replace(item, mask_level=level) for item in found.validation),
        )
    labelled = (
        path for item in (*found.test, *found.validation) for path in (item.image, item.mask)
    )
    for path in (*found.train, *labelled):
        if path is not None and not (path.is_file() or (volumes and path.is_dir())):
            raise FileNotFoundError(f"{root} names {path}, which is not there")
    return found


def read_datasets(folder: str | Path, *, mask_level: MaskLevel = None) -> list[Dataset]:
    """List a dataset, or every dataset directly in a folder, as MVTec-AD's 15 categories are.

    Parameters
    ----------
    folder : path
    mask_level : int, sequence of int, "any" or None
        As of `read_dataset`.

    Returns
    -------
    list of Dataset
        In the order of their names. Other folders, those of none of the layouts, are passed over.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_dataset`; and if neither the folder nor one directly in it has a layout.

    Examples
    --------
    `scans` are a few arrays of images.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     for category in ("brain", "chest"):
    ...         for kind, pixels in zip(("normal", "abnormal"), scans):
    ...             Path(folder, category, kind).mkdir(parents=True)
    ...             Image.fromarray(pixels).save(Path(folder, category, kind, "scan.png"))
    ...     [dataset.name for dataset in read_datasets(folder)]
    ['brain', 'chest']
    """
    root = Path(folder)
    if _reader(root) is not None:
        return [read_dataset(root, mask_level=mask_level)]
    found = [
        read_dataset(inner, mask_level=mask_level)
        for inner in sorted(root.iterdir())
        if inner.is_dir() and not inner.name.startswith(".") and _reader(inner) is not None
    ]
    if not found:
        raise ValueError(
            f"neither {root} nor a folder directly in it has one of the known layouts: {_LAYOUTS}"
        )
    return found


_LAYOUTS = (
    "samples/test.json with images/; split_csv/1cls.csv; test/good with test/DEFECT and "
    "ground_truth/; "
    "or normal/ with abnormal/ (and masks/)"
)
_Found = TypeVar("_Found", Path, Item)
_Listed = tuple[tuple[_Found, ...], tuple[str, ...]]  # and what is left out, in words
_Read = Callable[[Path], tuple[_Listed[Path], _Listed[Item]]]


def _reader(root: Path, volumes: bool = False) -> _Read | None:
    """Return what lists the train and test images of the layout that a folder has."""
    require_folder(root, "data set")
    if (root / "samples" / "test.json").is_file():
        return lambda root: ((_mediclip_train(root), ()), (_listed(root, "test.json"), ()))
    if (root / "split_csv" / "1cls.csv").is_file():
        return _visa
    if (root / "test" / "good").is_dir() or (
        (root / "test").is_dir() and (root / "ground_truth").is_dir()
    ):
        return lambda root: (
            _train_images(root / "train" / "good", volumes),
            _mvtec_test(root, volumes),
        )
    if (root / "normal").is_dir() or (root / "abnormal").is_dir():
        return lambda root: (_train_images(root / "train", volumes), _plain_test(root, volumes))
    return None


def read_table(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    r"""Read a CSV file with a header, row by row.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it lacks one of the columns (it is named), or a row is cut short.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "split.csv").write_text("image,label\na.png,normal\n")
    ...     list(read_table(Path(folder, "split.csv"), ["label"]))
    [{'image': 'a.png', 'label': 'normal'}]
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(
                f"{path} lacks the column {lacking[0]!r}; it has "
                f"{', '.join(reader.fieldnames or ())}"
            )
        for number, row in enumerate(reader, 1):
            if any(row[name] is None for name in columns):
                raise ValueError(f"{path}, row {number}: too few fields")
            yield row


def _visa(root: Path) -> tuple[_Listed[Path], _Listed[Item]]:
    table = root / "split_csv" / "1cls.csv"
    known = {"split": ("train", "test"), "label": ("normal", "anomaly")}
    train: list[Path] = []
    test: list[Item] = []
    for number, row in enumerate(
        read_table(table, ("object", "split", "label", "image", "mask")), 1
    ):
        for column, words in known.items():
            if row[column] not in words:
                raise ValueError(
                    f"{table}, row {number}: {column} is {row[column]!r}, not {' or '.join(words)}"
                )
        abnormal = row["label"] == "anomaly"
        if row["split"] == "test":
            mask = root / row["mask"] if row["mask"] and abnormal else None
            test.append(Item(root / row["image"], abnormal, mask, row["object"], "any"))
        elif not abnormal:
            train.append(root / row["image"])
    return (tuple(train), ()), (tuple(test), ())


def _rows(path: Path) -> list[dict]:
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
                rows.append(row | {name: row[name] for name in ("filename", "label")})
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number}: {error!r} (an object with filename and label is due)"
                ) from None
    return rows


def _mediclip_train(root: Path) -> tuple[Path, ...]:
    listed = root / "samples" / "train.json"
    rows = _rows(listed) if listed.is_file() else []
    return tuple(root / "images" / row["filename"] for row in rows if not row["label"])


def _listed(root: Path, name: str) -> tuple[Item, ...]:
    listed, images = root / "samples" / name, root / "images"
    return tuple(
        Item(
            images / row["filename"],
            bool(row["label"]),
            images / row["mask"] if row.get("mask") else None,
            row.get("clsname") or row.get("label_name", ""),
        )
        for row in (_rows(listed) if listed.is_file() else [])
    )


def _train_images(folder: Path, volumes: bool) -> _Listed[Path]:
    """Those directly in the folder: of others nothing says that they are normal."""
    if not folder.is_dir():
        return (), ()
    images = tuple(image_files(folder, volumes))
    inner = 0 if volumes else len(io.find_images(folder)) - len(images)
    return images, (f"{inner} images in folders of {folder.name}/",) if inner else ()


def _mvtec_test(root: Path, volumes: bool) -> _Listed[Item]:
    items: list[Item] = []
    notes: list[str] = []
    folders = [p for p in (root / "test").iterdir() if p.is_dir() and not p.name.startswith(".")]
    for kind in sorted(folders):
        abnormal = kind.name != "good"
        masks = [root / "ground_truth" / kind.name] if abnormal else []
        found = list_labelled(kind, masks, volumes)
        items += _items(found, abnormal, [kind.name] * len(found.images))
        notes += _notes(found, abnormal)
    return tuple(items), tuple(notes)


def _plain_test(root: Path, volumes: bool) -> _Listed[Item]:
    items: list[Item] = []
    notes: list[str] = []
    for name in ("normal", "abnormal"):
        if not (root / name).is_dir():
            continue
        abnormal = name == "abnormal"
        found = list_labelled(root / name, mask_folders(root) if abnormal else [], volumes)
        items += _items(
            found, abnormal, [kind if abnormal and kind else name for kind in found.kinds]
        )
        notes += _notes(found, abnormal)
    return tuple(items), tuple(notes)


def _items(found: Labelled, abnormal: bool, kinds: Sequence[str]) -> Iterator[Item]:
    for image, mask, kind in zip(found.images, found.masks, kinds, strict=True):
        yield Item(image, abnormal, mask if abnormal else None, kind)


def _notes(found: Labelled, abnormal: bool) -> Iterator[str]:
    yield from found.left_out
    unneeded = sum(mask is not None for mask in found.masks)
    if unneeded and not abnormal:
        yield f"the masks of {unneeded} normal images"
