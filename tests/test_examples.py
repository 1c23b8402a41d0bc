"""The examples run as a reader would run them."""

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import synthmed.digests
import synthmed.generate
import synthmed.io
import synthmed.kernels
import synthmed.testing

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


@pytest.mark.parametrize(
    "module",
    [
        synthmed,
        synthmed.digests,
        synthmed.io,
        synthmed.generate,
        synthmed.kernels,
        synthmed.testing,
        synthmed.testing.invariants,
        synthmed.testing.strategies,
    ],
    ids=lambda module: module.__name__,
)
def test_every_public_name_has_examples(module):
    """They run where the doctests do; here it is seen that there are any."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    public = {name: getattr(module, name) for name in names}
    assert public
    without = [
        name
        for name, value in public.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and ">>> " not in (value.__doc__ or "")
    ]
    assert not without
