"""Finding the images that a source names."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthmed.digests import digest_array, digest_file, digest_json
from synthmed.io.find import find_images
from synthmed.io.image import Image, MissingExtra
from synthmed.io.read import read_image, read_series_files
from synthmed.io.readers import READERS
from synthmed.io.series import find_series, is_dicom

SAMPLE = "sample:retina"
_TILE = 224


@dataclass(frozen=True)
class Input:
    """An image that a source names.

    Attributes
    ----------
    name : str
        Relative to the source, with forward slashes: the same wherever the source lies.
    path : Path
        The file, or the folder of a DICOM series; for the sample, the photograph.
    corner : (int, int) or None
        Of a sample's tile.
    series : str or None
        The key of a DICOM series; see `synthmed.io.find_series`.
    files : tuple of Path
        Of a DICOM series.

    Examples
    --------
    >>> from synthmed.io import find_inputs
    >>> tile = find_inputs(["sample:retina"])[0]
    >>> tile.name, tile.read().array.shape
    ('retina-00', (224, 224, 3))
    """

    name: str
    path: Path
    corner: tuple[int, int] | None = None
    series: str | None = None
    files: tuple[Path, ...] = ()

    def read(self) -> Image:
        """Read the image in its own dtype; see `read_image`."""
        if self.files:
            return read_series_files(self.path, self.files)
        image = read_image(self.path)
        if self.corner is None:
            return image
        y, x = self.corner
        return replace(image, array=image.array[y : y + _TILE, x : x + _TILE])

    def digest(self) -> str:
        """Digest of the file, of a series' files whatever their names, or of a sample's tile;
        empty if a file cannot be read.
        """
        if self.corner is not None:
            return digest_array(self.read().array)
        try:
            if self.files:
                return digest_json(sorted(digest_file(path) for path in self.files))
            return digest_file(self.path)
        except OSError:
            return ""


def find_inputs(source: Sequence[str]) -> list[Input]:
    """The images of a source, ordered by name.

    Parameters
    ----------
    source : sequence of str
        Folders (searched by `find_images`), files, globs, or ``sample:retina``: normal-looking
        tiles of the fundus photograph that scikit-image carries. A file or directory that is named
        expressly is taken whatever its suffix. The DICOM files in one folder that are slices of one
        volume are one input, named as the folder; where there are several volumes in it, as the
        folder and the series' key.

    Returns
    -------
    list of Input

    Raises
    ------
    FileNotFoundError
        If a path does not exist, a glob matches nothing, or a folder holds no image.

    Examples
    --------
    >>> from synthmed.io import find_inputs
    >>> [tile.name for tile in find_inputs(["sample:retina"])[:2]]
    ['retina-00', 'retina-01']
    """
    found: dict[str, Input] = {}
    for item in source:
        for new in _find(item):
            before = found.setdefault(new.name, new)
            if (before.path, before.series) != (new.path, new.series):
                raise ValueError(
                    f"two inputs have the name {new.name!r}: {found[new.name].path} and {new.path}"
                )
    return [found[name] for name in sorted(found)]


def _find(item: str) -> list[Input]:
    if item == SAMPLE:
        return _retina_tiles()
    if item.startswith("sample:"):
        raise FileNotFoundError(f"unknown sample {item!r}; known: {SAMPLE}")
    root = Path(item)
    if root.is_dir():
        paths = find_images(root)
        if not paths:
            known = ", ".join(reader.name for reader in READERS)
            raise FileNotFoundError(f"no image ({known}) in the folder {root}")
        return _with_series(root, paths)
    if root.exists():
        return [Input(root.name, root)]
    if glob.has_magic(item):
        paths = [Path(p) for p in glob.glob(item, recursive=True)]  # noqa: PTH207 (a pattern may be absolute)
        if not paths:
            raise FileNotFoundError(f"no file matches {item}")
        fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), root.parts))
        return [Input(p.relative_to(fixed).as_posix(), p) for p in paths]
    raise FileNotFoundError(f"no such file or folder: {item}")


def _with_series(root: Path, paths: Sequence[Path]) -> list[Input]:
    """The files of a folder as inputs, the slices of a DICOM volume as one."""
    found: list[Input] = []
    taken: set[Path] = set()
    for folder in sorted({path.parent for path in paths if path.is_file() and is_dicom(path)}):
        try:
            volumes = [s for s in find_series(folder) if s.kind == "volume"]
        except MissingExtra:
            continue  # each file says so when it is read
        name = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        for series in volumes:
            own = name if len(volumes) == 1 else f"{name}/{series.key}"
            found.append(Input(own, folder, series=series.key, files=series.files))
            taken.update(series.files)
    return found + [Input(p.relative_to(root).as_posix(), p) for p in paths if p not in taken]


def _retina_tiles() -> list[Input]:
    """Tiles wholly inside the field of view that do not show the optic disc, which is bright."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / "retina.jpg"
    photograph = read_image(path).array
    green = photograph[..., 1]
    tiles: list[Input] = []
    for y in range(35, photograph.shape[0] - _TILE, _TILE):
        for x in range(35, photograph.shape[1] - _TILE, _TILE):
            tile = green[y : y + _TILE, x : x + _TILE]
            corners = tile[:: _TILE - 1, :: _TILE - 1]
            if corners.min() > 30 and np.quantile(tile, 0.99) < 160:
                tiles.append(Input(f"retina-{len(tiles):02d}", path, (y, x)))
    return tiles
