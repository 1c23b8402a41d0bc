"""Detectors as `fit` gave them before the method had a door: the same rng gives the same still.

Where they were made the new ones are equal to the bit; elsewhere, torch sums in another order.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402
from safetensors import safe_open  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "paper": {"epochs": 3},
    "release": {"variant": "release", "epochs": 3},
    "averaged": {"average": 0.5, "epochs": 3, "batch_size": 4, "layers": (2, 4)},
    "hard": {"tokens": 0, "epochs": 2},
    "pooled": {"adapters": False, "epochs": 2, "temperature": 1.0},
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_rng_gives_the_same_detector_as_ever(name, backbone, normals):
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        data = json.loads(file.metadata()["golden"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    detector = fit_mediclip(normals, backbone, rng=7, **CASES[name])
    model, history = detector.fitted.model, detector.fitted.history
    assert history.entropy == tuple(data["entropy"])
    for key, found in model.head.state_dict().items():
        torch.testing.assert_close(found, tensors[f"head.{key}"], atol=1e-4, rtol=1e-3, msg=key)
    torch.testing.assert_close(model.classes, tensors["classes"], atol=1e-4, rtol=1e-3)
    losses = [[epoch.loss, epoch.focal, epoch.dice] for epoch in history.log]
    assert losses == [pytest.approx(epoch, abs=1e-4) for epoch in data["log"]]
    assert detector.threshold == pytest.approx(data["threshold"], abs=1e-3)
    scores = [prediction.score for prediction in detector.predict(normals)]
    assert scores == pytest.approx(tensors["scores"].tolist(), abs=1e-3)
    found = torch.from_numpy(detector.predict(normals[0]).anomaly_map)
    torch.testing.assert_close(found, tensors["map"], atol=1e-3, rtol=1e-3)
