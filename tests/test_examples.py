"""The examples run as a reader would run them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    "name", ["lesion_dataset", "custom_recipe", "custom_anomaly", "volume", "torch_dataset"]
)
def test_example(name, tmp_path):
    if name == "torch_dataset" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (extra `clip`)")
    finished = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout
