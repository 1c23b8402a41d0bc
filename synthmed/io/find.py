"""Finding image files in folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from synthmed.io.readers import suffixes
from synthmed.io.series import is_dicom


def find_images(folder: Path | str, *, recursive: bool = True) -> list[Path]:
    """Return the image files in a folder.

    Parameters
    ----------
    folder : path-like
    recursive : bool
        Whether the folders in it are searched, too.

    Returns
    -------
    list of Path
        All whose name ends as those of a format that `read_image` reads, in upper or lower case,
        and DICOM files of any name; sorted by their path from the folder on, with forward slashes.
        Hidden files, and what is in hidden folders (whose name begins with a dot), are left out.
        Links are followed. What names an image but is none is in it, so that reading it says why: a
        folder of such a name, a link to nothing, a folder that may not be listed.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import find_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.PNG", "a.tif", ".hidden.png", "notes.txt"):
    ...         (Path(folder) / name).touch()
    ...     [path.name for path in find_images(folder)]
    ['a.tif', 'b.PNG']
    """
    return _search(Path(folder), recursive)[0]


def count_others(folder: Path | str) -> Counter[str]:
    """Count the files in a folder that `find_images` leaves out, by kind.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    Counter of str
        By suffix in lower case; ``"hidden"`` for hidden files and folders, ``"without suffix"``
        for files that have none.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import count_others
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.PNG", "a.txt", ".hidden.png", "README"):
    ...         (Path(folder) / name).touch()
    ...     sorted(count_others(folder).items())
    [('.txt', 1), ('hidden', 1), ('without suffix', 1)]
    """
    return _search(Path(folder), True)[1]


def _search(root: Path, recursive: bool) -> tuple[list[Path], Counter[str]]:
    """The images, and the kinds of what is none."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}")
    ends = suffixes()
    found: dict[str, Path] = {}
    others: Counter[str] = Counter()

    def visit(folder: Path, above: frozenset[tuple[int, int]]) -> None:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link back to a folder that is being searched
            return
        try:
            entries = list(folder.iterdir())
        except OSError:
            if folder == root:
                raise
            found[folder.relative_to(root).as_posix()] = folder
            return
        for path in entries:
            if path.name.startswith("."):
                others["hidden"] += 1
                continue
            is_folder = path.is_dir()
            is_broken = path.is_symlink() and not path.exists()
            is_named = path.name.lower().endswith(ends)
            if is_broken or is_named or (not is_folder and is_dicom(path)):
                found[path.relative_to(root).as_posix()] = path
            elif not is_folder:
                others[path.suffix.lower() or "without suffix"] += 1
            if is_folder and recursive:
                visit(path, above | {here})

    visit(root, frozenset())
    return [found[name] for name in sorted(found)], others


def find_image(folder: Path, stem: str) -> Path | None:
    """Return the image file of a name without its suffix; None if there is none.

    Parameters
    ----------
    folder : Path
    stem : str
        The name without its suffix; it may begin with names of folders.

    Returns
    -------
    Path or None
        Where there are several, the first in the order of `suffixes`; upper and lower case are the
        same where there is none of exactly that name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import find_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "scan.1.PNG").touch()
    ...     find_image(Path(folder), "scan.1").name
    'scan.1.PNG'
    """
    for suffix in suffixes():
        for end in (suffix, suffix.upper()):
            path = folder / f"{stem}{end}"
            if path.is_file():
                return path
    where = (folder / stem).parent
    if not where.is_dir():
        return None
    name = (folder / stem).name.casefold()
    names = {p.name.casefold(): p for p in sorted(where.iterdir(), reverse=True) if p.is_file()}
    found = (names.get(f"{name}{suffix}") for suffix in suffixes())
    return next((path for path in found if path is not None), None)
