"""Errors of memory, explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explained_memory(batch_size: int) -> Iterator[None]:
    """Turn an out-of-memory error of any device into one that says what to do.

    Parameters
    ----------
    batch_size : int
        Of what is computed within.

    Raises
    ------
    MemoryError
        That names a smaller batch size, or says what else to try.

    Examples
    --------
    >>> with explained_memory(16):
    ...     raise MemoryError
    Traceback (most recent call last):
    MemoryError: out of memory with batch_size=16; try batch_size=8
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if (
            not isinstance(error, MemoryError)
            and "out of memory" not in text
            and "can't allocate" not in text
        ):
            raise
        smaller = (
            f"batch_size={batch_size // 2}"
            if batch_size > 1
            else "a smaller image_size or another device"
        )
        raise MemoryError(f"out of memory with batch_size={batch_size}; try {smaller}") from error
