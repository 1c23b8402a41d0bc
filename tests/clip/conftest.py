"""Small random towers and images; no weights and no network."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

# Towers this small gain nothing by threads, and processes beside one another lose much by them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CONFIGS = {
    "vit": {
        "embed_dim": 24,
        "quick_gelu": True,
        "text_cfg": TEXT,
        "vision_cfg": {
            "image_size": 32,
            "layers": 4,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
    },
    "custom": {
        "embed_dim": 20,
        "custom_text": True,
        "text_cfg": TEXT | {"ls_init_value": 0.5, "proj_bias": True},
        "vision_cfg": {
            "image_size": 32,
            "layers": 3,
            "width": 32,
            "head_width": 16,
            "patch_size": 16,
        },
    },
    "resnet": {
        "embed_dim": 24,
        "text_cfg": TEXT,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    },
    "timm-vit": {
        "embed_dim": 24,
        "text_cfg": TEXT,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_pool": "token",
            "timm_proj": "linear",
            "image_size": 48,
        },
    },
    "timm-conv": {
        "embed_dim": 24,
        "text_cfg": TEXT,
        "vision_cfg": {
            "timm_model_name": "test_resnet",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 64,
        },
    },
}


@pytest.fixture(scope="session")
def configs(tmp_path_factory) -> dict[str, Path]:
    """Paths of model configurations in open_clip's JSON form."""
    folder = tmp_path_factory.mktemp("configs")
    paths = {name: folder / f"{name}.json" for name in CONFIGS}
    for name, path in paths.items():
        path.write_text(json.dumps(CONFIGS[name]))
    return paths


@pytest.fixture(scope="session")
def backbone(configs):
    """The small vision transformer with random weights, strict float32."""
    from synthmed_clip import (
        load_backbone,
    )  # not above: without the extra `clip`, the tests beside are skipped

    return load_backbone(configs["vit"], None, device="cpu", precision="float32")


@pytest.fixture(scope="session")
def normals() -> list[np.ndarray]:
    """Six smooth grey images of 50 x 60, uint8."""
    rng = np.random.default_rng(0)
    smooth = [gaussian_filter(rng.random((50, 60)), 3) for _ in range(6)]
    return [((s - s.min()) / np.ptp(s) * 255).astype(np.uint8) for s in smooth]


@pytest.fixture(scope="session")
def folder(normals, tmp_path_factory) -> Path:
    """A data set in the plain layout: normal/, abnormal/ and masks/."""
    from PIL import Image

    root = tmp_path_factory.mktemp("plain")
    for name in ("normal", "abnormal", "masks"):
        (root / name).mkdir()
    for i, image in enumerate(normals):
        Image.fromarray(image).save(root / "normal" / f"n{i}.png")
        mask = np.zeros(image.shape, bool)
        mask[10 : 25 + i, 20:40] = True
        Image.fromarray(np.where(mask, 255 - image, image).astype(np.uint8)).save(
            root / "abnormal" / f"a{i}.png"
        )
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"a{i}.png")
    return root


@pytest.fixture(scope="session")
def nasty() -> str:
    """A file's name that wants to be markup: after the folder `<` it begins with `</script>`."""
    return "script><img src=x onerror='document.title=1'><!--data-->&amp;\u2028\"é.png"


@pytest.fixture(scope="session")
def scans(folder, normals, nasty, tmp_path_factory) -> Path:
    """A data set in MVTec's layout with two classes, one of which wants to be markup."""
    from PIL import Image

    root = tmp_path_factory.mktemp("data") / "scans"
    for name in ("train/good", "test/<", "ground_truth/<"):
        (root / name).mkdir(parents=True)
    for i, image in enumerate(normals[:3]):
        Image.fromarray(image[::-1]).save(root / "train" / "good" / f"t{i}.png")
    shutil.copytree(folder / "normal", root / "test" / "good")
    shutil.copytree(folder / "abnormal", root / "test" / "spot")
    shutil.copytree(folder / "masks", root / "ground_truth" / "spot")
    (root / "test" / "spot" / "a0.png").rename(root / "test" / "<" / nasty)
    return root


@pytest.fixture(scope="session", params=["bounded", "unbounded"])
def parts(request, scans, backbone):
    """Detector, data set, evaluation and scores; the threshold is in the midst of the scores.

    Once for each kind of scores: MediCLIP's, from 0 to 1, and those of a join.
    """
    import synthmed_clip
    from synthmed_clip import Joined, MediCLIP, NearestPatch
    from synthmed_clip.data.layouts import read_dataset
    from synthmed_clip.evaluation.evaluate import evaluate_scores

    dataset = read_dataset(scans)
    method = MediCLIP(layers=(2, 4), epochs=2)
    if request.param == "unbounded":
        method = Joined((method, NearestPatch()))
    fitted = synthmed_clip.fit(dataset.train, method, backbone=backbone, rng=0, progress=False)
    scores = fitted.score([item.image for item in dataset.test])
    detector = replace(fitted, threshold=float(np.median(scores.scores.numpy())))
    return detector, dataset, evaluate_scores(scores, dataset.test, detector.threshold), scores


@pytest.fixture(scope="session")
def page(parts, tmp_path_factory) -> Path:
    """The report of it."""
    from synthmed_clip.report.write import write_report

    path = tmp_path_factory.mktemp("report") / "new" / "page.html"
    write_report(path, *parts)
    return path


@pytest.fixture
def brightness(scans, backbone, monkeypatch):
    """A detector of a method of the user's own: unbounded scores, no maps."""
    import torch

    import synthmed_clip
    from synthmed_clip import Fitted, Method, Scores
    from synthmed_clip.data.layouts import read_dataset

    monkeypatch.setattr(Method, "known", dict(Method.known))  # the class is forgotten afterwards

    @dataclass(frozen=True)
    class Brightness(Method):
        """Mean grey level."""

        gain: float = 1.0

        def fit(self, support, backbone, rng=None):
            """Nothing to fit."""
            return FittedBrightness(self)

        @classmethod
        def restore(cls, state, backbone):
            """Of the method alone."""
            return FittedBrightness(cls.from_dict(state["method"]))

    @dataclass(frozen=True, eq=False)
    class FittedBrightness(Fitted):
        method: Brightness

        def score(self, pixels):
            """Without maps."""
            return Scores(self.method.gain * pixels.mean((1, 2, 3)), torch.empty(len(pixels), 0, 0))

        def state(self):
            """Of the method alone."""
            return {"method": self.method.to_dict()}

        def score_left_out(self, support):
            """Nothing was learnt from them."""
            return self.score(support)

    train = read_dataset(scans).train
    return synthmed_clip.fit(train, Brightness(gain=-2), backbone=backbone)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium without a window."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="no selenium: the page was not tried in a browser"
    )
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium or no chromedriver: the page was not tried in a browser")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"):
        options.add_argument(f"--{flag}")
    for flag in ("background-networking", "component-update", "sync", "dev-shm-usage"):
        options.add_argument(f"--disable-{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def screen(browser, page):
    """The report in it; at the end nothing was complained of."""
    from screens import Screen, errors

    yield Screen(browser, page)
    assert errors(browser) == []
