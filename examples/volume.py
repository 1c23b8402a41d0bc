"""Anomalies in a volume with unequal voxels.

    python examples/volume.py [OUT.tif]

Shapes and distances are taken in millimetres, and noise, Poisson editing and deformation act in
three dimensions.
"""

import sys

import numpy as np
import scipy

from synthmed import CutPaste, EllipseMask, Source, preset
from synthmed.io import encode, write_atomically


def phantom() -> np.ndarray:
    """A body of smooth tissue in air, in Hounsfield units."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-1:1:40j, -1:1:160j, -1:1:160j]
    tissue = scipy.ndimage.gaussian_filter(rng.normal(size=(40, 160, 160)), (1, 4, 4))
    body = 0.2 * z**2 + (y / 0.8) ** 2 + (x / 0.9) ** 2 < 1
    return np.where(body, 40 + 400 * tissue, -1000).astype(np.int16)


def main(out: str = "") -> None:
    volume, spacing = phantom(), (3.0, 1.0, 1.0)
    body = volume > -500
    for name, generator in (
        ("paper", preset("paper")),
        ("mass", Source(EllipseMask(box=(0.2, 0.4)))),
        ("patch", CutPaste(EllipseMask(box=(0.2, 0.4)))),
    ):
        sample = generator(volume, rng=1, roi=body, value_range=(-1000, 400), spacing=spacing)
        sides = [
            np.ptp(np.flatnonzero(sample.mask.any(axis=axes))) + 1
            for axes in ((1, 2), (0, 2), (0, 1))
        ]
        millimetres = " x ".join(f"{n * s:.0f}" for n, s in zip(sides, spacing, strict=True))
        print(
            f"{name:6s} {sample.record['anomalies'][0]:24s} {sample.mask.sum():7d} voxels, "
            f"{millimetres} mm"
        )
    if out:
        from pathlib import Path

        write_atomically(Path(out), encode(sample.image, ".tif"))
        print(f"wrote {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
