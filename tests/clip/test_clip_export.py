"""Detectors as ONNX files, in onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")
pytest.importorskip("onnx", reason="the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx`")

import synthmed_clip  # noqa: E402
from synthmed_clip import (  # noqa: E402
    CrossedHeads,
    Detector,
    Fitted,
    GlobalNeighbour,
    Joined,
    MediCLIP,
    Method,
    NearestPatch,
    PatchCore,
    Scores,
    Subspace,
    ZeroShot,
    load_backbone,
)
from synthmed_clip.cli.main import main  # noqa: E402

STRICT = {"device": "cpu", "precision": "float32"}
METHODS = {
    "mediclip": MediCLIP(epochs=2),
    "evidence": MediCLIP(epochs=2, score="evidence", variant="release"),
    "nearest": NearestPatch(layers=(2, 3), pool=0.1),
    "nearest-pixels": NearestPatch(variant="superadd"),
    "patchcore": PatchCore(ratio=0.5),
    "global": GlobalNeighbour(),
    "colour": NearestPatch(channels="colour"),
    "subspace": Subspace(layers=(2, 3)),
    "zero": ZeroShot(),
    "heads": CrossedHeads(images=8, tokens=2),
    "joined": Joined((MediCLIP(epochs=2), NearestPatch(), Subspace()), pool=(0.01,)),
}


def fitted_on(normals, method, backbone):
    options = {"rng": 0, "progress": False} | ({"workers": 0} if method.takes("workers") else {})
    return synthmed_clip.fit(normals, method, backbone=backbone, **options)


def pixels_for(detector, count):
    channels = 1 if detector.method.scored_channels == "grey" else 3
    size = detector.backbone.image_size
    return np.random.default_rng(5).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def require_equal(detector, path, pixel_type="float32"):
    """In a session of its own, on batches of three sizes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 20):
        pixels = pixels_for(detector, count)
        expected = detector.fitted.score(torch.from_numpy(pixels).float())
        found = session.run(None, {"pixels": pixels.astype(pixel_type)})
        pairs = zip((expected.scores, expected.maps), found, strict=len(found) == 2)
        for ours, theirs in pairs:
            scale = max(1, ours.abs().max().item())
            assert theirs.dtype == np.float32 and theirs.shape == tuple(ours.shape)
            assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * scale
    return session


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_the_same_in_onnxruntime(name, backbone, normals, tmp_path):
    detector = fitted_on(normals, METHODS[name], backbone)
    detector.export(tmp_path / "new" / "d.onnx")
    session = require_equal(detector, tmp_path / "new" / "d.onnx")
    notes = json.loads(session.get_modelmeta().custom_metadata_map["synthmed_clip"])
    assert Method.from_dict(notes["method"]) == detector.method
    assert notes["threshold"] == detector.threshold
    assert notes["backbone"]["digest"] == backbone.digest
    assert tuple(notes["normal_scores"]) == detector.normal_scores
    detector.save(tmp_path / "d.safetensors")
    loaded = Detector.load(tmp_path / "d.safetensors", backbone=backbone)
    loaded.export(tmp_path / "again.onnx", pixel_type="uint8")
    require_equal(loaded, tmp_path / "again.onnx", "uint8")


@pytest.mark.parametrize("name", ["custom", "resnet", "timm-vit", "timm-conv"])
def test_towers_of_open_clips(name, configs, normals, tmp_path):
    backbone = load_backbone(configs[name], None, **STRICT)
    detector = fitted_on(normals, Joined((MediCLIP(epochs=1), NearestPatch())), backbone)
    detector.export(tmp_path / "d.onnx")
    require_equal(detector, tmp_path / "d.onnx")


@pytest.mark.filterwarnings("ignore:.*near chance")  # of random weights
def test_the_join_with_crossed_heads_on_a_tower_without_text(normals, tmp_path):
    backbone = load_backbone("timm/test_vit", None, image_size=64, **STRICT)
    method = Joined((CrossedHeads(images=16), NearestPatch()))
    detector = fitted_on(normals, method, backbone)
    detector.export(tmp_path / "d.onnx")
    require_equal(detector, tmp_path / "d.onnx")


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224", "test_convnext"])
def test_towers_of_timms(name, normals, tmp_path):
    size = 56 if "patch14" in name else 64
    backbone = load_backbone(f"timm/{name}", None, image_size=size, **STRICT)
    detector = fitted_on(normals, NearestPatch(), backbone)
    detector.export(tmp_path / "d.onnx")
    require_equal(detector, tmp_path / "d.onnx")


@pytest.mark.parametrize(
    "kind", ["dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "dinov3_convnext", "resnet"]
)
def test_towers_of_transformers(kind, normals, tmp_path):
    from test_clip_towers import hf_folder

    hf_folder(tmp_path / "model", kind)
    backbone = load_backbone(tmp_path / "model", image_size=64, **STRICT)
    for method in (NearestPatch(), PatchCore(), MediCLIP(epochs=1), GlobalNeighbour()):
        detector = fitted_on(normals, method, backbone)
        detector.export(tmp_path / "d.onnx")
        require_equal(detector, tmp_path / "d.onnx")


def test_a_method_without_maps_has_a_score_alone(configs, normals, tmp_path):
    backbone = load_backbone(configs["resnet"], None, **STRICT)
    detector = fitted_on([], ZeroShot(), backbone)
    detector.export(tmp_path / "d.onnx")
    session = require_equal(detector, tmp_path / "d.onnx")
    assert [output.name for output in session.get_outputs()] == ["score"]


def test_what_cannot_be_exported_is_refused_by_name(
    configs, backbone, normals, tmp_path, monkeypatch
):
    monkeypatch.setattr(Method, "known", dict(Method.known))  # the class is forgotten afterwards

    @dataclass(frozen=True)
    class Branches(Method):
        """What is done depends on the image: a trace takes one way alone."""

        def fit(self, support, backbone, rng=None):
            """Nothing to fit."""
            return FittedBranches()

        @classmethod
        def restore(cls, state, backbone):
            """Nothing to restore."""
            return FittedBranches()

    class FittedBranches(Fitted):
        def score(self, pixels):
            """Of the first image's mean."""
            means = pixels.mean((1, 2, 3))
            return Scores(means if means[0] < 9 else -means, pixels[:, 0])

        def state(self):
            """None."""
            return {}

    path = tmp_path / "d.onnx"
    detector = synthmed_clip.fit(normals, Branches(), backbone=backbone)
    with pytest.raises(ValueError, match=r"the graph's scores of 1 images differ by .* traced"):
        detector.export(path)
    half = load_backbone(configs["vit"], None, device="cpu", precision="bfloat16")
    with pytest.raises(ValueError, match="a backbone in float32, not bfloat16: load the detector"):
        fitted_on(normals, NearestPatch(), half).export(path)
    with pytest.raises(ValueError, match="pixel_type must be 'float32' or 'uint8', not 'int8'"):
        fitted_on(normals, NearestPatch(), backbone).export(path, pixel_type="int8")
    from synthmed_clip import export

    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else True)
    with pytest.raises(ModuleNotFoundError, match=r"export needs onnx: pip install 'synthmed\[onn"):
        fitted_on(normals, NearestPatch(), backbone).export(path)
    assert not path.exists()


def test_the_command(configs, normals, tmp_path, capsys):
    backbone = load_backbone(configs["vit"], None, **STRICT)
    detector = fitted_on(normals, NearestPatch(), backbone)
    saved, written = tmp_path / "d.safetensors", tmp_path / "out.onnx"
    detector.save(saved)
    assert main(["export", str(saved), str(written), "--pixel-type", "uint8"]) == 0
    assert "out.onnx: " in capsys.readouterr().out
    require_equal(detector, written, "uint8")
    assert main(["export", str(saved), str(saved)]) == 1
    assert "is read here, too" in capsys.readouterr().err
