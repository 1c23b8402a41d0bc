"""The one way in which this library compiles a loop.

Compiled code is kept on disk beside the source, or in the user's cache folder where that is not
writable, so each loop is compiled once per machine and then only loaded. The first use of a loop on
a machine pays for its compilation alone; nothing is compiled at import. There is one path: no
slower stand-in runs while a loop is being compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on first use, strict IEEE arithmetic, single thread, the GIL released."""
    try:
        return njit(cache=True, nogil=True)(function)
    except (
        RuntimeError
    ):  # numba found no folder to keep a cache in (a read-only system): compile in each process
        return njit(nogil=True)(function)
