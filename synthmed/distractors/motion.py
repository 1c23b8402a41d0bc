"""Another position of the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.distractors.base import Distractor
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.sample import NothingToSee
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class Shift(Distractor):
    """A small shift and turn of the whole image; what comes in from beyond its border is the
    border's.

    In a sequence it comes before the anomalies: their masks would stay behind.

    Parameters
    ----------
    shift : Number
        Along each axis, as a fraction of its side.
    rotation : Number
        In degrees, about the middle (in 3-D, one angle for each pair of axes, none out of a thin
        volume's slices).
    order : int
        Order of the spline by which the image is read: 1 linear, 3 cubic.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Shift
    >>> scan = np.add.outer(np.arange(10.0), np.zeros(10))
    >>> image, _ = Shift(shift=0.1, rotation=0.0)(scan, rng=7)
    >>> image[:, 5].tolist()
    [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    """

    shift: Number = (-0.04, 0.04)
    rotation: Number = (-5.0, 5.0)
    order: int = 1

    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_number(self, "shift", -1, 1)
        require_number(self, "rotation", -180, 180)
        validation.choice(self, "order", range(6))

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the shift in pixels and the angles."""
        n = len(scene.shape)
        turns = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(n, 2))])
        if scene.thin_axis is not None:
            turns = scene.levelled(turns)
        return {
            "shift": [draw_number(rng, self.shift) * k for k in scene.shape],
            "rotation": turns.tolist(),
        }

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Read the image where it was."""
        values = scene.normalised(scene.image)
        return kernels.interpolate(values, self._coordinates(parameters, scene), self.order)

    def moved_roi(self, parameters: Parameters, scene: Scene) -> NDArray[np.bool_]:
        """Read the region of interest where it was; there is none beyond the border."""
        assert scene.roi is not None
        moved = scipy.ndimage.map_coordinates(
            scene.roi.astype(np.uint8), self._coordinates(parameters, scene), order=0
        ).astype(bool)
        if not moved.any():
            raise NothingToSee("Shift moved the region of interest out of the image")
        return moved

    def _coordinates(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        turn = kernels.rotation_matrix(parameters["rotation"], scene.spacing)
        middle = [(k - 1) / 2 for k in scene.shape]
        origin = middle - turn @ np.add(middle, parameters["shift"])
        return kernels.affine_coordinates(scene.shape, turn, origin)
