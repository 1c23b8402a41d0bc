"""Generators of users: two of one name are told apart; the command line imports their modules."""

import subprocess
import sys

import numpy as np
import pytest

import synthmed
from synthmed.io import Image, encode

SOURCE = """
from dataclasses import dataclass
from synthmed import Anomaly, EllipseMask, Generator

@dataclass(frozen=True, repr=False)
class Blot(Anomaly):
    mask: Generator = EllipseMask()
    def draw(self, rng, scene, region):
        return {}
    def change(self, parameters, scene, region):
        return SIGN, region.inside
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    for name, change in (
        ("dark_blots", "scene.patch(region.box) * 0.2"),
        ("negatives", "1 - scene.patch(region.box)"),
    ):
        (tmp_path / f"{name}.py").write_text(SOURCE.replace("SIGN", change))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(synthmed.Generator, "_known", dict(synthmed.Generator._known))
    return tmp_path


def test_two_classes_of_one_name_are_told_apart(modules):
    import dark_blots
    import negatives

    scan = np.random.default_rng(0).random((32, 32))
    for module in (dark_blots, negatives):
        sample = module.Blot()(scan, rng=1)
        assert sample.record["generator"]["type"] == f"{module.__name__}:Blot"
        assert np.array_equal(synthmed.replay(sample.record, scan).image, sample.image)
    with pytest.raises(ValueError, match="import gone first"):
        synthmed.from_dict({"type": "gone:Blot"})
    with pytest.raises(ValueError, match="of a script or a notebook"):
        synthmed.from_dict({"type": "__main__:Blot"})


def test_the_command_line_imports_modules(modules):
    (modules / "in").mkdir()
    scan = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    (modules / "in" / "a.png").write_bytes(encode(Image(scan), ".png"))
    (modules / "recipe.json").write_text('{"type": "dark_blots:Blot"}')

    def run(*words):
        command = [sys.executable, "-m", "synthmed", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=modules, timeout=60)

    make = [
        "generate",
        "in",
        "out",
        "--recipe",
        "recipe.json",
        "--size",
        "native",
        "--per-image",
        "20",
    ]
    assert "import dark_blots first" in run(*make).stderr
    made = run(*make, "--import", "dark_blots", "--workers", "2")
    assert made.returncode == 0, made.stderr
    assert "import dark_blots first" in run("replay", "out/manifest.jsonl", "--all").stderr
    again = run("replay", "out/manifest.jsonl", "--all", "--import", "dark_blots")
    assert again.returncode == 0 and "20 of 20 samples identical" in again.stdout
