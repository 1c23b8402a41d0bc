"""`check_augmentation` on transforms of other libraries, as they are."""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
import warnings

import numpy as np
import pytest

from synthmed.testing import Fault, check_augmentation
from synthmed.testing.adapters import adapted

SOUND = {
    "albumentations": """
        RandomBrightnessContrast(p=1) RandomGamma(p=1) GaussNoise(p=1) MultiplicativeNoise(p=1)
        CLAHE(p=1) ElasticTransform(p=1) GridDistortion(p=1) Affine(rotate=(-30,30),p=1)
        CoarseDropout(p=1) GaussianBlur(p=1) Downscale(p=1) HorizontalFlip() Rotate()
        MotionBlur(p=1) PixelDropout(p=1) Posterize(p=1)
        Compose([HorizontalFlip(),GaussNoise()])""",
    "monai.transforms": """
        RandGaussianNoise(prob=1) RandRicianNoise(prob=1) RandFlip(prob=0.5) RandBiasField(prob=1)
        RandAdjustContrast(prob=1) RandGaussianSmooth(prob=1) RandHistogramShift(prob=1)
        RandGibbsNoise(prob=1) RandKSpaceSpikeNoise(prob=1) RandZoom(prob=1) ScaleIntensity()
        RandAffine(prob=1,rotate_range=0.3,padding_mode="zeros") RandGaussianNoised("a",prob=1)
        Compose([RandFlip(0.5),RandGaussianNoise(0.5)])""",
    "torchio": """
        RandomFlip(axes=(0,1)) RandomAffine() RandomNoise() RandomBlur() RandomBiasField()
        RandomElasticDeformation(max_displacement=(2,2,0)) RandomGhosting(axes=(0,1)) RandomSpike()
        RandomSwap(patch_size=(3,3,1)) RescaleIntensity((0,1))
        Compose([RandomNoise(),RandomFlip()])""",
    "torchvision.transforms.v2": """
        RandomHorizontalFlip() GaussianBlur(3) RandomRotation(20) RandomAffine(10)
        ElasticTransform() RandomErasing(p=1) RandomAutocontrast() RandomEqualize() RandomInvert()
        RandomSolarize(0.5) ColorJitter(0.2,0.2) RandomPerspective()
        Compose([RandomHorizontalFlip(),GaussianBlur(3)])""",
}
CASES = [(library, call) for library, calls in SOUND.items() for call in calls.split()]


def of(library, call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # albumentations looks for newer versions of itself
        pytest.importorskip(library.split(".")[0], reason=f"needs {library.split('.')[0]}")
        return eval(call, vars(importlib.import_module(library)).copy())


@pytest.mark.filterwarnings("ignore")  # what they warn of among themselves
@pytest.mark.parametrize(("library", "call"), CASES, ids=[call for _, call in CASES])
def test_no_false_alarm(library, call):
    transform = of(library, call)
    report = check_augmentation(transform, examples=8)
    assert report.calls and report.applied["same_rng_same_result"] == report.calls
    assert adapted(transform) is not None


def broken(transform):
    """The same transform, which writes to what it is given, or raises if it is albumentations'."""

    class Careless(type(transform)):
        def __call__(self, *given, **data):
            for array in given:
                array += 1
            return super().__call__(*given, **data)

        def apply(self, *given, **data):
            raise OSError("broken")

    if hasattr(transform, "apply"):  # it binds its methods when it is made
        return Careless(p=1)
    careless = copy.copy(transform)
    careless.__class__ = Careless
    return careless


FIRST = [(library, calls.split()[0]) for library, calls in SOUND.items()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "call"), FIRST, ids=[library for library, _ in FIRST])
def test_the_seed_is_the_librarys_own(library, call):
    """The same seed, the same image; the transform itself and torch's state are not moved."""
    function = adapted(of(library, call))
    image = np.random.default_rng(0).random((30, 40), np.float32)
    results = [
        function(image.copy(), np.random.default_rng(s)).tobytes() for s in (3, 3, *range(40))
    ]
    assert results[0] == results[1] and len(set(results)) > 1
    coloured = adapted(of(library, call), channel_axis=0)
    three = np.stack([image] * 3)
    result = coloured(three.copy(), np.random.default_rng(3))
    assert result.shape == three.shape and result.dtype == three.dtype


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "call"), FIRST, ids=[library for library, _ in FIRST])
def test_a_fault_is_found(library, call):
    with pytest.raises(Fault) as caught:
        check_augmentation(broken(of(library, call)), examples=8, dtype="float32")
    assert caught.value.invariant in ("input_not_written", "runs")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "call"), FIRST, ids=[library for library, _ in FIRST])
def test_the_script_needs_no_synthmed(library, call, tmp_path):
    """Run by itself it gives what the check saw."""
    with pytest.raises(Fault) as caught:
        check_augmentation(of(library, call), examples=8, invariants=[refuses])
    trial = caught.value.trial
    script, saved = tmp_path / "script.py", tmp_path / "result.npy"
    code = trial.code("refuses", tmp_path)
    assert "synthmed" not in code
    script.write_text(f"{code}\nnp.save({str(saved)!r}, result)\n", encoding="utf-8")
    command = [sys.executable, "-W", "ignore", script]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert np.array_equal(np.load(saved).ravel(), trial.result.image.ravel())


def refuses(trial):
    raise Fault("refuses", trial, "as asked")


def test_a_monai_transform_that_writes_to_its_input():
    """True of MONAI 1.6.1, whose documentation allows it."""
    with pytest.raises(Fault, match="it wrote to its input"):
        check_augmentation(of("monai.transforms", "RandCoarseDropout(2,(4,4),prob=1)"), examples=8)


def test_other_objects_are_not_taken():
    assert adapted(lambda image, rng: image) is None and adapted(np.random) is None
