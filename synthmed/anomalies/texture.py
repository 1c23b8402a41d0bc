"""A foreign texture, laid over the tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.donors import draw_donor, drawn_donor
from synthmed.anomalies.interpolation import foreign_patch
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import PerlinMask
from synthmed.scene import Region, Scene

_OCTAVES = 4


@dataclass(frozen=True, repr=False)
class TextureBlend(Anomaly):
    """A foreign texture inside a ragged mask: ``(1 - opacity) * image + opacity * texture``.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    texture : {"noise", "donors"}
        Procedural: gradient noise of four octaves, each of half the amplitude and grain of the one
        before; or what one of the call's `donors` shows at any place, mirrored at random. Donors
        may be images of any kind (a folder of textures that was read beforehand); without donors,
        the image itself is taken.
    opacity : Number
        Within [0, 1]. DRAEM draws it from (0.1, 1); GLASS from ``Normal(0.5, 0.1, (0.2, 0.8))``.
    level : Number
        Mean of the noise, as a share of the value range.
    contrast : Number
        Half the range of the noise, as a share of the value range.
    grain : Number
        Size of the noise's coarsest cells, in pixels at an image side of 224.

    References
    ----------
    V. Zavrtanik, M. Kristan, D. Skocaj, "DRAEM", ICCV 2021, equation 1; Q. Chen et al., "A unified
    anomaly synthesis strategy with gradient ascent for industrial anomaly detection and
    localization" (GLASS), ECCV 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import TextureBlend
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = TextureBlend(opacity=1.0, level=0.5, contrast=0.1)(scan, rng=7, value_range=(0, 1))
    >>> inside = sample.image[sample.mask]
    >>> bool(0.4 <= inside.min() and inside.max() <= 0.6)
    True
    """

    mask: Generator = PerlinMask()
    texture: Literal["noise", "donors"] = "noise"
    opacity: Number = (0.1, 1.0)
    level: Number = (0.2, 0.8)
    contrast: Number = (0.1, 0.4)
    grain: Number = (4.0, 24.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.choice(self, "texture", ("noise", "donors"))
        require_number(self, "opacity", 0, 1)
        require_number(self, "level", 0, 1)
        require_number(self, "contrast", 0)
        require_number(self, "grain", 0)

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the opacity, and the noise's seed and form or the donor and its place."""
        drawn: Parameters = {"opacity": draw_number(rng, self.opacity)}
        if self.texture == "noise":
            return drawn | {
                "seed": int(rng.integers(2**53)),
                "level": draw_number(rng, self.level),
                "contrast": draw_number(rng, self.contrast),
                "grain": draw_number(rng, self.grain),
            }
        which, donor = draw_donor(rng, scene)
        corner = [
            int(rng.integers(max(n - b, 0) + 1))
            for n, b in zip(donor.shape, region.inside.shape, strict=False)
        ]
        mirrored = [bool(rng.random() < 0.5) for _ in corner]
        return drawn | {"donor": which, "corner": corner, "mirrored": mirrored}

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Lay the texture over the image."""
        if self.texture == "noise":
            noise = _octaves(
                region.inside.shape, scene.pixels(parameters["grain"]), parameters["seed"]
            )
            texture = (parameters["level"] + parameters["contrast"] * noise)[..., None]
        else:
            donor = drawn_donor(parameters["donor"], scene, "TextureBlend")
            texture = foreign_patch(donor, scene, region, parameters["corner"], 0)
            mirrored = parameters["mirrored"]
            texture = np.flip(texture, tuple(a for a, is_so in enumerate(mirrored) if is_so))
        opacity = parameters["opacity"]
        values = (1 - opacity) * scene.patch(region.box) + opacity * np.clip(texture, 0, 1)
        return values, region.inside


def _octaves(shape: Sequence[int], grain: Sequence[float], seed: int) -> NDArray[np.float64]:
    """Gradient noise of several octaves, stretched to [-1, 1]."""
    total = np.zeros(shape)
    for octave in range(_OCTAVES):
        # No cell is smaller than two pixels: finer noise would only be sampled at its zeros.
        cells = [
            min(max(round(n * 2**octave / max(g, 1e-6)), 1), max(n // 2, 1))
            for n, g in zip(shape, grain, strict=True)
        ]
        lattice = kernels.unit_gradients(cells, seed + octave)
        total += 0.5**octave * kernels.gradient_noise(shape, lattice)
    largest = np.abs(total).max()
    return total / largest if largest > 0 else total
