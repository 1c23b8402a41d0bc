"""Settings of every test, and the one way to real images.

Runs are reproducible, and what Numba compiles on first use breaks no deadline.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

collect_ignore_glob = ["*conftest.py"]  # --doctest-modules would import two of one name

settings.register_profile("synthmed", derandomize=True, deadline=None, database=None)
settings.load_profile("synthmed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data",
        default=os.environ.get("SYNTHMED_DATA"),
        metavar="FOLDER",
        help="folder with real data sets (busi, chestxray) in a layout that `synthmed-clip "
        "evaluate` reads; without it, tests on real images are skipped "
        "(default: the environment variable SYNTHMED_DATA)",
    )


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder given as `--data`; a wrong one is an error, not a skip."""
    given = request.config.getoption("--data")
    if given is None:
        pytest.skip("needs real images: pytest --data FOLDER, or SYNTHMED_DATA=FOLDER")
    folder = Path(given)
    if not folder.is_dir():
        raise FileNotFoundError(f"--data: expected a folder of data sets, got {given}")
    return folder
