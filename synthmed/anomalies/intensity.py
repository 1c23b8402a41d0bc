"""Changes of intensity: textured, or smooth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.profiles import edge_distance
from synthmed.distributions import Choice, Gamma, Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import PerlinMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class GaussianIntensityChange(Anomaly):
    """Brighter or darker by a blurred binary texture, faded in from the mask's edge.

    The image, scaled to [0, 1], plus ``gamma * texture * soft mask``, clipped to [0, 1]. Texture:
    the sign of white Gaussian noise (0 or 1), blurred, then stretched to [0, 1]. Soft mask: the
    mask blurred, and zero outside it.

    Parameters
    ----------
    mask : Mask
        Where it happens.
    sigma : Number
        Standard deviation of the texture's blur, in pixels at an image side of 224.
    gamma : Number
        The absolute value of gamma; either sign with probability one half.
    softness : Number
        Standard deviation of the mask's blur, in pixels at an image side of 224.
    texture : {"box", "image"}
        Over what the texture is made and stretched: the mask's box, or the whole image.

    References
    ----------
    Zhang et al., "MediCLIP", MICCAI 2024, section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import GaussianIntensityChange
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = GaussianIntensityChange()(scan, rng=7)
    >>> sample.image.shape, sample.image.dtype, sample.mask.dtype
    ((64, 64), dtype('float64'), dtype('bool'))
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    >>> sample.record["anomalies"]
    ['GaussianIntensityChange']
    """

    mask: Generator = PerlinMask(box=(0.3, 0.8))
    sigma: Number = Choice((4.0, 7.0))
    gamma: Number = (0.4, 0.6)
    softness: Number = (1.0, 4.0)
    texture: Literal["box", "image"] = "box"

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        for name in ("sigma", "gamma", "softness"):
            require_number(self, name, 0)
        validation.choice(self, "texture", ("box", "image"))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the seed of the texture, the blurs and gamma."""
        sigma = draw_number(rng, self.sigma)
        if rng.random() < 0.5:
            gamma = draw_number(rng, self.gamma)
        elif isinstance(self.gamma, tuple):  # the bound nearer to 0 is left out below 0
            gamma = rng.uniform(-self.gamma[1], -self.gamma[0])
        else:
            gamma = -draw_number(rng, self.gamma)
        return {
            "seed": int(rng.integers(2**53)),
            "sigma": sigma,
            "gamma": float(gamma),
            "softness": draw_number(rng, self.softness),
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Add the texture."""
        box = region.box
        shape = region.inside.shape if self.texture == "box" else scene.shape
        texture = kernels.gaussian_blur(
            kernels.sign_noise(shape, parameters["seed"]), scene.pixels(parameters["sigma"])
        )
        low, high = texture.min(), texture.max()
        texture = (texture - low) / (high - low) if high > low else np.zeros_like(texture)
        step = parameters["gamma"] * _soft(region, scene, parameters["softness"])
        step *= texture if self.texture == "box" else texture[box]
        return scene.patch(box) + step[..., None], region.inside


@dataclass(frozen=True, repr=False)
class SmoothIntensityChange(Anomaly):
    """Brighter or darker by one step, over a ramp from the mask's edge.

    Parameters
    ----------
    mask : Mask
        Where it happens.
    step : Number
        On a scale of 0 to 255 for the value range, of either sign with probability one half.
    width : Number
        Of the ramp, as a fraction of the image's side, and at most the largest distance to the
        edge.

    References
    ----------
    Baugh et al., "Many tasks make light work", MICCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import SmoothIntensityChange
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = SmoothIntensityChange()(scan, rng=7)
    >>> sample.image.shape, sample.image.dtype, sample.mask.dtype
    ((64, 64), dtype('float64'), dtype('bool'))
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    >>> sample.record["anomalies"]
    ['SmoothIntensityChange']
    """

    mask: Generator = PerlinMask(box=(0.3, 0.8))
    step: Number = Gamma(3.0, 30.0, offset=15.0)
    width: Number = Gamma(3.0, 0.01, offset=0.02)

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require_number(self, "step", 0)
        require_number(self, "width", 0)

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the step and the ramp's width."""
        step, width = draw_number(rng, self.step), draw_number(rng, self.width)
        return {"step": step if rng.random() < 0.5 else -step, "width": width}

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Add the ramp, within the range of the image's own values."""
        distance = edge_distance(region, scene)
        width = min(parameters["width"] * scene.side, distance.max())
        ramp = np.minimum(distance / width, 1) if 0 < width < np.inf else np.ones_like(distance)
        ends = scene.normalised(np.array([scene.image.min(), scene.image.max()]))
        values = scene.patch(region.box) + parameters["step"] / 255 * ramp[..., None]
        return np.clip(values, *ends), region.inside


def _soft(region: Region, scene: Scene, softness: float) -> NDArray[np.float32]:
    """The mask blurred as in the whole image, and zero outside it."""
    sigma = scene.pixels(softness)
    grown = region.grown_box([math.ceil(4 * s) + 1 for s in sigma], scene.shape)
    mask = region.inside_of(grown).astype(np.float32)
    return kernels.gaussian_blur(mask, sigma)[region.core(grown)] * region.inside
