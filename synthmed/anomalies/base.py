"""The base class of anomalies: draw a mask, draw what happens in it, make it happen, see that it
can be seen.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed.generator import Generator, Outcome, Parameters, nothing, region_of
from synthmed.sample import NothingToSee
from synthmed.scene import Region, Scene

_TRIES = 20


class Anomaly(Generator):
    """A change of the image inside a mask.

    A subclass is a frozen dataclass whose first field is `mask`. It draws its own parameters in
    `draw` and computes the new values in `change`. This class draws the mask, keeps values within
    the range and the dtype, leaves all outside the mask as it was, and draws again where nothing
    changed visibly.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from synthmed import Anomaly, EllipseMask, Generator
    >>> @dataclass(frozen=True, repr=False)
    ... class Hole(Anomaly):
    ...     mask: Generator = EllipseMask()
    ...     def draw(self, rng, scene, region):
    ...         return {"depth": float(rng.uniform(0.5, 1))}
    ...     def change(self, parameters, scene, region):
    ...         return scene.patch(region.box) * (1 - parameters["depth"]), region.inside
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, mask = Hole()(scan, rng=7)
    >>> bool((image < scan)[mask].all()), bool((image == scan)[~mask].all())
    (True, True)
    """

    mask: Generator

    def __post_init__(self) -> None:
        """Check that `mask` is a mask."""
        if not (isinstance(self.mask, Generator) and self.mask.is_mask):
            raise TypeError(f"{type(self).__name__}: mask must be a mask, got {self.mask!r}")

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the parameters of the change, as plain JSON values.

        Parameters
        ----------
        rng : numpy.random.Generator
        scene : Scene
            The image and what came with the call.
        region : Region
            The mask that was drawn: its box in the image, and the mask within it.
        """

    @abc.abstractmethod
    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Compute the new values; nothing random.

        Returns
        -------
        values : ndarray of float64, shape (*box, channels)
            For the region's box, with the value range scaled to [0, 1], as
            `scene.patch(region.box)` gives the old ones. They are clipped, and used inside the mask
            alone.
        inside : ndarray of bool, shape of the box
            The anomaly's mask within the box, as a rule `region.inside`.
        """

    def soft_label(
        self, parameters: Parameters, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64] | float:
        """How abnormal each pixel of the mask is, for a call with ``soft=True``; by default the
        visible change.

        Parameters
        ----------
        parameters : dict
            What was drawn.
        before, after : ndarray of float64, shape (*box, channels)
            As `scene.patch(region.box)` gives them.

        Returns
        -------
        ndarray of float64, shape of the box, or float
            Clipped to [0, 1], and used inside the mask alone.
        """
        return np.abs(after - before).max(axis=-1)

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Outcome]:
        """Draw until the change can be seen, a bounded number of times."""
        name = type(self).__name__
        if scene.is_constant:
            raise NothingToSee(f"{name} has nothing to show on a constant image")
        for _ in range(_TRIES):
            where, placed = self.mask.run(rng, scene)
            region = region_of(placed)
            what = self.draw(rng, scene, region)
            outcome = self._outcome(what, scene, region)
            # The label may be a part of the mask that was placed.
            if outcome is not None and scene.is_in_roi(outcome.mask, region.roi_overlap):
                return {"mask": where, **what}, outcome
        where_else = "" if scene.roi is None else " inside the region of interest"
        raise NothingToSee(
            f"{name} changed no pixel by 1/255 of the value range{where_else} in {_TRIES} draws"
        )

    def apply(self, parameters: Parameters, scene: Scene) -> Outcome:
        """Apply drawn parameters."""
        region = region_of(self.mask.apply(parameters["mask"], scene))
        outcome = self._outcome(parameters, scene, region)
        if outcome is None:
            raise NothingToSee(
                f"these parameters of {type(self).__name__} change nothing visibly in this image"
            )
        return outcome

    def _outcome(self, parameters: Parameters, scene: Scene, region: Region) -> Outcome | None:
        changed = scene.changed(region, *self.change(parameters, scene, region))
        if changed is None:
            return None
        after, mask = changed
        soft = None
        if scene.soft:
            box = region.box
            label = self.soft_label(parameters, scene.patch(box), after.patch(box))
            soft = np.zeros(scene.shape, np.float32)
            soft[box] = np.where(mask[box], np.clip(label, 0, 1), 0)
        name = type(self).__name__
        return Outcome(after, mask, (name,), region.roi_overlap, soft=soft)


@dataclass(frozen=True, repr=False)
class Identity(Generator):
    """Nothing changes, and the mask is empty: a normal image among the anomalous.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Identity
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, mask = Identity()(scan, rng=7)
    >>> bool((image == scan).all()), bool(mask.any())
    (True, False)
    """

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Outcome]:
        """There is nothing to draw."""
        return {}, self.apply({}, scene)

    def apply(self, parameters: Parameters, scene: Scene) -> Outcome:
        """The scene as it is."""
        return nothing(scene)
