"""The base class of distractors: a change that is no disease and leaves the mask empty."""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthmed.generator import Generator, Outcome, Parameters, nothing
from synthmed.sample import NothingToSee
from synthmed.scene import Region, Scene

_TRIES = 20


class Distractor(Generator):
    """A change of the image that is no disease: it is visible, and the mask stays empty.

    In a recipe it teaches what to ignore; `synthmed.testing.check_detector` measures by it how far
    a score moves that should not. A subclass is a frozen dataclass that draws in `draw` and makes
    the new values in `change`. Point 7 of the contract (outside the mask the image is the input's)
    is not its.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from synthmed import Distractor, Lesion
    >>> @dataclass(frozen=True, repr=False)
    ... class Fog(Distractor):
    ...     def draw(self, rng, scene):
    ...         return {"density": float(rng.uniform(0.1, 0.3))}
    ...     def change(self, parameters, scene):
    ...         values = scene.normalised(scene.image)
    ...         return values + parameters["density"] * (0.5 - values)
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, mask = Fog()(scan, rng=7)
    >>> bool((image != scan).any()), bool(mask.any())
    (True, False)
    >>> (Fog() + Lesion())(scan, rng=7).record["anomalies"]
    ['Lesion']
    """

    moves: ClassVar[bool] = False
    """Whether the image's content moves: then no anomaly may come before it, whose mask would stay
    behind.
    """

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the parameters of the change, as plain JSON values."""

    @abc.abstractmethod
    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Compute the new values of the whole image; nothing random.

        Returns
        -------
        ndarray of float64, shape (*spatial, channels)
            With the value range scaled to [0, 1], as `scene.normalised(scene.image)` gives the old
            ones. They are clipped; where they are as before, to the bit, the image stays as it was.
        """

    def moved_roi(self, parameters: Parameters, scene: Scene) -> NDArray[np.bool_]:
        """Where the region of interest of a scene is after the content moved."""
        raise NotImplementedError(f"{type(self).__name__} moves the image, but not its roi")

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Outcome]:
        """Draw until the change can be seen, a bounded number of times."""
        name = type(self).__name__
        if scene.is_constant:
            raise NothingToSee(f"{name} has nothing to show on a constant image")
        for _ in range(_TRIES):
            parameters = self.draw(rng, scene)
            outcome = self._outcome(parameters, scene)
            if outcome is not None:
                return parameters, outcome
        raise NothingToSee(f"{name} changed no pixel by 1/255 of the value range in {_TRIES} draws")

    def apply(self, parameters: Parameters, scene: Scene) -> Outcome:
        """Apply drawn parameters."""
        outcome = self._outcome(parameters, scene)
        if outcome is None:
            raise NothingToSee(
                f"these parameters of {type(self).__name__} change nothing visibly in this image"
            )
        return outcome

    def _outcome(self, parameters: Parameters, scene: Scene) -> Outcome | None:
        values = self.change(parameters, scene)
        where = (values != scene.normalised(scene.image)).any(axis=-1)
        everywhere = Region((0,) * len(scene.shape), where)
        changed = scene.changed(everywhere, values, where)
        if changed is None:
            return None
        after = changed[0]
        if self.moves and after.roi is not None:
            after = replace(after, roi=self.moved_roi(parameters, after))
        return replace(nothing(after), moved=self.moves)


def paint(scene: Scene, ink: NDArray[np.bool_], level: float) -> NDArray[np.float64]:
    """The image with one level where the ink is.

    Parameters
    ----------
    ink : ndarray of bool
        The spatial shape, or that of the last two axes, for every slice of a volume.
    level : float
        As a share of the value range.
    """
    values = scene.normalised(scene.image)
    values[np.broadcast_to(ink, scene.shape)] = level
    return values
