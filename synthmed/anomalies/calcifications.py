"""Clusters of bright specks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import validation
from synthmed.anomalies.base import Anomaly
from synthmed.distributions import Number, draw_number, draw_whole, require_number, require_whole
from synthmed.generator import Generator, Parameters
from synthmed.masks import EllipseMask
from synthmed.scene import Region, Scene

_VISIBLE = 1 / 255


@dataclass(frozen=True, repr=False)
class Calcifications(Anomaly):
    """A cluster of bright specks, as microcalcifications or hard exudates.

    A speck is a Gaussian ``g`` of physical space, of height `brightness` and standard deviation
    `radius`; a value ``v`` (the value range scaled to [0, 1]) becomes ``v + g (1 - v)``, of specks
    that overlap by the larger ``g``.

    Parameters
    ----------
    mask : Mask
        The cluster.
    count : Number
        Specks in it, at least 1.
    radius : Number
        Of each speck, in pixels at an image side of 224.
    brightness : Number
        Of each speck, within [0, 1]; 1 is the top of the value range.
    label : {"specks", "cluster"}
        The mask that is returned: the pixels of the specks, or the cluster's.

    References
    ----------
    Description after E. A. Sickles et al., "ACR BI-RADS mammography", 2013: grouped, at least five
    in a square centimetre.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Calcifications
    >>> scan = np.random.default_rng(0).random((128, 128)) / 2
    >>> image, mask = Calcifications()(scan, rng=7, value_range=(0, 1))
    >>> bool((image >= scan).all()), bool((image == scan)[~mask].all())
    (True, True)
    """

    mask: Generator = EllipseMask(box=(0.06, 0.25))
    count: Number = (5, 25)
    radius: Number = (0.4, 1.1)
    brightness: Number = (0.4, 0.95)
    label: Literal["specks", "cluster"] = "specks"

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require_whole(self, "count", 1)
        require_number(self, "radius", 0)
        require_number(self, "brightness", 0, 1)
        validation.choice(self, "label", ("specks", "cluster"))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the specks: place within the box, radius and brightness."""
        pixels = np.flatnonzero(region.inside)
        drawn = rng.integers(len(pixels), size=draw_whole(rng, self.count))
        places = np.stack(np.unravel_index(pixels[drawn], region.inside.shape), axis=-1)
        return {
            "places": places.tolist(),
            "radii": [draw_number(rng, self.radius) for _ in places],
            "brightness": [draw_number(rng, self.brightness) for _ in places],
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Lay the specks over the image."""
        heights = np.zeros(region.inside.shape)
        specks = zip(*(parameters[k] for k in ("places", "radii", "brightness")), strict=True)
        for place, radius, brightness in specks:
            _lay_speck(heights, place, scene.pixels(radius), brightness)
        values = scene.patch(region.box)
        inside = region.inside
        if self.label == "specks":
            inside = inside & (heights >= _VISIBLE)
        return values + heights[..., None] * (1 - values), inside


def _lay_speck(
    heights: NDArray[np.float64], place: Sequence[int], sigma: Sequence[float], height: float
) -> None:
    """Raise heights to those of a Gaussian, within four standard deviations."""
    box, squares = [], []
    for axis, (p, s) in enumerate(zip(place, sigma, strict=True)):
        reach = math.ceil(4 * s)
        along = np.arange(max(p - reach, 0), min(p + reach + 1, heights.shape[axis]))
        box.append(slice(along[0], along[-1] + 1))
        squares.append(((along - p) / max(s, 1e-6)) ** 2)
    distance = sum(np.meshgrid(*squares, indexing="ij", sparse=True))
    part = heights[tuple(box)]
    np.maximum(part, height * np.exp(-0.5 * distance), out=part)
