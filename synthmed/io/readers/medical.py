"""The extra `medical`, where it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from synthmed.io.image import MissingExtra


@contextlib.contextmanager
def needing_medical() -> Iterator[None]:
    """Say which extra an import needs; what it does not import raises MissingExtra."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f'needs {error.name}: pip install "synthmed[medical]"') from None
