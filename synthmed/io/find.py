"""Finding image files in folders."""

from __future__ import annotations

from pathlib import Path

from synthmed.io.readers import suffixes


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
        All whose name ends as those of a format that `read_image` reads, in upper or lower case;
        sorted by their path from the folder on, with forward slashes. Hidden files, and what is in
        hidden folders (whose name begins with a dot), are left out. A folder of such a name is in
        it, so that reading it names it.

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
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}")
    ends = suffixes()
    found = {}
    for path in root.rglob("*") if recursive else root.iterdir():
        name = path.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.name.lower().endswith(ends) and not hidden:
            found[name.as_posix()] = path
    return [found[name] for name in sorted(found)]


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
        Where there are several, the first in the order of `suffixes`.

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
    return None
