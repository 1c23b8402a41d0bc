"""The recipes of CONTRIBUTING.md, as they stand there: each is written to a module, and used."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import synthmed
import synthmed_clip
from synthmed.testing import check_anomaly

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
IMAGE = np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)


@pytest.fixture
def recipe(request, tmp_path, monkeypatch):
    """The module that a recipe's code makes; what it makes known is forgotten after the test."""
    title = request.node.get_closest_marker("recipe").args[0]
    (code,) = re.findall(rf"^## {title}$.*?^```python\n(.*?)^```$", PAGE, re.M | re.S)
    name = title.lower().replace(" ", "_")
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(synthmed.Generator, "_known", dict(synthmed.Generator._known))
    monkeypatch.setattr(synthmed_clip.Method, "known", dict(synthmed_clip.Method.known))
    yield importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)


@pytest.mark.recipe("Add a mask")
def test_add_a_mask(recipe):
    ring = recipe.RingMask(width=0.3)
    check_anomaly(ring, examples=20)
    mask = ring(IMAGE, rng=7).mask
    rows, columns = np.nonzero(mask)
    middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    assert mask.any() and not mask[middle]
    sample = synthmed.CutPaste(ring)(IMAGE, rng=7)
    again = synthmed.replay(json.loads(json.dumps(sample.record)), IMAGE)
    assert np.array_equal(again.image, sample.image)
    assert ring(np.zeros((20, 30, 40)), rng=1).mask.ndim == 3
    with pytest.raises(ValueError, match="width"):
        recipe.RingMask(width=2)


@pytest.mark.recipe("Add an anomaly")
def test_add_an_anomaly(recipe):
    check_anomaly(recipe.Haze(), examples=20)
    sample = (recipe.Haze(strength=(0.9, 0.9)) + synthmed.Source())(IMAGE, rng=7)
    assert sample.record["anomalies"] == ["Haze", "Source"]
    image, mask = recipe.Haze(strength=(0.9, 0.9))(IMAGE, rng=7)
    assert image[mask].std() < 0.2 * IMAGE[mask].std()


@pytest.mark.skipif(
    importlib.util.find_spec("open_clip") is None, reason="the detector needs the extra `clip`"
)
@pytest.mark.recipe("Add a method")
def test_add_a_method(recipe, tmp_path):
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 8,
            "heads": 1,
            "layers": 1,
        },
    }
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    backbone = synthmed_clip.load_backbone(tmp_path / "tiny.json", None, device="cpu")
    method = recipe.MeanBrightness(gain=2.0)
    normals = [np.clip(IMAGE, 0, top) for top in (200, 210, 220)]
    detector = synthmed_clip.fit(normals, method, backbone=backbone, rng=0)
    assert detector.method == method

    detector.save(tmp_path / "mean.safetensors")
    loaded = synthmed_clip.Detector.load(tmp_path / "mean.safetensors", backbone=backbone)
    assert loaded.method == method
    white = np.full((40, 50), 255, np.uint8)
    grey = np.full((40, 50), int(np.mean(normals)), np.uint8)
    predictions = loaded.predict([white, grey])
    assert predictions[0].score > predictions[1].score
    assert predictions[0].score == detector.predict(white).score
    assert predictions[0].anomaly_map.shape == (40, 50)
    assert np.allclose(predictions[0].anomaly_map, 2 * (255 - loaded.fitted.mean.item()))


@pytest.mark.recipe("Add a file format")
def test_add_a_file_format(recipe, tmp_path):
    from synthmed.io import Unreadable, add_reader, find_inputs, read_image
    from synthmed.io.readers import READERS

    scans = tmp_path / "scans"
    scans.mkdir()
    volume = np.random.default_rng(0).random((8, 20, 30))
    np.save(scans / "volume.npy", volume)
    (scans / "empty.npy").touch()
    (scans / "short.npy").write_bytes((scans / "volume.npy").read_bytes()[:200])
    add_reader(recipe.NPY)
    try:
        found = find_inputs([str(scans)])
        assert [item.name for item in found] == ["empty.npy", "short.npy", "volume.npy"]
        assert np.array_equal(read_image(scans / "volume.npy").array, volume)
        for name in ("empty.npy", "short.npy"):
            with pytest.raises(Unreadable, match=name):
                read_image(scans / name)
    finally:
        READERS.remove(recipe.NPY)
    with pytest.raises(Unreadable):
        read_image(scans / "volume.npy")
