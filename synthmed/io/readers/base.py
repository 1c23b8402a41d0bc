"""What a reader of a file format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synthmed.io.image import Image


@dataclass(frozen=True)
class Reader:
    """How files of one format are known and read.

    Attributes
    ----------
    name : str
        Of the format, for messages.
    suffixes : tuple of str
        In lower case, with the dot: by them files are found in folders.
    matches : callable
        From a file's first bytes (512, or all if it has fewer) and its name in lower case, whether
        it has this format.
    read : callable
        From the path of such a file, the image. It may raise anything; `read_image` names the file.
    lossy : bool
        Whether the format changes values: in a mask its low levels are traces of compression.
    read_frame : callable, optional
        The same, with the number of a frame (from 0) or None, where files may hold several images
        of which one is chosen; None where they do not.

    Examples
    --------
    >>> from synthmed.io.readers import READERS
    >>> [reader.name for reader in READERS if reader.lossy]
    ['JPEG']
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes, str], bool]
    read: Callable[[Path], Image]
    lossy: bool = False
    read_frame: Callable[[Path, int | None], Image] | None = None
