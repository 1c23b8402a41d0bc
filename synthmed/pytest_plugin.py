"""The pytest plugin: the fixture `synthmed_check`.

pytest loads this module in every run where synthmed is installed, so it stands outside
`synthmed.testing`, which needs Hypothesis: that is loaded by the first test that asks for the
fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def synthmed_check(tmp_path: Path) -> Callable[..., Any]:
    """Check a generator, or an augmentation ``f(image, rng)``, in one line; options as of the
    check.

    Where it fails, the smallest call found is saved as a picture and as a script that repeats it;
    the message says where.

    >>> def test_my_anomaly(synthmed_check):
    ...     synthmed_check(MyAnomaly())
    """
    from synthmed.testing.plugin import checker

    return checker(tmp_path)
