"""Every public function shows its use by an example, which `--doctest-modules` runs."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType, SimpleNamespace

import pytest

CORE = ["synthmed", *(f"synthmed.{m}" for m in ("digests", "generate", "io", "kernels", "testing"))]
ROOMS = [f"synthmed_clip.{room}" for room in ("data", "evaluation", "methods")]
ROOMS_WITH_TORCH = [
    "synthmed_clip",
    *(f"synthmed_clip.{room}" for room in ("backbone", "protocol", "report", "training")),
]


def is_function(value: object) -> bool:
    """Whether it is a function, compiled or cached ones included."""
    return inspect.isroutine(inspect.unwrap(value)) if callable(value) else False


def without_example(module: ModuleType | SimpleNamespace) -> list[str]:
    """The public functions of a module that have no example."""
    public = {name: getattr(module, name) for name in module.__all__}
    functions = {name: value for name, value in public.items() if is_function(value)}
    return [name for name, value in functions.items() if ">>>" not in (inspect.getdoc(value) or "")]


@pytest.mark.parametrize("name", [*CORE, *ROOMS, *ROOMS_WITH_TORCH])
def test_every_public_function_has_an_example(name):
    if name in ROOMS_WITH_TORCH:
        for package in ("torch", "open_clip"):
            pytest.importorskip(package, reason="the detector needs the extra `clip`")
    module = importlib.import_module(name)
    assert module.__all__, f"{name} states no public names"
    missing = without_example(module)
    assert not missing, f"{name}: no example in the docstring of {', '.join(missing)}"


def test_a_function_without_an_example_is_named():
    def shown():
        """Return nothing.

        >>> shown()
        """

    def described():
        """Return nothing."""

    def bare():
        pass

    public = {"shown": shown, "described": described, "bare": bare, "constant": 1, "kind": int}
    module = SimpleNamespace(__all__=list(public), **public)
    assert without_example(module) == ["described", "bare"]
