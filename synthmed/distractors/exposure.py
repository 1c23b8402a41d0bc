"""Gain, contrast and speckle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels
from synthmed.distractors.base import Distractor
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class GainChange(Distractor):
    """Another gain, level and gamma: ``gain * v**gamma + offset`` with the value range scaled to
    [0, 1].

    Parameters
    ----------
    gain, offset, gamma : Number

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import GainChange
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, _ = GainChange(gain=0.5, offset=0.1, gamma=1.0)(scan, rng=7, value_range=(0, 1))
    >>> bool(np.allclose(image, scan / 2 + 0.1))
    True
    """

    gain: Number = (0.85, 1.15)
    offset: Number = (-0.05, 0.05)
    gamma: Number = (0.85, 1.15)

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_number(self, "gain", 0)
        require_number(self, "offset", -1, 1)
        require_number(self, "gamma", 0)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the three numbers."""
        return {name: draw_number(rng, getattr(self, name)) for name in ("gain", "offset", "gamma")}

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Change the grey levels."""
        values = np.clip(scene.normalised(scene.image), 0, 1)
        return parameters["gain"] * values ** parameters["gamma"] + parameters["offset"]


@dataclass(frozen=True, repr=False)
class Speckle(Distractor):
    """Multiplicative noise, ``v (1 + strength * noise)``, the same in all channels.

    Parameters
    ----------
    strength : Number
        Standard deviation of the noise.
    grain : Number
        Standard deviation of its blur, in pixels at an image side of 224; 0 for white noise.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Speckle
    >>> scan = np.full((64, 64), 0.5)
    >>> scan[0] = 0.0
    >>> image, _ = Speckle(strength=0.1, grain=0.0)(scan, rng=7, value_range=(0, 1))
    >>> float(image[0].max()), round(float(image[1:].std()), 2)
    (0.0, 0.05)
    """

    strength: Number = (0.02, 0.06)
    grain: Number = (0.3, 1.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_number(self, "strength", 0)
        require_number(self, "grain", 0)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the noise's seed, strength and grain."""
        return {
            "seed": int(rng.integers(2**53)),
            "strength": draw_number(rng, self.strength),
            "grain": draw_number(rng, self.grain),
        }

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Multiply."""
        noise = kernels.standard_noise(
            scene.shape, parameters["seed"], scene.pixels(parameters["grain"])
        )
        values = scene.normalised(scene.image)
        return values * (1 + parameters["strength"] * noise.astype(np.float64))[..., None]
