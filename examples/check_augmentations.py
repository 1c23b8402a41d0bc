"""What `check_augmentation` finds in transforms of albumentations, scikit-image and TorchIO as they
are installed.

    pip install 'synthmed[testing]' albumentations torchio
    python examples/check_augmentations.py

Each transform gets images as its package's documentation allows them, 100 of them by Hypothesis's
rules, the same in every run. A finding is what broke on the smallest image found: a fault, a limit
worth knowing, or a choice that the package documents; which of them, a person decides. Packages
that are not installed are skipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, util
from typing import Any

import numpy as np
from hypothesis import settings

from synthmed.testing import Fault, check_augmentation

Row = tuple[str, Callable[[Any, np.random.Generator], Any], dict[str, Any]]


def albumentations() -> Iterator[Row]:
    """uint8, or float32 within [0, 1]. A pipeline of one, always applied, is seeded anew for each
    call.
    """
    import albumentations as A

    def adapted(transform: Any) -> Callable[..., Any]:
        return lambda image, rng: A.Compose([transform], seed=int(rng.integers(2**31)))(
            image=image
        )["image"]

    transforms = [
        A.RandomBrightnessContrast(p=1),
        A.RandomGamma(p=1),
        A.GaussNoise(p=1),
        A.MultiplicativeNoise(p=1),
        A.CLAHE(p=1),
        A.ElasticTransform(p=1),
        A.GridDistortion(p=1),
        A.Affine(rotate=(-30, 30), p=1),
        A.CoarseDropout(p=1),
        A.GaussianBlur(p=1),
        A.Downscale(p=1),
        A.Normalize(normalization="min_max", p=1),
    ]
    for transform in transforms:
        name = type(transform).__name__
        if name not in ("CLAHE",):
            yield name, adapted(transform), {"dtype": "float32", "value_range": (0, 1)}
        yield name, adapted(transform), {"dtype": "uint8"}


def skimage() -> Iterator[Row]:
    """Floats within [0, 1]; functions that keep the range also uint8."""
    from skimage import exposure, transform, util

    floats = {"dtype": ["float32", "float64"], "value_range": (0, 1)}
    for mode in ("gaussian", "poisson", "s&p", "speckle"):
        yield (
            f"random_noise({mode})",
            lambda image, rng, m=mode: util.random_noise(image, m, rng=rng),
            floats,
        )
    yield "rotate", lambda image, rng: transform.rotate(image, rng.uniform(-30, 30)), floats
    yield (
        "rotate(preserve_range)",
        lambda image, rng: transform.rotate(image, rng.uniform(-30, 30), preserve_range=True),
        {"dtype": "uint8"},
    )
    yield "swirl", lambda image, rng: transform.swirl(image, strength=rng.uniform(1, 9)), floats
    for kind in (floats, {"dtype": "uint8"}):
        yield (
            "adjust_gamma",
            lambda image, rng: exposure.adjust_gamma(image, rng.uniform(0.5, 2)),
            kind,
        )
        yield (
            "adjust_sigmoid",
            lambda image, rng: exposure.adjust_sigmoid(image, rng.uniform(0.3, 0.7)),
            kind,
        )
    yield (
        "equalize_adapthist",
        lambda image, rng: exposure.equalize_adapthist(image, clip_limit=rng.uniform(0.01, 0.2)),
        {"dtype": "float64", "value_range": (0, 1)},
    )


def torchio() -> Iterator[Row]:
    """Single precision tensors, here of one slice. It draws from torch's global state, which the
    adapter keeps apart.
    """
    import torch
    import torchio as tio

    def adapted(transform: Any) -> Callable[..., Any]:
        def call(image: Any, rng: np.random.Generator) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                return transform(torch.from_numpy(image.copy())[None, ..., None]).numpy()[0, ..., 0]

        return call

    transforms = [
        tio.RandomFlip(axes=(0, 1)),
        tio.RandomAffine(),
        tio.RandomElasticDeformation(max_displacement=(2, 2, 0)),
        tio.RandomNoise(),
        tio.RandomBlur(),
        tio.RandomGamma(),
        tio.RandomBiasField(),
        tio.RandomGhosting(axes=(0, 1)),
        tio.RandomSpike(),
        tio.RandomSwap(patch_size=(3, 3, 1)),
        tio.RescaleIntensity((0, 1)),
        tio.ZNormalization(),
    ]
    for transform in transforms:
        yield type(transform).__name__, adapted(transform), {"dtype": "float32"}


DETERMINISTIC = (
    "Normalize",
    "CLAHE",
    "Downscale",
    "RescaleIntensity",
    "ZNormalization",
)  # as configured here


def findings(name: str, function: Callable[..., Any], options: dict[str, Any]) -> list[Fault]:
    """All invariants that break, one after the other."""
    found: list[Fault] = []
    without = ["other_rngs_other_results"] if name in DETERMINISTIC else []
    while True:
        try:
            check_augmentation(function, without=without, **options)
            return found
        except Fault as fault:
            found.append(fault)
            if fault.invariant == "runs":  # nothing more can be told
                return found
            without.append(fault.invariant)


def main() -> None:
    """Print the table."""
    settings.register_profile("study", derandomize=True)
    settings.load_profile("study")
    warnings.simplefilter("ignore")
    clean = total = 0
    for distribution, rows in (
        ("albumentations", albumentations),
        ("scikit-image", skimage),
        ("torchio", torchio),
    ):
        if util.find_spec(rows.__name__) is None:
            print(f"\n{distribution}: not installed, skipped")
            continue
        print(f"\n{distribution} {metadata.version(distribution)}")
        for name, function, options in rows():
            found = findings(name, function, options)
            dtypes = (
                options["dtype"]
                if isinstance(options["dtype"], str)
                else ", ".join(options["dtype"])
            )
            print(f"  {name:26} {dtypes:18} {'no fault found' if not found else ''}", flush=True)
            for fault in found:
                image = fault.trial.image
                print(
                    f"      {fault.invariant}: {fault.what[:230]}\n"
                    f"          "
                    f"{fault.trial.code(fault.invariant).split('Trial(')[-1].splitlines()[0][:-1]}"
                    f"  [{image.min()} to {image.max()}]"
                )
            clean, total = clean + (not found), total + 1
    print(f"\n{clean} of {total} showed nothing.")


if __name__ == "__main__":
    main()
