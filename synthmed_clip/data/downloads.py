"""The images of data sets as they are downloaded: a reader for each lists them as entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmed_clip.data.images import image_files
from synthmed_clip.data.layouts import read_table

# CheXpert's observations but `No Finding` and `Support Devices`, which is no disease.
PATHOLOGIES = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
)


@dataclass(frozen=True)
class Entry:
    """One image of a download.

    Attributes
    ----------
    name : str
        For its copy, with suffix: one of its own, the same wherever the download lies.
    find : callable
        Returns its path; called for drawn images alone, since CheXpert has hundreds of thousands.
    abnormal : bool
    kind : str
        Its class.
    patient : str
        Whose image it is; where that is not known, something of its own.
    masks : tuple of Path
        Their union is the image's mask.
    """

    name: str
    find: Callable[[], Path]
    abnormal: bool
    kind: str
    patient: str
    masks: tuple[Path, ...] = ()


def _folder_with(source: Path, names: Sequence[str]) -> Path:
    """Return the folder that holds the named ones: the source, or the first in it, however deep."""
    below = sorted((p for p in source.rglob("*") if p.is_dir()), key=lambda p: (len(p.parts), p))
    for folder in (source, *below):
        if all((folder / name).is_dir() for name in names):
            return folder
    raise FileNotFoundError(f"{source} has no folder with {', '.join(names)} in it")


def read_busi(source: Path) -> list[Entry]:
    """List BUSI: `normal`, `benign`, `malignant`, with `NAME_mask.png`, `NAME_mask_1.png`, ...
    beside `NAME.png`.
    """
    root = _folder_with(source, ("normal", "benign", "malignant"))
    entries = []
    for kind in ("normal", "benign", "malignant"):
        files = image_files(root / kind)
        masks: dict[str, list[Path]] = {
            path.stem: [] for path in files if not re.search(r"_mask(_\d+)?$", path.stem)
        }
        for path in files:
            if path.stem not in masks:
                owner = re.sub(r"_mask(_\d+)?$", "", path.stem)
                if owner not in masks:
                    raise ValueError(f"{path} is the mask of no image")
                masks[owner].append(path)
        for path in files:
            if path.stem in masks:
                abnormal = kind != "normal"
                if abnormal and not masks[path.stem]:
                    raise ValueError(f"{path} is abnormal and has no mask")
                # The masks of normal images are there, too, and empty.
                union = tuple(masks[path.stem]) if abnormal else ()
                entries.append(
                    Entry(path.name, path.absolute, abnormal, kind, f"{kind}/{path.name}", union)
                )
    return entries


def read_brainmri(source: Path) -> list[Entry]:
    """List BrainMRI: the folders `yes` and `no`, which the download holds twice; the outer ones are
    taken.
    """
    root = _folder_with(source, ("yes", "no"))
    return [
        Entry(path.name, path.absolute, folder == "yes", kind, f"{folder}/{path.name}")
        for folder, kind in (("no", "normal"), ("yes", "tumor"))
        for path in image_files(root / folder)
    ]


def read_chexpert(source: Path) -> list[Entry]:
    """List CheXpert's frontal views of `train.csv` and, if it is there, `valid.csv`.

    Normal is `No Finding` without any pathology, not even an uncertain one; abnormal is any certain
    pathology. The others are left out: uncertain labels count as neither.
    """
    tables = sorted(source.glob("train.csv")) or sorted(source.glob("*/train.csv"))
    if not tables:
        raise FileNotFoundError(f"no train.csv in {source} or a folder in it")
    if len(tables) > 1:
        raise ValueError(f"which one? {', '.join(map(str, tables))}")
    folders = [tables[0].parent, source, *sorted(p for p in source.iterdir() if p.is_dir())]
    entries = []
    for table in (tables[0], tables[0].with_name("valid.csv")):
        if table == tables[0] or table.is_file():
            for number, row in enumerate(
                read_table(table, ("Path", "Frontal/Lateral", "No Finding", *PATHOLOGIES)), 1
            ):
                if row["Frontal/Lateral"] == "Frontal":
                    entry = _chexpert_entry(row, f"{table}, row {number}", folders)
                    entries += [] if entry is None else [entry]
    return entries


def _chexpert_entry(row: dict[str, str], where: str, folders: Sequence[Path]) -> Entry | None:
    labels = {
        column: _observation(row[column], column, where) for column in ("No Finding", *PATHOLOGIES)
    }
    normal, found = labels.pop("No Finding") == 1, set(labels.values())
    if 1 in found:
        if normal:
            return None  # a contradiction
    elif not normal or -1 in found:
        return None
    parts = tuple(part for part in row["Path"].split("/") if part)
    patient = next((part for part in parts if re.fullmatch(r"patient\d+", part)), None)
    if patient is None:
        raise ValueError(f"{where}: no patient in the Path {row['Path']!r}")
    name = "_".join(parts[parts.index(patient) :])
    kind = "abnormal" if 1 in found else "normal"
    return Entry(name, lambda: _locate(parts, folders, where), 1 in found, kind, patient)


def _observation(text: str, column: str, where: str) -> int:
    """A label as 1, 0 (which a blank is, too) or -1, uncertain."""
    values = {"": 0, "0.0": 0, "0": 0, "1.0": 1, "1": 1, "-1.0": -1, "-1": -1}
    if text not in values:
        raise ValueError(f"{where}: {column} is {text!r}, not 1, 0, -1 or blank")
    return values[text]


def _locate(parts: tuple[str, ...], folders: Sequence[Path], where: str) -> Path:
    """Find what a Path means: it starts with a folder's name that may be another one here, or
    `batch 2 (train 1)`.
    """
    for skip in (1, 0, 2):
        for folder in folders:
            path = folder.joinpath(*parts[skip:])
            if path.is_file():
                return path
    raise FileNotFoundError(f"{where} names {'/'.join(parts)}, which is not in {folders[0]}")
