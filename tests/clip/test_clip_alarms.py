"""What speaks against figures is told on the terminal, in the JSON and on the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed_clip import Joined, MediCLIP, NearestPatch, Subspace, ZeroShot, fit
from synthmed_clip.cli.main import main
from synthmed_clip.data import read_dataset
from synthmed_clip.data.levels import levels_of, shift_between
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation import evaluate
from synthmed_clip.report.alarms import find_alarms


@pytest.fixture(scope="module")
def detector(backbone, normals) -> Detector:
    return fit(normals[:3], NearestPatch(), backbone=backbone)


def data(root: Path, normal: list[np.ndarray], abnormal: list[np.ndarray]) -> Path:
    for kind, images in (("normal", normal), ("abnormal", abnormal)):
        (root / kind).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(root / kind / f"{i}.png")
    return root


def titles(detector: Detector, root: Path) -> list[str]:
    dataset = read_dataset(root)
    found = evaluate(detector, dataset.test, resamples=200)
    return [alarm.title for alarm in find_alarms(detector, dataset, found)]


def test_a_fair_evaluation_raises_no_alarm(detector, normals, tmp_path):
    assert not titles(detector, data(tmp_path, normals[3:], [255 - n for n in normals[3:]]))


def test_reversed_scores_are_told(detector, normals, tmp_path):
    swapped = data(tmp_path, [255 - n for n in normals[3:]], normals[:3])
    assert "The scores are reversed" in titles(detector, swapped)


def test_support_images_and_copies_among_the_test_images_are_told(detector, normals, tmp_path):
    found = titles(detector, data(tmp_path, normals[2:], [255 - normals[3], 255 - normals[3]]))
    assert found == [
        "Training and test images were not kept apart",
        "Some test images are the same picture",
    ]


def test_other_intensities_than_the_support_s_are_told(detector, normals, tmp_path):
    shift = "Test images have other intensities than the support images"
    dark = [(n // 8).astype(np.uint8) for n in normals]
    assert shift in titles(detector, data(tmp_path / "dark", dark[3:], dark[:3]))
    anomalous = [np.full_like(n, 255) for n in normals[3:]]  # it is normal images that count
    assert shift not in titles(detector, data(tmp_path / "bright", normals[3:], anomalous))
    path = tmp_path / "d.safetensors"
    detector.save(path)
    loaded = Detector.load(path, backbone=detector.backbone)
    assert loaded.provenance == detector.provenance and len(loaded.provenance.levels) == 3


def test_how_far_levels_lie_is_known_exactly():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 200, (9, 9), dtype=np.uint8)
    support = [levels_of(base), levels_of(base + np.uint8(12))]
    assert shift_between(support, [levels_of(base + np.uint8(40))]) == (28, 24)
    assert shift_between(support[:1], [levels_of(base)]) == (0, 16)


def test_a_random_text_tower_counts_where_texts_are_read(backbone, normals, tmp_path):
    root = data(tmp_path, normals[3:], [255 - n for n in normals[3:]])
    assert backbone.weights is None
    for method, told in (
        (ZeroShot(), True),
        (MediCLIP(epochs=1), True),
        (Joined((Subspace(), ZeroShot())), True),
        (Joined((Subspace(), NearestPatch())), False),
        (Subspace(), False),
    ):
        own = fit(normals[:3], method, backbone=backbone, progress=False)
        assert ("The text tower is random" in titles(own, root)) == told, method
        own = replace(own, backbone=replace(backbone, weights="openai"))
        assert "The text tower is random" not in titles(own, root)


def test_the_command_line_tells_of_them_everywhere(detector, normals, tmp_path, capsys):
    root = data(tmp_path / "data", normals[2:], [255 - n for n in normals[3:]])
    model, out, page = tmp_path / "d.safetensors", tmp_path / "f.json", tmp_path / "p.html"
    detector.save(model)
    words = f"evaluate {model} {root} -o {out} --report {page} --precision float32"
    assert main([*words.split(), "--batch-size", "3"]) == 0
    assert "were not kept apart" in capsys.readouterr().err
    figures, html = out.read_text(), page.read_text(encoding="utf-8")
    (alarm,) = json.loads(figures)["alarms"]
    assert alarm["names"] == ["normal/0.png"] and alarm["grave"]
    embedded = re.search(r'id="report">\s*(\{.*?\})\s*</script>', html, re.DOTALL)
    assert json.loads(embedded[1])["warnings"] == [alarm]
    assert json.loads(figures)["settings"] == {"batch_size": 3, "precision": "float32"}
    assert json.loads(figures)["detector"]["method"]["type"] == "NearestPatch"
    for text in (figures, html):  # local paths stay here
        assert str(tmp_path) not in text
