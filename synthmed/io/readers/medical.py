"""The extra `medical`, where it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needing_medical() -> Iterator[None]:
    """Say which extra an import needs; what it does not import raises ImportError."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'needs {error.name}: pip install "synthmed[medical]"') from None
