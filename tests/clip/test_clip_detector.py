"""fit, predict, save and load on small random towers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402
from PIL import Image  # noqa: E402

import synthmed  # noqa: E402
from synthmed import io  # noqa: E402
from synthmed_clip import Detector, Prediction, import_release, load_backbone  # noqa: E402
from synthmed_clip.backbone.memory import explained_memory  # noqa: E402
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors  # noqa: E402
from synthmed_clip.evaluation.calibration import best_threshold  # noqa: E402


@pytest.fixture(scope="module")
def detector(backbone, normals):
    return fit_mediclip(normals, backbone, epochs=3, batch_size=4, rng=7)


def saved(detector, path):
    detector.save(path)
    return path.read_bytes()


def head_of(detector):
    return detector.fitted.model.head.state_dict()


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_detector(
    workers, detector, backbone, normals, tmp_path
):
    other = fit_mediclip(normals, backbone, epochs=3, batch_size=4, rng=7, workers=workers)
    assert saved(other, tmp_path / "a") == saved(detector, tmp_path / "b")


def test_another_seed_gives_another(detector, backbone, normals):
    other = fit_mediclip(normals, backbone, epochs=3, batch_size=4, rng=8)
    assert other.fitted.history.log != detector.fitted.history.log


def test_rng_follows_spec_7(backbone, normals):
    def losses(rng):
        return fit_mediclip(normals[:2], backbone, epochs=1, rng=rng).fitted.history.log

    generator = np.random.default_rng(5)
    assert (
        losses(5)
        == losses(np.random.default_rng(5))
        == losses(np.random.PCG64(5))
        == losses(generator)
    )
    assert losses(generator) != losses(5)  # a generator moves on
    assert losses(None) != losses(None)


def test_it_learns(backbone, normals):
    recipe = synthmed.GaussianIntensityChange(synthmed.PerlinMask())
    log = fit_mediclip(normals, backbone, epochs=60, rng=0, recipe=recipe).fitted.history.log
    assert np.mean([e.loss for e in log[-10:]]) < 0.9 * np.mean([e.loss for e in log[:5]])


def test_save_and_load_give_the_same_predictions(detector, normals, tmp_path):
    detector.save(tmp_path / "d.safetensors")
    loaded = Detector.load(tmp_path / "d.safetensors", device="cpu", precision="float32")
    assert loaded.method == detector.method and loaded.provenance == detector.provenance
    assert loaded.fitted.history == detector.fitted.history
    assert loaded.threshold == detector.threshold
    for ours, theirs in zip(detector.predict(normals), loaded.predict(normals), strict=True):
        assert ours.score == theirs.score and np.array_equal(ours.anomaly_map, theirs.anomaly_map)
    assert loaded.method.recipe == synthmed.preset("paper")

    assert list(tmp_path.iterdir()) == [tmp_path / "d.safetensors"]


def test_load_refuses_other_weights_and_other_files(detector, configs, tmp_path):
    path = tmp_path / "d.safetensors"
    detector.save(path)
    other = load_backbone(configs["custom"], None, device="cpu", precision="float32")
    with pytest.raises(ValueError, match="was fitted on other weights: vit None with SHA-256"):
        Detector.load(path, backbone=other)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        Detector.load(tmp_path / "cut.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no 'synthmed-clip detector 6' file"):
        Detector.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        Detector.load(tmp_path / "none.safetensors")


def test_load_notices_damage(detector, backbone, tmp_path):
    path = tmp_path / "d.safetensors"
    detector.save(path)
    content = bytearray(path.read_bytes())
    content[-100:] = bytes(100)
    (tmp_path / "zeros.safetensors").write_bytes(content)
    with pytest.raises(
        ValueError, match="its tensors or its settings are not those that were written"
    ):
        Detector.load(tmp_path / "zeros.safetensors", backbone=backbone)
    tensors, data = read_safetensors(path, "synthmed-clip detector 6")
    for changes, lost in (
        ({"threshold": float("nan")}, None),
        ({"method": data["method"] | {"variant": "thesis"}}, None),
        ({"method": data["method"] | {"epoch": 3}}, None),
        ({"method": data["method"] | {"tokens": "8"}}, None),
        ({"provenance": {}}, None),
        ({"state": {}}, None),
        ({"backbone": data["backbone"] | {"scale": [1, 2]}}, None),
        ({}, "classes"),
    ):
        kept = {name: tensor for name, tensor in tensors.items() if name != lost}
        write_safetensors(tmp_path / "bad.safetensors", kept, data | changes)
        with pytest.raises(ValueError, match=r"bad\.safetensors is damaged, or of another version"):
            Detector.load(tmp_path / "bad.safetensors", backbone=backbone)


def test_a_detector_keeps_its_normalisation(configs, normals, tmp_path):
    """The same weights may come under another name with another mean."""
    config = json.loads(configs["vit"].read_text())
    own, other = (tmp_path / name / "vit.json" for name in ("own", "other"))
    for path, mean in ((own, 0.5), (other, 0.3)):
        path.parent.mkdir()
        path.write_text(
            json.dumps(config | {"preprocess_cfg": {"mean": [mean] * 3, "std": [0.25] * 3}})
        )
    backbones = [
        load_backbone(path, None, device="cpu", precision="float32") for path in (own, other)
    ]
    detector = fit_mediclip(normals, backbones[0], epochs=1, rng=0)
    detector = replace(
        detector, backbone=replace(detector.backbone, config=json.loads(other.read_text()))
    )
    detector.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", device="cpu", precision="float32")
    assert loaded.predict(normals[0]).score == detector.predict(normals[0]).score
    with pytest.raises(ValueError, match="another normalisation of images than that of vit"):
        Detector.load(tmp_path / "d", backbone=backbones[1])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((7, 9), np.uint8),
        np.full((40, 30, 3), 9, np.uint8),
        np.zeros((12, 10, 1), np.uint8),
        np.eye(20, dtype=bool),
        np.arange(600, dtype=np.uint16).reshape(20, 30),
        np.zeros((300, 2), np.uint32),
    ],
)
def test_predicts_any_image(detector, image):
    found = detector.predict(image, channel_axis=-1)
    assert isinstance(found, Prediction) and isinstance(found.score, float)
    assert found.anomaly_map.shape == image.shape[:2] and found.anomaly_map.dtype == np.float32
    assert isinstance(found.is_anomalous, bool) and found.is_anomalous == (
        found.score > detector.threshold
    )
    assert found.anomaly_map.flags.writeable and found.anomaly_map.base is None
    just_below = replace(
        detector, threshold=found.score - 1e-9
    )  # less apart than two float32 numbers
    assert just_below.predict(image, channel_axis=-1).is_anomalous


def test_score_is_the_maximum_before_resizing(detector, normals):
    assert detector.predict(normals[0]).score == float(detector.score(normals[:1]).maps.max())


def test_one_or_many_paths_or_arrays(detector, folder, normals, tmp_path):
    files = sorted((folder / "normal").iterdir())
    one = detector.predict(files[0])
    assert one.score == detector.predict(str(files[0])).score == detector.predict(normals[0]).score
    many = [p.score for p in detector.predict(files)]
    assert many == [p.score for p in detector.predict(folder / "normal")]
    assert many == [p.score for p in detector.predict(list(np.stack(normals)))]
    assert many == pytest.approx(
        [p.score for p in detector.predict(normals, batch_size=4)], abs=1e-6
    )
    assert detector.predict([]) == []
    with pytest.raises(FileNotFoundError, match="no image in"):
        detector.predict(tmp_path)
    with pytest.raises(FileNotFoundError, match="it has the folders abnormal, masks, normal"):
        detector.predict(folder)


def test_bad_images_are_named(detector, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"bad\.png"):
        detector.predict(tmp_path / "bad.png")
    with pytest.raises(ValueError, match="NaN"):
        detector.predict(np.array([[0.0, np.nan]]))
    with pytest.raises(TypeError, match="complex"):
        detector.predict(np.zeros((4, 4), complex))
    with pytest.raises(TypeError, match=r"must be a path, an array, a tensor or a .*, not dict"):
        detector.predict([{}])
    with pytest.raises(TypeError, match="not int"):
        detector.predict(3)


def test_colour_is_grey_in_the_paper_and_colour_in_the_release(backbone, normals, detector):
    colour = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    seen = io.Image(colour, channel_axis=-1)
    assert detector.predict(seen).score == detector.predict(luma).score
    release = fit_mediclip(
        normals[:2],
        backbone,
        variant="release",
        epochs=1,
        rng=0,
    )
    assert release.method.temperature == 1 and len(release.method.abnormal_words) == 11

    assert release.predict(seen).score != release.predict(luma).score


@pytest.mark.parametrize("k", [1, 5])
def test_few_images_and_ragged_batches(k, backbone, normals):
    assert (
        len(fit_mediclip(normals[:k], backbone, epochs=2, batch_size=4, rng=0).fitted.history.log)
        == 2
    )


def test_bad_arguments_are_named(backbone, normals, tmp_path):
    for options, message in (
        ({"variant": "thesis"}, "variant must be one of 'paper', 'release', not 'thesis'"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"recipe": "pie"}, "pie"),
        ({"tokens": -1}, "tokens must be at least 0, not -1"),
        ({"lr": 1e30, "epochs": 9}, "no longer finite"),
        ({"lr": 0}, "lr must be above 0, not 0"),
        ({"temperature": -1}, "temperature must be above 0, not -1"),
        ({"temperature": float("nan")}, "temperature must be a finite number, not nan"),
        ({"layers": ()}, "layers must be of at least 1 value, not"),
        ({"layers": (2, 5)}, "layers must be among 1 to 4 of vit"),
        ({"average": 1}, "average must be at least 0 and below 1, not 1"),
        ({"betas": (0.5, 1)}, "betas must be at least 0 and below 1, not 1"),
        ({"betas": (0.5,)}, "betas must be 2 values, not"),
        ({"normal_words": ()}, "normal_words must be of at least 1 value, not"),
        ({"abnormal_words": ("",)}, "abnormal_words must hold no blank word"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_mediclip(normals, backbone, **options)
    for options, message in (
        ({"recipe": 3}, "recipe must be a generator"),
        ({"normal_words": "normal"}, "normal_words must be several values, not 'normal'"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"adapters": 1}, "adapters must be True or False, not 1"),
    ):
        with pytest.raises(TypeError, match=message):
            fit_mediclip(normals, backbone, **options)
    with pytest.raises(ValueError, match="is a folder"):
        fit_mediclip(normals, backbone, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="images are 0: mediclip needs at least 1 normal image"):
        fit_mediclip([], backbone)
    with pytest.raises(synthmed.NothingToSee, match="support image 0"):
        fit_mediclip([np.zeros((32, 32), np.uint8)], backbone)


def test_callback_hears_every_epoch(backbone, normals):
    heard = []
    detector = fit_mediclip(
        normals,
        backbone,
        epochs=3,
        rng=0,
        callback=heard.append,
    )
    assert tuple(heard) == detector.fitted.history.log and [e.number for e in heard] == [1, 2, 3]


def test_averaged_weights_are_the_weighted_mean_over_steps(backbone, normals, tmp_path):
    """Each step's head weighs `average` times as much as the next one's."""
    options = {
        "backbone": backbone,
        "batch_size": 6,
        "rng": 7,
    }  # a step an epoch
    last = [head_of(fit_mediclip(normals, epochs=n, **options)) for n in (1, 2, 3)]

    averaged = fit_mediclip(normals, epochs=3, average=0.5, **options)
    for name, found in head_of(averaged).items():
        expected = (last[0][name] / 4 + last[1][name] / 2 + last[2][name]) / 1.75
        assert torch.allclose(found, expected, atol=1e-7, rtol=1e-5)
    half = {**options, "average": 0.5, "checkpoint": tmp_path / "c.safetensors"}
    fit_mediclip(normals, epochs=1, **half)
    assert saved(fit_mediclip(normals, epochs=3, **half), tmp_path / "a") == saved(
        averaged, tmp_path / "b"
    )


def test_resumes_from_a_checkpoint_of_fewer_epochs(detector, backbone, normals, tmp_path):
    options = {
        "backbone": backbone,
        "batch_size": 4,
        "checkpoint": tmp_path / "c.safetensors",
    }
    fit_mediclip(normals, epochs=1, rng=7, **options)
    with pytest.raises(ValueError, match="belongs to another fit: rng was"):
        fit_mediclip(normals, epochs=3, rng=8, **options)
    with pytest.raises(ValueError, match="belongs to another fit: lr was"):
        fit_mediclip(normals, epochs=3, rng=7, lr=0.5, **options)
    with pytest.raises(ValueError, match="belongs to another fit: images"):
        fit_mediclip(normals[1:], epochs=3, rng=7, **options)
    heard = []
    resumed = fit_mediclip(normals, epochs=3, rng=None, callback=heard.append, **options)
    assert [e.number for e in heard] == [2, 3]
    assert saved(resumed, tmp_path / "a") == saved(detector, tmp_path / "b")
    with pytest.raises(ValueError, match="is at epoch 3, past epochs=2"):
        fit_mediclip(normals, epochs=2, rng=7, **options)


KILLED = """
import sys, time, numpy as np
from synthmed_clip import MediCLIP, fit, load_backbone
if __name__ == "__main__":
    images = list(np.load(sys.argv[1]))
    backbone = load_backbone(sys.argv[2], None, device="cpu", precision="float32")
    fit(images, MediCLIP(epochs=100000, batch_size=4), backbone=backbone, rng=7, workers=1,
        progress=False, checkpoint=sys.argv[3])
"""


def test_killed_fit_goes_on_to_the_same_result(backbone, configs, normals, tmp_path):
    np.save(tmp_path / "images.npy", np.stack(normals))
    checkpoint = tmp_path / "c.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "images.npy", configs["vit"], checkpoint]
    )
    try:
        while not checkpoint.exists():
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
    finally:
        child.kill()
        child.wait()
    done = len(read_safetensors(checkpoint, "synthmed-clip checkpoint 4")[1]["log"])
    options = {
        "backbone": backbone,
        "epochs": done + 3,
        "batch_size": 4,
        "rng": 7,
    }
    resumed = fit_mediclip(normals, checkpoint=checkpoint, **options)
    straight = fit_mediclip(normals, **options)
    assert len(resumed.fitted.history.log) == done + 3
    assert saved(resumed, tmp_path / "a") == saved(straight, tmp_path / "b")


def test_bfloat16_is_near_float32(configs, detector, normals, tmp_path):
    detector.save(tmp_path / "d")
    low = Detector.load(tmp_path / "d", device="cpu", precision="bfloat16")
    assert low.backbone.dtype == torch.bfloat16
    assert (low.score(normals).maps - detector.score(normals).maps).abs().max() < 0.1


def test_out_of_memory_says_what_to_try():
    with pytest.raises(MemoryError, match="batch_size=8; try batch_size=4"), explained_memory(8):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), explained_memory(8):
        raise RuntimeError("something else")


def test_best_threshold():
    assert best_threshold(
        np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1], bool)
    ) == pytest.approx(0.5)
    assert best_threshold(np.array([0.1, 0.2]), np.zeros(2, bool)) == 0.2


def release_checkpoint(path, dim=24, channels=32, width=16):
    generator = torch.Generator().manual_seed(0)
    adapters = {}
    for i in range(3):
        adapters[f"{i}_adapter.0.weight"] = (
            torch.randn(dim, channels, 1, 1, generator=generator) * 0.1
        )
        adapters[f"{i}_adapter.0.bias"] = torch.randn(dim, generator=generator) * 0.1
    prompts = {
        f"ctx.{group}_end": torch.randn(count, 8, width, generator=generator) * 0.02
        for group, count in (("normal", 10), ("abnormal", 11))
    }
    torch.save({"adapter_state_dict": adapters, "prompt_state_dict": prompts}, path)
    return adapters, prompts


def test_imports_a_checkpoint_of_the_release(backbone, normals, tmp_path):
    path = tmp_path / "release.pth"
    adapters, prompts = release_checkpoint(path)
    detector = import_release(path, backbone=backbone, layers=(1, 2, 3))
    head = detector.fitted.model.head
    assert torch.equal(head.adapters[1].weight, adapters["1_adapter.0.weight"][:, :, 0, 0])
    assert torch.equal(head.context_abnormal, prompts["ctx.abnormal_end"])
    assert detector.method.variant == "release" and detector.fitted.history is None
    assert detector.method.tokens == 8 and detector.threshold == 0.5
    found = detector.predict(normals[0])
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d", backbone=backbone).predict(normals[0]).score == found.score


def test_refuses_what_is_no_checkpoint_of_the_release(backbone, tmp_path):
    path = tmp_path / "release.pth"
    release_checkpoint(path, channels=48)
    with pytest.raises(ValueError, match=r"adapters.0.weight is \(24, 48\), not \(24, 32\)"):
        import_release(path, backbone=backbone)
    torch.save({"adapter_state_dict": {}}, path)
    with pytest.raises(ValueError, match="prompt_state_dict is missing"):
        import_release(path, backbone=backbone)
    torch.save({"adapter_state_dict": {}, "prompt_state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"0_adapter.0.weight is missing or no tensor"):
        import_release(path, backbone=backbone)
    adapters, prompts = release_checkpoint(path)
    for wrong, shape in ((torch.zeros(24), r"of shape \(24,\)"), (1.0, "missing or no tensor")):
        changed = {
            "adapter_state_dict": adapters | {"1_adapter.0.weight": wrong},
            "prompt_state_dict": prompts,
        }
        torch.save(changed, path)
        with pytest.raises(
            ValueError, match=f"1_adapter.0.weight is {shape}; 4 dimensions are expected"
        ):
            import_release(path, backbone=backbone)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="not a checkpoint of tensors"):
        import_release(path, backbone=backbone)
