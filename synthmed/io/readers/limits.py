"""What is refused before memory is asked for."""

from __future__ import annotations

import os

from synthmed.io.image import Unreadable

# Deflate packs 1032 bytes into one at best; black masks come close to it.
_DENSEST = 1100
_SMALL = 2**28  # bytes: below, an honest image in a denser compression (Zstandard) is read, too


def require_room(shape: tuple[int, ...], decoded: int, stored: int) -> None:
    """Check that an image can be decoded, from what its header declares.

    Parameters
    ----------
    shape : tuple of int
        For the message.
    decoded : int
        Bytes that the image has when it is decoded.
    stored : int
        Bytes of the file.

    Raises
    ------
    Unreadable
        If it has no pixels, if no compression puts that many bytes into such a file, or if this
        machine has too little memory.
    """
    if 0 in shape:
        raise Unreadable(f"has no pixels: its shape is {shape}")
    size = " x ".join(map(str, shape))
    if decoded > max(_SMALL, _DENSEST * stored):
        raise Unreadable(
            f"declares {size} samples, {_in_words(decoded)} of data, in a file of "
            f"{_in_words(stored)}: the header is damaged, or made to exhaust memory"
        )
    memory = _memory()
    if memory is not None and 2 * decoded > memory:  # the image, and what its decoder needs
        raise Unreadable(
            f"is too large for this computer: {size} samples need {_in_words(2 * decoded)} of "
            f"memory, and there are {_in_words(memory)}; export a region of the slide, or a lower "
            f"magnification"
        )


def _in_words(size: int) -> str:
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 2**bits:
            return f"{size / 2**bits:,.1f} {unit}"
    return f"{size} bytes"


def _memory() -> int | None:
    """Bytes of this computer's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
