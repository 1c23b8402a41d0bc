"""Which files of a labelled folder are images and which are masks, and whose: data sets keep masks
in folders of their own, in mirrored folders, or beside the images.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmed import io
from synthmed_clip.data.images import image_files

_FOLDERS = ("mask", "masks", "ground_truth", "groundtruth", "gt", "segmentation", "segmentations")
_ENDING = re.compile(
    r"[ _-](mask|masks|seg|segmentation|gt|groundtruth|ground_truth)([ _-]\d+)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class Labelled:
    """The images of one folder.

    Attributes
    ----------
    images : tuple of Path
        Sorted by their path from the folder on.
    masks : tuple of (Path or None)
        The mask of each image.
    kinds : tuple of str
        The first folder that each lies in, below the one that was listed; '' where it lies in it,
        or in one called `images`.
    left_out : tuple of str
        What is in the folders and is neither, in words.

    Examples
    --------
    >>> Labelled((Path("a.png"),), (None,), ("",), ()).kinds
    ('',)
    """

    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    kinds: tuple[str, ...]
    left_out: tuple[str, ...]


def list_labelled(folder: Path, mask_folders: Sequence[Path], volumes: bool = False) -> Labelled:
    """List the images of a folder and of the folders in it, each with its mask.

    Parameters
    ----------
    folder : Path
    mask_folders : sequence of Path
        Where masks are besides those in it; they need not be there. A mask lies there under its
        image's path from `folder` on, or from the one above, as it does in folders called `masks`,
        `ground_truth` and so on within `folder`; or in the image's own folder. Its name is its
        image's, or has an ending such as `_mask` or `_seg` (which beside the image it must have),
        in upper or lower case, and any suffix of an image.
    volumes : bool
        Whether its images are volumes, so that a folder of DICOM slices is one of them; those
        directly in the folder are taken.

    Raises
    ------
    FileNotFoundError
        If it holds no image.
    ValueError
        If an image has two masks, or two images have one.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     root = Path(name)
    ...     for path in ("ill/a.png", "ill/tumour/b.png", "ill/tumour/b_seg.png", "gt/a_mask.PNG"):
    ...         (root / path).parent.mkdir(parents=True, exist_ok=True)
    ...         (root / path).touch()
    ...     found = list_labelled(root / "ill", [root / "gt"])
    ...     [(image.name, mask.name) for image, mask in zip(found.images, found.masks)], found.kinds
    ([('a.png', 'a_mask.PNG'), ('b.png', 'b_seg.png')], ('', 'tumour'))
    """
    files = image_files(folder, True) if volumes else io.find_images(folder)
    inside = {path: _place(path, folder) for path in files}
    images = {path: place for path, place in inside.items() if not _in_masks(path, folder)}
    stems = set(images.values())
    beside = {p for p, place in images.items() if (end := _ending(place)) and place[:-end] in stems}
    images = {path: place for path, place in images.items() if path not in beside}
    if not images:
        raise FileNotFoundError(f"no image in {folder} or the folders in it")
    masks = {path: place for path, place in inside.items() if path not in images}
    for there in mask_folders:
        for path in io.find_images(there) if there.is_dir() else ():
            place = _place(path, there)
            masks[path] = place.removeprefix(f"{folder.name}/")
    known: dict[str, list[Path]] = defaultdict(list)
    for path, place in masks.items():
        end = _ending(place)
        for name in dict.fromkeys((place, place[: len(place) - end])):
            known[name.casefold()].append(path)
    own = {path: _only(path, known.get(place.casefold(), [])) for path, place in images.items()}
    owners: dict[Path, Path] = {}
    for path, mask in own.items():
        if mask is not None and owners.setdefault(mask, path) != path:
            raise ValueError(f"{mask} could be the mask of {owners[mask]} and of {path}")
    kinds = [place.partition("/")[0] if "/" in place else "" for place in images.values()]
    unused = [path for path in masks if path not in owners]
    return Labelled(tuple(images), tuple(own.values()), tuple(kinds), tuple(_told(folder, unused)))


def mask_folders(root: Path) -> list[Path]:
    """Return the folders directly in one that are called `masks`, `ground_truth` and so on.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     for folder in ("abnormal", "GT"):
    ...         Path(name, folder).mkdir()
    ...     [path.name for path in mask_folders(Path(name))]
    ['GT']
    """
    return [path for path in sorted(root.iterdir()) if path.name.casefold() in _FOLDERS]


def _place(path: Path, folder: Path) -> str:
    """A file's path from a folder on, without its suffix and folders called `images` or `masks`."""
    *above, name = path.relative_to(folder).parts if path != folder else (path.name,)
    kept = [part for part in above if part.casefold() not in (*_FOLDERS, "images")]
    return "/".join([*kept, io.stem_of(name)])


def _in_masks(path: Path, folder: Path) -> bool:
    return any(part.casefold() in _FOLDERS for part in path.relative_to(folder).parts[:-1])


def _ending(place: str) -> int:
    """The length of what tells a mask by its name; 0 where nothing does."""
    found = _ENDING.search(place)
    return 0 if found is None else len(found[0])


def _only(image: Path, found: list[Path]) -> Path | None:
    if len(found) > 1:
        raise ValueError(
            f"{image} has {len(found)} masks, {found[0]} and {found[1]}: join them in one file, or "
            f"take one away"
        )
    return found[0] if found else None


def _told(folder: Path, unused: Sequence[Path]) -> Iterator[str]:
    if unused:
        yield f"{len(unused)} masks of no image in {folder.name}/, such as {unused[0].name}"
    others = io.count_others(folder)
    if others:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(others.items()))
        yield f"{others.total()} files in {folder.name}/ that are no images or hidden ({kinds})"
