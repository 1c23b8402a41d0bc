"""The door: every method as data, fitted, saved, loaded and used like any other."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from annotated_types import Ge  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

import synthmed  # noqa: E402
from synthmed_clip import (  # noqa: E402
    CrossedHeads,
    Detector,
    Fitted,
    Joined,
    MediCLIP,
    Method,
    NearestPatch,
    PatchCore,
    Scores,
    Subspace,
    ZeroShot,
    fit,
    load_backbone,
)
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data.images import collect, squares_of  # noqa: E402
from synthmed_clip.data.layouts import read_dataset  # noqa: E402
from synthmed_clip.data.values import Values  # noqa: E402
from synthmed_clip.evaluation import evaluate, p_value  # noqa: E402
from synthmed_clip.methods.values import convert  # noqa: E402


@dataclass(frozen=True)
class LevelShift(Method):
    """How far an image's mean is from the support's."""

    gain: float = 1.0

    def fit(self, support, backbone, rng):
        return FittedLevelShift(self, support.mean())

    @classmethod
    def restore(cls, state, backbone):
        return FittedLevelShift(cls.from_dict(state["method"]), state["mean"])


@dataclass
class FittedLevelShift(Fitted):
    method: LevelShift
    mean: torch.Tensor

    def score(self, pixels):
        maps = (pixels.mean(1) - self.mean).abs() * self.method.gain
        return Scores(maps.amax((1, 2)), maps)

    def state(self):
        return {"mean": self.mean, "method": self.method.to_dict()}


# Random weights know nothing.
pytestmark = pytest.mark.filterwarnings("ignore:on these images the detector is near chance")

SHORT = MediCLIP(epochs=1, tokens=2)
METHODS = [
    SHORT,
    MediCLIP(variant="release", epochs=1, tokens=0, adapters=False, recipe=synthmed.Source()),
    MediCLIP(epochs=1, tokens=2, score="evidence"),
    NearestPatch(),
    NearestPatch(layers=(1, 3), pool=0.2),
    Subspace(),
    Subspace(layers=(1, 4), variance=0.8, rotations=2, pool=1, sigma=1),
    ZeroShot(abnormal_words=("lesion",)),
    NearestPatch(depth=(0.4, 0.8)),
    CrossedHeads(images=8, tokens=2),
    CrossedHeads(layers=(4,), folds=3, images=1, recipe=synthmed.Source(), channels="colour"),
    Joined((CrossedHeads(images=8, tokens=2), NearestPatch())),
    Joined((SHORT, NearestPatch())),
    Joined((SHORT, NearestPatch()), weights=(0.5, 2), pool=(0.01,)),
    Joined((NearestPatch(layers=(2,)), ZeroShot(), LevelShift(gain=0.5))),
    LevelShift(gain=2),
    NearestPatch(channels="colour"),
    NearestPatch("anomaly-dino", rotations=3),
    NearestPatch("superadd"),
    PatchCore(),
    PatchCore(layers=(2,), ratio=0.5, neighbours=1, channels="colour"),
    replace(SHORT, channels="colour"),
    Joined((ZeroShot(channels="colour"), NearestPatch(), SHORT)),
]


def pixels_of(images, size=32):
    return to_pixels(squares_of(collect(list(images))[0], size, Values()))


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_method_is_data(method):
    data = json.loads(json.dumps(method.to_dict()))
    again = Method.from_dict(data)
    assert again == method and hash(again) == hash(method) and type(again) is type(method)
    assert repr(again) == repr(method) and type(method).from_dict(data) == method
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.gain = 3
    for field in dataclasses.fields(method):
        with pytest.raises((TypeError, ValueError), match=field.name):
            Method.from_dict(data | {field.name: object()})
    with pytest.raises(ValueError, match="has no 'gian'"):
        Method.from_dict(data | {"gian": 1})


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_fitted_saved_loaded_used_and_evaluated(method, backbone, normals, folder, tmp_path):
    options = {"backbone": backbone, "rng": 3, "progress": False, "workers": 0}
    detector = fit(normals, method, **options)
    again = fit(normals, method, **options)
    for name, one in (("a", detector), ("b", again)):
        one.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = Detector.load(tmp_path / "a", backbone=backbone)
    assert loaded.method == detector.method == method.resolved(backbone)
    assert loaded.threshold == detector.threshold and loaded.provenance == detector.provenance
    found, expected = loaded.score(normals), detector.score(normals)
    assert found.scores.shape == (6,) and found.maps.shape == (6, 32, 32)
    assert found.scores.dtype == found.maps.dtype == torch.float32
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.maps, expected.maps)
    restored = type(method).restore(detector.fitted.state(), backbone)
    assert torch.equal(restored.score(pixels_of(normals)).scores, expected.scores)
    prediction = loaded.predict(normals[0])
    assert prediction.anomaly_map.shape == normals[0].shape
    assert prediction.is_anomalous == (prediction.score > loaded.threshold)
    figures = evaluate(loaded, read_dataset(folder).test, resamples=10).to_dict()
    assert 0 <= figures["image"]["AUROC"]["value"] <= 1 and "AUROC" in figures["pixel"]


def test_values_are_brought_to_their_types_or_refused():
    numbers = {"lr": np.float32(0.5), "epochs": np.int64(3)}
    method = MediCLIP(layers=np.array([2, 4]), recipe="paper", **numbers)
    assert method.layers == (2, 4) and type(method.layers[0]) is int
    assert type(method.lr) is float and type(method.epochs) is int
    assert method.recipe == synthmed.preset("paper")
    assert MediCLIP(layers=range(1, 3)).layers == (1, 2)
    with pytest.raises(TypeError, match="layers must be several values, not 3"):
        MediCLIP(layers=3)
    with pytest.raises(ValueError, match=r"pool must be at least 0 and at most 1, not 1\.5"):
        NearestPatch(pool=1.5)
    with pytest.raises(ValueError, match="parts must be of at least 2 values"):
        Joined((NearestPatch(),))
    with pytest.raises(TypeError, match="parts must be"):
        Joined(("nearest-patch", "zero-shot"))


@given(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=2)),
    st.sampled_from([bool, int, float, str, Literal["a", 2], Annotated[int, Ge(0)], int | None]),
)
def test_what_is_taken_is_of_the_type(value, annotation):
    try:
        found = convert("it", value, annotation)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("it must be ")
        return
    assert found == value or (annotation is float and found == float(value))
    allowed = {bool: bool, int: int, float: float, str: str}.get(annotation, (int, str, type(None)))
    assert isinstance(found, allowed) and (isinstance(found, bool) == (annotation is bool))


def test_unknown_methods_are_named(tmp_path, backbone, normals):
    with pytest.raises(ValueError, match="no method 'MediCLAP' is known, did you mean 'MediCLIP'"):
        Method.from_dict({"type": "MediCLAP"})
    with pytest.raises(ValueError, match=r"'my\.module:Own' is known; import my\.module first"):
        Method.from_dict({"type": "my.module:Own"})
    with pytest.raises(ValueError, match="expected a MediCLIP, not a NearestPatch"):
        MediCLIP.from_dict(NearestPatch().to_dict())
    with pytest.raises(ValueError, match="no method 'nearest', did you mean 'nearest-patch'"):
        Method.named("nearest")
    detector = fit(normals, LevelShift(), backbone=backbone, progress=False)
    detector.save(tmp_path / "d")
    known = Method.known.pop(f"{__name__}:LevelShift")
    try:
        with pytest.raises(ValueError, match=f"import {__name__} first"):
            Detector.load(tmp_path / "d", backbone=backbone)
    finally:
        Method.known[f"{__name__}:LevelShift"] = known


def test_options_that_a_method_does_not_take_are_refused(
    backbone, normals, folder, tmp_path, monkeypatch
):
    mediclip = fit(normals, SHORT, backbone=backbone, progress=False, workers=0)
    for option, value in (
        ("checkpoint", tmp_path / "c"),
        ("validation", read_dataset(folder).test),
        ("callback", print),
        ("start", mediclip),
    ):
        with pytest.raises(TypeError, match=f"nearest-patch takes no {option}"):
            fit(normals, NearestPatch(), backbone=backbone, **{option: value})
    nearest = fit(normals, NearestPatch(), backbone=backbone)
    with pytest.raises(TypeError, match="start must be a fitted MediCLIP, not FittedNearestPatch"):
        fit(normals, SHORT, backbone=backbone, start=nearest, progress=False)
    monkeypatch.setattr(NearestPatch, "least_support", 2)
    with pytest.raises(ValueError, match="nearest-patch needs at least 2 normal images"):
        fit(normals[:1], NearestPatch(), backbone=backbone)


@pytest.mark.parametrize("layers", [(3,), (1, 4)])
@pytest.mark.parametrize("pool", [0.0, 0.3, 1.0])
def test_nearest_patch_against_plain_numpy(layers, pool, backbone, normals):
    support, pixels = pixels_of(normals[:4]), pixels_of(normals[4:])
    fitted = NearestPatch(layers=layers, pool=pool).fit(support, backbone)

    def patches(images, layer):
        feature = backbone.features(images, (layer,))[0].double().numpy()
        flat = feature.reshape(*feature.shape[:2], -1).transpose(0, 2, 1)
        return flat / np.linalg.norm(flat, axis=-1, keepdims=True)

    def distances(queries, memory):  # one patch at a time
        return np.array([[min(1 - q @ m for m in memory) for q in image] for image in queries])

    flat = np.mean(
        [distances(patches(pixels, n), np.concatenate(list(patches(support, n)))) for n in layers],
        axis=0,
    )
    count = max(1, round(pool * flat.shape[1]))
    expected = np.sort(flat, axis=1)[:, -count:].mean(1)
    found = fitted.score(pixels)
    assert found.scores.numpy() == pytest.approx(expected, abs=1e-5)
    corners = found.maps.numpy()[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    side = int(flat.shape[1] ** 0.5)
    at = [0, side - 1, -side, -1]
    assert corners == pytest.approx(flat[:, at], abs=1e-5)

    left_out = fitted.score_left_out(support)
    for index in range(4):
        others = [i for i in range(4) if i != index]
        own = np.mean(
            [
                distances(
                    patches(support[index : index + 1], n),
                    np.concatenate(list(patches(support[others], n))),
                )
                for n in layers
            ],
            axis=0,
        )
        pooled = np.sort(own, axis=1)[:, -count:].mean()
        assert float(left_out.scores[index]) == pytest.approx(pooled, abs=1e-5)
    assert NearestPatch().fit(support[:1], backbone).score_left_out(support[:1]) is None


def test_evidence_is_the_mean_logit_before_any_softmax(backbone, normals):
    options = {"backbone": backbone, "rng": 0, "progress": False, "workers": 0}
    by_max = fit(normals, SHORT, **options)
    evidence = fit(normals, replace(SHORT, score="evidence"), **options)
    model, pixels = by_max.fitted.model, pixels_of(normals)
    assert torch.equal(model.classes, evidence.fitted.model.classes)  # learnt alike
    direction = (model.classes[1] - model.classes[0]).double().numpy() / 0.07
    expected = np.zeros((6, 4, 4))
    for adapter, feature in zip(model.head.adapters, model.features(pixels), strict=True):
        tokens = feature.double().numpy().transpose(0, 2, 3, 1)
        weight, bias = (p.detach().double().numpy() for p in (adapter.weight, adapter.bias))
        z = tokens @ weight.T + bias
        expected += (z / np.linalg.norm(z, axis=-1, keepdims=True)) @ direction / 3
    found = evidence.score(normals)
    corners = found.maps.numpy()[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners == pytest.approx(expected[:, [0, 0, -1, -1], [0, -1, 0, -1]], abs=1e-4)
    largest = np.sort(found.maps.numpy().reshape(6, -1))[:, -10:].mean(1)  # 1 % of 1024
    assert found.scores.numpy() == pytest.approx(largest, abs=1e-5)


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_subspace_against_scikit_learn_and_scipy(variance, backbone, normals):
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the tests' reference")
    support, pixels = pixels_of(normals[:4]), pixels_of(normals[4:])
    method = Subspace(layers=(2, 3), variance=variance, sigma=2, pool=0.1)
    fitted = method.fit(support, backbone)

    def tokens(images):
        mean = sum(f.double() for f in backbone.features(images, (2, 3))) / 2
        return mean.flatten(2).transpose(1, 2).numpy()

    def scores(images, memory):
        pca = decomposition.PCA(n_components=variance, svd_solver="full")
        pca.fit(memory.reshape(-1, memory.shape[-1]))
        flat = images.reshape(-1, images.shape[-1])
        error = ((flat - pca.inverse_transform(pca.transform(flat))) ** 2).sum(1)
        maps = torch.from_numpy(error.reshape(len(images), 1, 4, 4))
        full = torch.nn.functional.interpolate(maps, (32, 32), mode="bilinear")[:, 0].numpy()
        blurred = np.stack([gaussian_filter(one, 2) for one in full])
        return np.sort(blurred.reshape(len(images), -1))[:, -102:].mean(1), blurred

    expected, maps = scores(tokens(pixels), tokens(support))
    found = fitted.score(pixels)
    assert found.scores.numpy() == pytest.approx(expected, rel=1e-3)
    assert found.maps.numpy() == pytest.approx(maps, rel=1e-3, abs=1e-4)
    left_out = fitted.score_left_out(support).scores.numpy()
    for index in range(4):
        others = np.delete(tokens(support), index, 0)
        own = tokens(support)[index : index + 1]
        assert left_out[index] == pytest.approx(scores(own, others)[0][0], rel=1e-3)


def test_the_threshold_is_the_highest_left_out_score(backbone, normals):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    left_out = detector.fitted.score_left_out(pixels_of(normals))
    assert detector.threshold == float(left_out.scores.max())
    one = fit(normals[:1], NearestPatch(), backbone=backbone, rng=0)
    assert one.threshold > 0  # against synthetic anomalies, where nothing can be left out
    assert one.predict(normals[0]).p_value is None and one.normal_scores == ()


def test_p_values_are_ranks_among_the_left_out_scores(backbone, normals, tmp_path):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    assert len(detector.normal_scores) == 6 and max(detector.normal_scores) == detector.threshold
    for prediction in detector.predict([255 - image for image in normals] + normals):
        above = sum(score >= prediction.score for score in detector.normal_scores)
        assert prediction.p_value == (1 + above) / 7
        assert prediction.is_anomalous == (prediction.p_value == 1 / 7)  # above every one
    flagged = [p.is_anomalous for p in detector.predict(normals, alpha=0.5)]
    assert flagged == [p.p_value <= 0.5 for p in detector.predict(normals)]
    with pytest.raises(ValueError, match=r"alpha=0\.05 needs 19 normal images: against 6"):
        detector.predict(normals, alpha=0.05)
    with pytest.raises(ValueError, match="alpha must be above 0 and below 1, not 0"):
        detector.predict(normals, alpha=0)
    with pytest.raises(ValueError, match="this mediclip has none"):
        fit(normals, SHORT, backbone=backbone, progress=False).predict(normals, alpha=0.5)
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d", backbone=backbone).normal_scores == detector.normal_scores


@pytest.mark.parametrize("count", [4, 19, 32])
@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_false_alarms_of_exchangeable_normals_are_at_most_alpha(count, alpha):
    """Over 20,000 draws, within four standard errors; where alpha can be reached, near it."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(20_000, count + 1))
    alarms = np.mean([p_value(row[0], row[1:]) <= alpha for row in draws])
    error = 4 * np.sqrt(alpha * (1 - alpha) / len(draws))
    assert alarms <= alpha + error
    assert alarms >= np.floor(alpha * (count + 1)) / (count + 1) - error


def test_layers_by_depth(backbone):
    assert backbone.layers_between(0.4, 0.8) == (2, 3)
    assert backbone.layers_between(0.55, 0.6) == (2,)  # the nearest, where there is none
    for method in (NearestPatch(depth=(0.4, 0.8)), MediCLIP(depth=(0.4, 0.8))):
        once = method.resolved(backbone)
        assert once.layers == (2, 3) and once.resolved(backbone) == once
    with pytest.raises(ValueError, match="are two choices; give one"):
        NearestPatch(layers=(1,), depth=(0.4, 0.8)).resolved(backbone)


def test_the_release_in_a_join_sees_colour_and_the_other_part_grey(backbone, normals):
    method = Joined((replace(SHORT, variant="release"), NearestPatch()))
    joined = fit(normals, method, backbone=backbone, rng=0, progress=False)
    colour = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert joined.method.scored_channels == "colour"
    assert joined.method.support_channels == "grey"
    assert np.isfinite(joined.predict(colour, channel_axis=-1).score)


@pytest.mark.parametrize("name", ["vit", "timm-vit", "timm-conv", "resnet"])
def test_zero_shot_on_every_kind_of_tower(name, configs, normals):
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    size = backbone.image_size
    pixels = to_pixels(np.random.default_rng(0).integers(0, 256, (3, size, size), np.uint8))
    found = ZeroShot().fit(pixels, backbone).score(pixels)
    assert found.scores.shape == (3,) and ((found.scores > 0) & (found.scores < 1)).all()
    assert found.maps.shape == ((3, size, size) if "vit" in name else (3, 0, 0))
    detector = fit(normals, ZeroShot(), backbone=backbone)
    assert (detector.predict(normals[0]).anomaly_map is None) == ("vit" not in name)
    if "vit" not in name:
        with pytest.raises(ValueError, match="no maps on"):
            fit(normals, Joined((NearestPatch(), ZeroShot())), backbone=backbone)


def test_every_method_by_its_name_on_the_command_line(backbone, configs, folder, tmp_path, capsys):
    from safetensors.torch import save_file

    from synthmed_clip.backbone.open_clip_internals.towers import build

    config = json.loads(configs["vit"].read_text())
    save_file(build(config, None).state_dict(), tmp_path / "w.safetensors")
    tower = f"--backbone {configs['vit']} --weights {tmp_path / 'w.safetensors'} --device cpu"
    own = tmp_path / "own_method.py"
    own.write_text(
        "import torch\n"
        "from dataclasses import dataclass\n"
        "from synthmed_clip import Fitted, Method, Scores\n"
        "@dataclass(frozen=True)\n"
        "class Darkness(Method):\n"
        "    gain: float = 1.0\n"
        "    def fit(self, support, backbone, rng):\n"
        "        return FittedDarkness(self)\n"
        "    @classmethod\n"
        "    def restore(cls, state, backbone):\n"
        "        return FittedDarkness(cls.from_dict(state['method']))\n"
        "@dataclass\n"
        "class FittedDarkness(Fitted):\n"
        "    method: Darkness\n"
        "    def score(self, pixels):\n"
        "        maps = (255 - pixels.mean(1)) * self.method.gain\n"
        "        return Scores(maps.amax((1, 2)), maps)\n"
        "    def state(self):\n"
        "        return {'method': self.method.to_dict()}\n"
    )
    for method in (
        "nearest-patch --pool 0.01 --layers 2 3 --variant superadd",
        "patchcore --ratio 0.5 --channels colour",
        "global-neighbour",
        "zero-shot --abnormal-words lesion mass",
        "subspace --variance 0.9 --rotations 1",
        "joined --parts nearest-patch zero-shot",
        "mediclip --epochs 1 --tokens 2 --recipe release",
    ):
        path = tmp_path / f"{method.split()[0]}.safetensors"
        arguments = f"fit {folder / 'normal'} -o {path} {tower} --seed 0 --no-progress {method}"
        assert main(arguments.split()) == 0, capsys.readouterr().err
        assert main(f"evaluate {path} {folder}".split()) == 0
        assert "Image-AUROC" in capsys.readouterr().out
        out = tmp_path / f"out-{method.split()[0]}"
        assert main(f"predict {path} {folder / 'abnormal'} -o {out} --no-progress".split()) == 0
        assert path.with_suffix(".png").exists() == method.startswith("mediclip")
    model, out = tmp_path / "nearest-patch.safetensors", tmp_path / "alpha"
    decide = f"predict {model} {folder / 'abnormal'} --no-progress -o"
    assert main(f"{decide} {out} --alpha 0.2".split()) == 0
    assert "with a p-value of at most 0.2" in capsys.readouterr().out
    rows = json.loads((out / "scores.json").read_text())["images"]
    assert all(row["is_anomalous"] == (row["p_value"] <= 0.2) for row in rows)
    assert main(f"{decide} {tmp_path / 'beta'} --alpha 0.01".split()) == 1
    assert "needs 99 normal images" in capsys.readouterr().err
    assert main(f"{decide} {tmp_path / 'gamma'} --threshold 9".split()) == 0
    assert "0 above the threshold 9.0000" in capsys.readouterr().out
    nearest = Detector.load(tmp_path / "nearest-patch.safetensors").method
    assert nearest == NearestPatch("superadd", (2, 3), pool=0.01).resolved(backbone)
    joined = Detector.load(tmp_path / "joined.safetensors").method
    assert [type(part) for part in joined.parts] == [NearestPatch, ZeroShot]
    mediclip = Detector.load(tmp_path / "mediclip.safetensors").method
    assert mediclip.recipe == synthmed.preset("release")

    import os
    import subprocess
    import sys

    path = tmp_path / "darkness.safetensors"
    arguments = f"fit {folder / 'normal'} -o {path} {tower} --import own_method darkness --gain 2"
    for command in (arguments, f"evaluate {path} {folder} --import own_method"):
        done = subprocess.run(
            [sys.executable, "-m", "synthmed_clip.cli.main", *command.split()],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert main(f"evaluate {path} {folder}".split()) == 1
    assert "import own_method first" in capsys.readouterr().err
