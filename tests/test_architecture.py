"""The order of the rooms (CONTRIBUTING.md): who imports whom, and what an import loads."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

import synthmed

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = [contract["id"] for contract in PYPROJECT["tool"]["importlinter"]["contracts"]]
HEAVY = {"torch", "torchvision", "open_clip", "timm", "transformers", "matplotlib"}
UNUSED_BY_START = HEAVY | {"cv2", "numba", "hypothesis", "skimage"}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_import_contract(contract):
    finished = subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from importlinter.cli import lint_imports_command as run; run()",
            ),
            *("--no-cache", "--no-logo", "--contract", contract),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_no_file_imports_in_a_circle():
    """`generator` and `compose` alone know each other. The contract `no-circles` compares files of
    one folder; this also sees a folder's `__init__`.
    """
    graph = grimp.build_graph("synthmed", "synthmed_clip", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    imports["synthmed.generator"].remove("synthmed.compose")
    graphlib.TopologicalSorter(imports).prepare()  # names the circle


def is_public(module: str, name: str | None = None) -> bool:
    """Whether a module states its public names, and this is one of them or a module that does."""
    public = getattr(importlib.import_module(module), "__all__", None)
    if public is None or name is None or name in public:
        return public is not None
    try:
        return is_public(f"{module}.{name}")
    except ModuleNotFoundError:
        return False


def names_of_synthmed(file: Path) -> list[tuple[int, str, str | None]]:
    """Line, module and name of what a file takes from synthmed; attributes of it included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: list[tuple[int, str, str | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [(node.lineno, n, None) for n in names if n.split(".")[0] == "synthmed"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "synthmed":
            found += [(node.lineno, str(node.module), alias.name) for alias in node.names]
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "synthmed"
        ):
            found.append((node.lineno, "synthmed", node.attr))
    return found


def test_synthmed_clip_uses_public_names_of_synthmed_alone():
    files = sorted((ROOT / "synthmed_clip").rglob("*.py"))
    used = [(file, *use) for file in files for use in names_of_synthmed(file)]
    assert used, "the detector uses synthmed"
    private = [
        f"{file.relative_to(ROOT)}:{line}: {module}{f': {name}' if name else ''}"
        for file, line, module, name in used
        if not is_public(module, name)
    ]
    assert not private, "not in the `__all__` of a module of synthmed:\n" + "\n".join(private)


def test_public_names_exist():
    """A lazily exported name is not looked up by the import; here it is."""
    for package in pkgutil.walk_packages(synthmed.__path__, "synthmed."):
        room, _, library = package.name.rpartition(".")
        if package.name == "synthmed.__main__":
            continue
        if room == "synthmed.integrations" and find_spec(library) is None:
            continue
        module = importlib.import_module(package.name)
        missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
        assert not missing, f"{package.name}.__all__ lists {missing}"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after a process of its own has run the code."""
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n', *sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert finished.returncode == 0, finished.stderr
    return {name.split(".")[0] for name in finished.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("module", ["synthmed", "synthmed.io", "synthmed.cli"])
def test_synthmed_starts_without_what_it_may_not_need(module):
    assert loaded_by(f"import {module}") & UNUSED_BY_START == set()


ROOMS = ["backbone", "data", "evaluation", "methods", "protocol", "report", "cli"]


@pytest.mark.parametrize("module", ["synthmed_clip", *(f"synthmed_clip.{room}" for room in ROOMS)])
def test_synthmed_clip_starts_without_torch(module):
    assert loaded_by(f"import {module}") & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([c, "--help"] for c in ("fit", "predict", "evaluate", "prepare", "protocol"))],
    ids=" ".join,
)
def test_help_needs_no_torch(arguments):
    module, function = PYPROJECT["project"]["scripts"]["synthmed-clip"].split(":")
    code = f"""
from {module} import {function}
try:
    status = {function}({arguments})
except SystemExit as end:
    status = end.code
assert not status, status"""
    assert loaded_by(code) & HEAVY == set()
