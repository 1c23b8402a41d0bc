"""Blobs from thresholded smooth noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from synthmed import kernels, validation
from synthmed.distributions import Number, draw_number, draw_whole, require_number, require_whole
from synthmed.generator import Parameters
from synthmed.masks.base import Mask, Shape, side_bounds
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class BlobMask(Mask):
    """White noise over a random box, blurred, faded out towards the box's border, thresholded; of
    its components the largest.

    Parameters
    ----------
    box : (float, float)
        Bounds of the box's sides as fractions of the image's; each side is drawn on its own.
    smoothness : Number
        Standard deviation of the blur as a fraction of the box's sides; less gives more ragged and
        more numerous blobs.
    cover : Number
        Share of the box that the noise exceeds the threshold in, within [0, 1], at least one pixel.
    components : Number
        How many components are kept, at least 1; where there are fewer, all.
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy
    >>> from synthmed import BlobMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = BlobMask(smoothness=0.06, components=2)(scan, rng=7).mask
    >>> scipy.ndimage.label(mask)[1]
    2
    """

    box: tuple[float, float] = (0.15, 0.5)
    smoothness: Number = (0.06, 0.15)
    cover: Number = (0.15, 0.4)
    components: Number = (1, 4)
    roi_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.interval(self, "box", 0, 1)
        require_number(self, "smoothness", 0)
        require_number(self, "cover", 0, 1)
        require_whole(self, "components", 1)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the box, the noise's seed and blur, how much it covers, and how many are kept."""
        bounds = side_bounds(self.box, scene, "BlobMask")
        return {
            "box": [int(rng.integers(low, high + 1)) for low, high in bounds],
            "seed": int(rng.integers(2**53)),
            "smoothness": draw_number(rng, self.smoothness),
            "cover": draw_number(rng, self.cover),
            "components": draw_whole(rng, self.components),
        }

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Make the noise, threshold it, keep the largest components."""
        sides = parameters["box"]
        noise = kernels.gaussian_blur(
            kernels.sign_noise(sides, parameters["seed"]),
            [parameters["smoothness"] * n for n in sides],
        )
        noise = noise - noise.min()
        for axis, n in enumerate(sides):
            fade = np.sin(np.pi * (np.arange(n) + 0.5) / n).astype(np.float32)
            noise *= fade.reshape([-1 if a == axis else 1 for a in range(len(sides))])
        count = min(max(round(parameters["cover"] * noise.size), 1), noise.size)
        inside = noise >= np.partition(noise, noise.size - count, axis=None)[noise.size - count]
        labels, found = scipy.ndimage.label(inside)
        if found > parameters["components"]:
            sizes = np.bincount(labels.ravel())[1:]
            largest = np.argsort(-sizes, kind="stable")[: parameters["components"]]
            inside = np.isin(labels, largest + 1)
        return Shape(inside[scipy.ndimage.find_objects(inside.astype(np.uint8))[0]])
