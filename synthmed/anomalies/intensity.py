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
    sigmas : tuple of float
        Standard deviations of the texture's blur to draw from, in pixels at an image side of 224.
    gamma : (float, float)
        Bounds of the absolute value of gamma; either sign with probability one half.
    softness : (float, float)
        Bounds of the standard deviation of the mask's blur, in pixels at an image side of 224.
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
    sigmas: tuple[float, ...] = (4.0, 7.0)
    gamma: tuple[float, float] = (0.4, 0.6)
    softness: tuple[float, float] = (1.0, 4.0)
    texture: Literal["box", "image"] = "box"

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.numbers(self, "sigmas", 0)
        validation.interval(self, "gamma", 0)
        validation.interval(self, "softness", 0)
        validation.choice(self, "texture", ("box", "image"))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the seed of the texture, the blurs and gamma."""
        sigma = self.sigmas[int(rng.integers(len(self.sigmas)))]
        low, high = self.gamma
        # The bound nearer to 0 is left out below 0 and kept above it.
        gamma = rng.uniform(low, high) if rng.random() < 0.5 else rng.uniform(-high, -low)
        return {
            "seed": int(rng.integers(2**53)),
            "sigma": float(sigma),
            "gamma": float(gamma),
            "softness": float(rng.uniform(*self.softness)),
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
    least_step, step_shape, step_scale : float
        The step is least_step + Gamma(step_shape, step_scale) on a scale of 0 to 255 for the value
        range, of either sign with probability one half.
    least_width, width_shape, width_scale : float
        The ramp's width is least_width + Gamma(width_shape, width_scale), a fraction of the image's
        side, and at most the largest distance to the edge.

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
    least_step: float = 15.0
    step_shape: float = 3.0
    step_scale: float = 30.0
    least_width: float = 0.02
    width_shape: float = 3.0
    width_scale: float = 0.01

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        for name in (
            "least_step",
            "step_shape",
            "step_scale",
            "least_width",
            "width_shape",
            "width_scale",
        ):
            validation.number(self, name, 0)

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the step and the ramp's width."""
        step = self.least_step + rng.gamma(self.step_shape, self.step_scale)
        width = self.least_width + rng.gamma(self.width_shape, self.width_scale)
        return {"step": float(step if rng.random() < 0.5 else -step), "width": float(width)}

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
