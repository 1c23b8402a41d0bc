"""What MediCLIP learns, from what, and which epoch is kept."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402

import synthmed  # noqa: E402
from synthmed_clip import Detector, MediCLIP, pretrain  # noqa: E402
from synthmed_clip.data.layouts import Item, read_dataset  # noqa: E402
from synthmed_clip.evaluation import evaluate  # noqa: E402
from synthmed_clip.methods.mediclip.settings import HARD_WORDS  # noqa: E402
from synthmed_clip.training import Learner, Schedule, SyntheticSteps, train  # noqa: E402


@pytest.fixture(scope="module")
def validation(folder) -> tuple[Item, ...]:
    return read_dataset(folder).test


def test_without_adapters_nothing_but_the_context_is_learnt(backbone, normals, tmp_path):
    detector = fit_mediclip(normals, backbone, adapters=False, epochs=2)
    learnt = {name for name, _ in detector.fitted.model.head.named_parameters()}
    assert learnt == {"context_normal", "context_abnormal"}
    detector.save(tmp_path / "d.safetensors")
    loaded = Detector.load(tmp_path / "d.safetensors", backbone=backbone)
    assert torch.equal(loaded.score(normals).maps, detector.score(normals).maps)


def test_hard_prompts_are_constants(backbone, normals):
    words = {"normal_words": HARD_WORDS[0], "abnormal_words": HARD_WORDS[1]}
    one, two = (
        fit_mediclip(normals, backbone, epochs=e, tokens=0, **words).fitted.model for e in (1, 3)
    )
    assert torch.equal(one.classes, two.classes)
    assert not torch.equal(one.head.adapters[0].weight, two.head.adapters[0].weight)


def weight_of(detector):
    return detector.fitted.model.head.adapters[0].weight


def test_validation_keeps_the_best_epoch(backbone, normals, validation, tmp_path):
    options = {"backbone": backbone, "rng": 3, "validation": validation, "lr": 0.02}
    chosen = fit_mediclip(normals, epochs=5, checkpoint=tmp_path / "c", **options)
    history = chosen.fitted.history
    best = int(np.argmax([epoch.validation for epoch in history.log])) + 1
    assert history.chosen.number == best and best < 5
    alone = fit_mediclip(normals, epochs=best, **options | {"validation": None})
    assert torch.equal(weight_of(chosen), weight_of(alone))
    resumed = fit_mediclip(normals, epochs=2, checkpoint=tmp_path / "d", **options)
    assert len(resumed.fitted.history.log) == 2
    resumed = fit_mediclip(normals, epochs=5, checkpoint=tmp_path / "d", **options)
    assert torch.equal(weight_of(resumed), weight_of(chosen))
    assert resumed.fitted.history == history
    with pytest.raises(ValueError, match="belongs to another fit: validation was"):
        others = options | {"validation": validation[1:]}
        fit_mediclip(normals, epochs=5, checkpoint=tmp_path / "d", **others)
    with pytest.raises(ValueError, match="validation is empty"):
        fit_mediclip(normals, epochs=1, **options | {"validation": ()})
    with pytest.raises(ValueError, match="validation needs normal and abnormal"):
        fit_mediclip(normals, epochs=1, **options | {"validation": validation[:2]})


def test_the_validation_figure_is_the_metrics(backbone, normals, validation):
    """Selection counts pairs by SciPy; the evaluation's own AUROC must agree."""
    detector = fit_mediclip(normals, backbone, epochs=1, validation=validation)
    found = evaluate(detector, validation, resamples=1).image["AUROC"].value
    assert detector.fitted.history.log[0].validation == pytest.approx(found, abs=1e-12)


def test_auxiliary_data_teaches_before_the_support_images(backbone, normals, validation):
    running = {"backbone": backbone, "rng": 0, "workers": 0, "progress": False}
    method = MediCLIP(epochs=8, batch_size=4, lr=0.01)
    before = pretrain(validation, method, **running)
    log = before.fitted.history.log
    assert log[-1].loss < log[0].loss and before.provenance.support == ()
    options = {"backbone": backbone, "epochs": 1, "lr": 1e-9, "start": before}
    after = fit_mediclip(normals, **options)
    assert torch.allclose(weight_of(after), weight_of(before), atol=1e-6)
    assert after.fitted.history.start == before.fitted.digest()
    with pytest.raises(ValueError, match="start does not fit"):
        fit_mediclip(normals, tokens=3, **options)
    with pytest.raises(ValueError, match="none of the 6 auxiliary images is abnormal and has"):
        unmasked = [Item(item.image, item.abnormal) for item in validation if item.abnormal]
        pretrain(unmasked, **running)


@pytest.mark.parametrize(("per_epoch", "epochs", "warmup"), [(1, 7, 1), (2, 5, 2), (3, 4, 0)])
@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_schedules_are_torchs(per_epoch, epochs, warmup, kind):
    from torch.optim import SGD
    from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

    rising, total = warmup * per_epoch, epochs * per_epoch
    optimiser = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    after = ConstantLR(optimiser, factor=1)
    if kind == "cosine":
        after = CosineAnnealingLR(optimiser, T_max=total - rising)
    if rising:
        before = LinearLR(optimiser, start_factor=1 / rising, total_iters=max(1, rising - 1))
        after = SequentialLR(optimiser, [before, after], milestones=[rising])
    expected = []
    for _ in range(total):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        after.step()
    found = [0.1 * Schedule(kind, warmup).factor(s, per_epoch, epochs) for s in range(total)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


class _Stopped(Exception):
    pass


def test_the_schedule_reaches_the_optimiser_and_survives_an_interruption(
    backbone, normals, tmp_path
):
    options = {"backbone": backbone, "batch_size": 6, "lr": 0.01}
    cosine = options | {"schedule": "cosine", "warmup": 1}
    whole = fit_mediclip(normals, epochs=4, **cosine)
    assert not torch.equal(weight_of(whole), weight_of(fit_mediclip(normals, epochs=4, **options)))

    def stop(epoch):
        if epoch.number == 2:
            raise _Stopped

    with pytest.raises(_Stopped):
        fit_mediclip(normals, epochs=4, checkpoint=tmp_path / "c", callback=stop, **cosine)
    resumed = fit_mediclip(normals, epochs=4, checkpoint=tmp_path / "c", **cosine)
    assert torch.equal(weight_of(resumed), weight_of(whole))
    with pytest.raises(ValueError, match="belongs to another fit: epochs was 4, now 8"):
        fit_mediclip(normals, epochs=8, checkpoint=tmp_path / "c", **cosine)
    with pytest.raises(ValueError, match="warmup must be at most epochs, which are 4, not 5"):
        MediCLIP(epochs=4, warmup=5)


@pytest.mark.parametrize(("warmup", "expected"), [(0, 0.01), (1, 0.01), (4, 0.0025)])
def test_a_step_is_as_long_as_the_schedule_says(warmup, expected, normals):
    """Adam's first step moves a weight by the learning rate, whatever the gradient is."""
    steps = SyntheticSteps(
        synthmed.preset("paper"), np.stack(normals[:2]), batch_size=2, entropy=(7,)
    )
    module = torch.nn.Conv2d(1, 1, 1)
    before = module.bias.item()
    learner = Learner.begin(module, lr=0.01, betas=(0.9, 0.999), average=0.0)
    predict = lambda images: module(images / 255)[:, 0].sigmoid()  # noqa: E731
    next(train(learner, steps, predict, epochs=4, workers=0, schedule=Schedule("cosine", warmup)))
    assert abs(module.bias.item() - before) == pytest.approx(expected, rel=1e-3)


AFTER_OPENCV = """
import cv2, numpy as np, synthmed
from synthmed_clip.training.steps import SyntheticSteps, stream

cv2.setNumThreads(4)
rng = np.random.default_rng(0)
cv2.GaussianBlur(rng.integers(0, 255, (2000, 2000, 3), np.uint8), (31, 31), 5)
images = rng.integers(0, 255, (3, 64, 64), np.uint8)
steps = SyntheticSteps(synthmed.preset("paper"), images, batch_size=3, entropy=(7,))
print([len(batch) for batch, _ in stream(steps, 0, 3, workers=1)], cv2.getNumThreads())
"""


def test_workers_start_after_opencv_had_threads():
    """They are forked; OpenCV's threads are not there in them, and must not be waited for."""
    command = [sys.executable, "-c", AFTER_OPENCV]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.stdout == "[3, 3, 3] 4\n", finished.stderr
