"""The Python of the detector's documentation runs as it stands, page by page, on a small tower."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from PIL import Image

from synthmed_clip import NearestPatch, fit

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^(<!-- needs weights -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def files(folder, normals, tmp_path, monkeypatch):
    """The files that the pages name, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("normals", "chest", "brain"):
        Path(name).mkdir()
        for i, image in enumerate(normals[:3]):
            Image.fromarray(image).save(Path(name) / f"{i}.png")
    for name, change in (("further-normals", 0), ("further-abnormal", 255)):
        Path(name).mkdir()
        for i, image in enumerate([im[::step, ::-1] for im in normals for step in (1, -1)]):
            Image.fromarray(image ^ np.uint8(change)).save(Path(name) / f"{i}.png")
    for name in ("visa", "chest-labelled"):
        shutil.copytree(folder, name)
    Image.fromarray(normals[3]).save("patient.png")


@pytest.mark.parametrize("page", ["detector", "protocol"])
def test_every_block_runs(page, backbone, files):
    """But for those that need weights; a page is one session, from top to bottom."""
    import synthmed_clip

    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    session = {"synthmed_clip": synthmed_clip, "backbone": backbone}
    ran = 0
    for found in BLOCK.finditer(text):
        needs_weights, code = found.groups()
        compiled = compile(
            code, f"{page}.md, line {text[: found.start()].count(chr(10)) + 1}", "exec"
        )
        if not needs_weights:
            exec(compiled, session)
            ran += 1
    assert text.count("```python") == len(BLOCK.findall(text)) and ran >= 2
    if page == "detector":
        assert session["detector"].method.epochs == 200  # MediCLIP as in the paper
        assert session["prediction"].anomaly_map.shape == (50, 60)
        assert {
            d.method.name for d in (session["nearest"], session["joined"], session["zero"])
        } == {
            "nearest-patch",
            "joined",
            "zero-shot",
        }
        calibrated = session["calibrated"]
        flagged = [p.is_anomalous for p in calibrated.predict("further-abnormal/")]
        assert np.mean(flagged) == pytest.approx(11 / 12)  # at least 0.9 of twelve
        assert len(calibrated.normal_scores) == 12
    else:
        assert session["detector"].fitted.history.start == session["start"].fitted.digest()
        same = fit("normals/", NearestPatch(), backbone=backbone)
        assert same.threshold == session["other"].threshold
        assert 0 <= session["compared"]["AUPRO"].p <= 1
