"""Generators and presets, everything included: draw, apply, record, checks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import count

import numpy as np

import synthmed
from benchmarks.harness import Row, compare
from benchmarks.kernels import SIDES, field

PEER = "the scale of 1 ms"


def _scale() -> None:
    import time

    end = time.perf_counter() + 1e-3
    while time.perf_counter() < end:
        pass


def generators() -> Iterator[Row]:
    """Each generator and both presets at 224; the paper's preset at every size and in 3-D."""
    image = (field((224, 224), 6, 0) * 255).astype(np.uint8)
    anomalies = {
        "CutPaste": synthmed.CutPaste(),
        "CutPaste, mixed": synthmed.CutPaste(blend="mixed"),
        "CutPaste, direct": synthmed.CutPaste(blend="direct"),
        "GaussianIntensityChange": synthmed.GaussianIntensityChange(),
        "SmoothIntensityChange": synthmed.SmoothIntensityChange(),
        "Source": synthmed.Source(),
        "Sink": synthmed.Sink(),
        "Source in a PerlinMask": synthmed.Source(synthmed.PerlinMask()),
    }
    for name, anomaly in anomalies.items():
        yield _many(name, "224", anomaly, image)
    yield from _against_cutpaste(image, "224", 60, elastic="at least 0.2")
    yield _many(
        'preset("paper"), mean over the mix',
        "224",
        synthmed.preset("paper"),
        image,
        "1.67 (0.6 ms)",
    )
    yield _many('preset("release"), mean over the mix', "224", synthmed.preset("release"), image)
    for side in SIDES[1:]:
        large = (field((side, side), side / 40, 0) * 255).astype(np.uint8)
        yield _many('preset("paper")', str(side), synthmed.preset("paper"), large, calls=20)
    volume = field((64, 128, 128), 4, 0).astype(np.float32)
    yield from _against_cutpaste(volume, "64 x 128 x 128", 6, elastic="at least 0.1")
    yield _many('preset("paper")', "64 x 128 x 128", synthmed.preset("paper"), volume, calls=10)


def _against_cutpaste(image: np.ndarray, size: str, calls: int, elastic: str) -> Iterator[Row]:
    """Each kind of disease beside CutPaste; the ratio is CutPaste's time over its own."""
    flows = (synthmed.Atrophy(), synthmed.Swelling())
    others = (
        synthmed.Lesion(),
        synthmed.Haemorrhage(),
        synthmed.ThinStructure(),
        synthmed.Cavity(),
        synthmed.Cutout(),
        synthmed.Calcifications(),
        synthmed.Interpolation(),
        synthmed.Interpolation(blend="poisson"),
        synthmed.TextureBlend(),
        synthmed.TextureBlend(texture="donors"),
    )
    for anomaly in (*others, *flows):
        yield _many(
            repr(anomaly),
            size,
            anomaly,
            image,
            elastic if anomaly in flows else "at least 0.5",
            calls,
            peer=synthmed.CutPaste(),
        )


def _many(
    name: str,
    size: str,
    generator: synthmed.Generator,
    image: np.ndarray,
    target: str = "",
    calls: int = 100,
    peer: synthmed.Generator | None = None,
) -> Row:
    """Means over `calls` different seeds, so that every run holds the whole mix."""
    seeds = count()

    def ours() -> None:
        for _ in range(calls):
            generator(image, rng=next(seeds))

    def theirs() -> None:
        for seed in range(calls):
            _scale() if peer is None else peer(image, rng=seed)

    beside = PEER if peer is None else repr(peer)
    row = compare(name, size, ours, beside, theirs, target, seconds=2)
    return Row(
        row.name,
        row.size,
        row.ours / calls,
        row.peer_name,
        row.peer / calls,
        row.ratio,
        row.quartiles,
        target,
    )


def peers() -> Iterator[Row]:
    """Generators of other packages, where they are installed."""
    image = (field((224, 224), 6, 0) * 255).astype(np.uint8)
    seeds = count()
    if importlib.util.find_spec("albumentations"):
        import albumentations

        elastic = albumentations.ElasticTransform(p=1)
        source = synthmed.Source()
        yield compare(
            "Source",
            "224",
            lambda: source(image, rng=next(seeds)),
            "albumentations.ElasticTransform",
            lambda: elastic(image=image),
        )
    if importlib.util.find_spec("anomalib"):
        import torch
        from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

        torch.set_num_threads(1)
        theirs = PerlinAnomalyGenerator(probability=1.0)
        tensor = torch.from_numpy(image).float()[None].repeat(3, 1, 1) / 255
        ours = synthmed.CutPaste(blend="direct")
        yield compare(
            "CutPaste, direct",
            "224",
            lambda: ours(image, rng=next(seeds)),
            "anomalib PerlinAnomalyGenerator",
            lambda: theirs(tensor),
        )
