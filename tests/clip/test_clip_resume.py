"""Predictions are on disk as they come: after any end the same command goes on from them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed_clip import NearestPatch, fit, load_backbone
from synthmed_clip.cli import journal
from synthmed_clip.cli.main import main

JOURNAL = "scores.part.jsonl"


@pytest.fixture(scope="module")
def model(configs, normals, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    backbone = load_backbone(configs["vit"], None, device="cpu", precision="float32")
    fit(normals, NearestPatch(), backbone=backbone).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """70 images: two whole chunks and a part of one, with two that cannot be read."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for i in range(70):
        Image.fromarray(rng.integers(0, 256, (24, 28), np.uint8)).save(root / f"{i:02}.png")
    for name in ("05.png", "66.png"):
        (root / name).write_bytes(b"no image")
    return root


def command(model: Path, images: Path, out: Path, *more: str) -> list[str]:
    words = ["predict", str(model), str(images), "-o", str(out), "--no-progress"]
    return [*words, "--precision", "float32", "--batch-size", "8", *more]


def tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(model, images, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    assert main(command(model, images, out)) == 1
    assert len(tree(out)) == 2 + 2 * 68  # tables and maps; no journal
    return tree(out)


@pytest.mark.parametrize("written", [1, 6, 33, 65, 70])
def test_an_interrupted_run_goes_on_and_ends_alike(
    written, model, images, whole, tmp_path, monkeypatch, capsys
):
    add, left = journal.Journal._add, iter(range(written))

    def interrupted(self, *found):
        if next(left, None) is None:
            self.file.write(b'{"image": "half a li')  # as a kill leaves it
            raise KeyboardInterrupt
        add(self, *found)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "_add", interrupted)
        assert main(command(model, images, tmp_path)) == (130 if written < 70 else 1)
    if written < 70:
        assert "the same command goes on where it stopped" in capsys.readouterr().err
        lines = (tmp_path / JOURNAL).read_bytes().split(b"\n")
        assert len(lines) == written + 2 and json.loads(lines[-2])["image"]
        assert not (tmp_path / "scores.csv").exists()
    assert main(command(model, images, tmp_path)) == 1
    if written < 70:
        assert f"goes on after {written} of 70 images" in capsys.readouterr().out
    assert tree(tmp_path) == whole


def test_a_killed_run_goes_on_and_ends_alike(model, images, whole, tmp_path):
    arguments = [sys.executable, "-m", "synthmed_clip.cli.main", *command(model, images, tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            part = tmp_path / JOURNAL
            if part.is_file() and part.read_bytes().count(b"\n") > 20:
                run.send_signal(signal.SIGKILL)
    assert main(command(model, images, tmp_path)) == 1
    assert tree(tmp_path) == whole


def test_what_is_done_counts_for_the_same_settings_and_files(
    model, images, tmp_path, capsys, monkeypatch
):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "_add", full)
        assert main(command(model, images, tmp_path)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert main(command(model, images, tmp_path, "--threshold", "3")) == 1
    assert "unfinished run with other settings (threshold): give those" in capsys.readouterr().err
    assert main(command(model, images, tmp_path, "--threshold", "3", "--force")) == 1
    assert not (tmp_path / JOURNAL).exists()
    (tmp_path / JOURNAL).write_text("patient,age\n")
    assert main(command(model, images, tmp_path)) == 1
    assert "did not write it" in capsys.readouterr().err


def test_a_changed_file_is_scored_again(tmp_path):
    scan = tmp_path / "a.png"
    scan.write_bytes(b"1")
    path = tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt), journal.keep_journal(path, {}, {"a": scan}) as kept:
        kept.add("a", scan, {"score": 1.0})
        raise KeyboardInterrupt
    scan.write_bytes(b"12")
    with journal.keep_journal(path, {}, {"a": scan}) as kept:
        assert not kept.rows


def test_any_name_of_a_file_is_taken(model, images, tmp_path, capfd):
    root, out = tmp_path / "odd", tmp_path / "out"
    root.mkdir()
    names = [b"\xff\xfe.png", b'a\nb,"c".png', "é".encode() * 125 + b".png", b"x" * 251 + b".png"]
    for name in names:
        (root / os.fsdecode(name)).write_bytes((images / "00.png").read_bytes())
    (root / os.fsdecode(b"\xfe.png")).write_bytes(b"no image")
    assert main(command(model, root, out, "--maps", "overlay", "float")) == 1
    assert "4 images" in capfd.readouterr().out
    assert b"\xff\xfe.png," in (out / "scores.csv").read_bytes()
    report = json.loads((out / "scores.json").read_text())
    assert {os.fsencode(row["image"]) for row in report["images"]} == set(names)
    assert [os.fsencode(row["image"]) for row in report["left_out"]] == [b"\xfe.png"]
    assert str(root) not in json.dumps(report) and str(model) not in json.dumps(report)
    assert len(list((out / "overlays").iterdir())) == len(list((out / "maps").iterdir())) == 4
    assert main(command(model, root, out, "--maps", "overlay", "float")) == 1  # its own maps
