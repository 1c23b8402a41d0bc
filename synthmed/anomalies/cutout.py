"""A region with nothing in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.profiles import mean_inside
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import RectangleMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class Cutout(Anomaly):
    """One level in place of the tissue.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    level : Number or "mean"
        From what the level is drawn, as a share of the value range; or each channel's mean over the
        mask.

    References
    ----------
    T. DeVries, G. W. Taylor, "Improved regularization of convolutional neural networks with
    cutout", arXiv 1708.04552, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Cutout
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, mask = Cutout(level=0.0)(scan, rng=7, value_range=(0, 1))
    >>> float(image[mask].max())
    0.0
    """

    mask: Generator = RectangleMask(shear=0.0, rotation=(0.0, 0.0))
    level: Number | Literal["mean"] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        if isinstance(self.level, str) and self.level != "mean":
            raise ValueError(f"Cutout: level must be 'mean' or a number, got {self.level!r}")
        if self.level != "mean":
            require_number(self, "level", 0, 1)

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the level."""
        return {"level": None if isinstance(self.level, str) else draw_number(rng, self.level)}

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Fill the mask."""
        values = scene.patch(region.box)
        level = parameters["level"]
        if level is None:
            return np.broadcast_to(mean_inside(values, region.inside), values.shape), region.inside
        return np.full_like(values, level), region.inside
