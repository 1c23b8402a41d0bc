"""DICOM series: the files of a folder that are slices of one volume."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synthmed.io.image import Image, ImageWarning, MissingExtra, Unreadable
from synthmed.io.readers.dicom import DICOM, read_planes
from synthmed.io.readers.dicom_elements import has_pixels, load, modality_of, series_key
from synthmed.io.readers.dicom_planes import Plane, planes_of

_HEAD = 132
_NAMED = 8  # series, in a message


@dataclass(frozen=True)
class Series:
    """DICOM files of one folder that belong together.

    Attributes
    ----------
    folder : Path
    files : tuple of Path
        By name.
    kind : {"volume", "images", "no image", "damaged"}
        ``"volume"``: several files, slices of one volume, which ``read_image(folder, series=key)``
        reads. ``"images"``: each file is an input of its own for ``read_image(file)``, such as
        radiographs, or a volume in one file. ``"no image"``: reports, plans, an index (DICOMDIR).
        ``"damaged"``: one file that is not understood; ``read_image(file)`` says why.
    key : str
        Twelve hexadecimal digits, of the hash of the series' UID; empty for a damaged file.
    number : int or None
        Of the series, where it has one.
    modality : str
        Such as ``"CT"``; empty where it is not declared.
    shape : (int, int) or None
        Rows and columns of the first file; None of what is no image.

    Examples
    --------
    >>> import tempfile
    >>> from synthmed.io import find_series
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     find_series(folder)
    []
    """

    folder: Path
    files: tuple[Path, ...]
    kind: Literal["volume", "images", "no image", "damaged"]
    key: str = ""
    number: int | None = None
    modality: str = ""
    shape: tuple[int, int] | None = None

    def __str__(self) -> str:
        """What identifies it, and nothing that names a patient."""
        named = "without a number" if self.number is None else str(self.number)
        size = "" if self.shape is None else f", {self.shape[0]} x {self.shape[1]}"
        count = f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}"
        return f"{named} ({self.modality or 'no modality'}, {count}{size}, {self.key})"


def find_series(folder: Path | str) -> list[Series]:
    """Return the DICOM files of a folder, by series; folders in it are not searched.

    Whether a file is DICOM follows from its first bytes, and from no name. Hidden files are left
    out. Only data elements are read, no pixels, and of a folder without DICOM 132 bytes a file.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of Series
        By number, then by key.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    MissingExtra
        (an ImportError and a ValueError) If there are DICOM files, and the extra ``medical`` is not
        installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pydicom.data
    >>> from synthmed.io import find_series, read_image
    >>> file = pydicom.data.get_testdata_file("dicomdirtests/98892001/CT5N/2062")
    >>> (series,) = find_series(Path(file).parent)
    >>> str(series)
    '5 (CT, 5 files, 16 x 16, 887a203c8fb6)'
    >>> read_image(series.folder, series=series.number).array.shape
    (5, 16, 16)
    """
    return [series for series, _ in _scan(Path(folder))]


def read_series(folder: Path, chosen: int | str | None) -> Image:
    """Read the volume of a folder of DICOM files; for `read_image`, which says what it takes.

    Raises
    ------
    Unreadable
        If there is not exactly one series that is meant, or it is no volume.
    """
    scanned = _scan(folder)
    if not scanned:
        raise Unreadable("Is a directory, not an image, and holds no DICOM files")
    for series, _ in scanned:
        if series.kind == "damaged":
            raise Unreadable(f"holds a damaged DICOM file, {series.files[0].name}")
    found = [(series, planes) for series, planes in scanned if series.shape is not None]
    if chosen is not None:
        found = [item for item in found if str(chosen) in (str(item[0].number), item[0].key)]
    if len(found) != 1:
        known = [str(series) for series, _ in scanned if series.shape is not None]
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        listed = f"{', '.join(known[:_NAMED])}{more}"
        if not known:
            raise Unreadable(f"holds no DICOM images; {scanned[0][0]}")
        if chosen is None or found:
            raise Unreadable(
                f"holds {len(known)} series: {listed}; choose one by its number or by its key, the "
                f"twelve digits"
            )
        raise Unreadable(f"holds no series {chosen!r}; there are {listed}")
    series, planes = found[0]
    _tell_others(folder, scanned)
    if len(series.files) == 1:
        return DICOM.read(series.files[0])
    if series.kind != "volume":
        raise Unreadable(
            f"holds {len(series.files)} images that are no slices of a volume, in the series "
            f"{series}: read each file"
        )
    return read_planes(planes, lambda plane: plane.path.name)


def read_volume(files: Sequence[Path]) -> Image:
    """Read the volume whose slices are in these files, as `find_series` found them.

    Raises
    ------
    Unreadable
        If they are not the slices of one volume; the message names files of them.
    """
    planes = [plane for path in files for plane in planes_of(load(path, pixels=False), path)]
    return read_planes(planes, lambda plane: plane.path.name)


def _scan(folder: Path) -> list[tuple[Series, list[Plane]]]:
    """Series and, of a volume, its planes."""
    members: dict[str, list[tuple[Path, list[Plane], int | None, str]]] = {}
    found: list[tuple[Series, list[Plane]]] = []
    others: dict[str, list[tuple[Path, int | None, str]]] = {}
    for path in _dicom_files(folder):
        with warnings.catch_warnings():  # pydicom's repeat what they warn of
            warnings.simplefilter("ignore")
            try:
                dataset = load(path, pixels=False)
                number = _number(dataset.get("SeriesNumber"))
                modality = modality_of(dataset)
                key = series_key(dataset)
                if has_pixels(dataset):
                    planes = planes_of(dataset, path)
                    members.setdefault(key, []).append((path, planes, number, modality))
                else:
                    others.setdefault(key, []).append((path, number, modality))
            except MissingExtra:
                raise
            except (OSError, Unreadable):
                found.append((Series(folder, (path,), "damaged"), []))
    for key, files in members.items():
        planes = [plane for _, of_file, _, _ in files for plane in of_file]
        slices = len(files) > 1 and any(plane.is_placed for plane in planes)
        _, _, number, modality = files[0]
        series = Series(
            folder,
            tuple(path for path, *_ in files),
            "volume" if slices else "images",
            key,
            number,
            modality,
            planes[0].shape,
        )
        found.append((series, planes if slices else []))
    for key, rest in others.items():
        _, number, modality = rest[0]
        paths = tuple(path for path, *_ in rest)
        found.append((Series(folder, paths, "no image", key, number, modality), []))
    return sorted(found, key=lambda item: (item[0].number or 0, item[0].key, item[0].files))


def _dicom_files(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if is_dicom(path)]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}")
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes."""
    try:
        with path.open("rb") as file:
            return DICOM.matches(file.read(_HEAD), path.name.lower())
    except OSError:
        return False


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _tell_others(folder: Path, scanned: Sequence[tuple[Series, list[Plane]]]) -> None:
    """Warn of files that are in no series of images."""
    known = {path for series, _ in scanned for path in series.files}
    left: Counter[str] = Counter()
    for series, _ in scanned:
        if series.kind == "no image":
            left[f"DICOM without an image ({series.modality or 'no modality'})"] += len(
                series.files
            )
    for path in _files(folder):
        if path not in known:
            left["not DICOM"] += 1
    if left:
        named = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        warnings.warn(f"files are left out: {named}", ImageWarning, stacklevel=2)
