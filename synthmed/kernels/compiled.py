"""The one way in which this library compiles a loop.

Compiled code is kept on disk beside the source, or in the user's cache folder where that is not
writable, so each loop is compiled once per machine and then only loaded. The first use of a loop on
a machine pays for its compilation alone; nothing is compiled at import. There is one path: no
slower stand-in runs while a loop is being compiled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on first use, strict IEEE arithmetic, single thread, the GIL released."""
    try:
        loop = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Numba found no folder to keep a cache in (a read-only system): compile in each process.
        return njit(nogil=True)(function)
    if hasattr(loop, "_cache"):  # not where the compiler is switched off
        _take_damage_for_a_miss(loop._cache)
    return loop


def _take_damage_for_a_miss(cache: Any) -> None:
    """A file of the cache that was cut off or overwritten is compiled and written anew: Numba lets
    the error of its decoder through, whatever that is.
    """
    load, save = cache.load_overload, cache.save_overload

    def load_or_miss(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_if_possible(*arguments: Any) -> None:
        with contextlib.suppress(Exception):  # the code runs all the same
            save(*arguments)

    cache.load_overload, cache.save_overload = load_or_miss, save_if_possible
