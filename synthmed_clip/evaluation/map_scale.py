"""On what scale maps are looked at, and which of their values a threshold corresponds to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.methods.base import Scores

HIGHEST = 8.0  # standard deviations; on two real data sets the highest peaks of lesions are 6 to 8
Unit = Literal["probability", "standard deviations of normal"]


@dataclass(frozen=True)
class MapScale:
    """What the colours of a heat map span.

    Attributes
    ----------
    low, high : float
        Values of a map at both ends.
    unit : {'probability', 'standard deviations of normal'}
        0 to 1; or 0 to 8 standard deviations above the mean of normal images' pixels.
    scores, peaks : tuple of float
        Of the same normal images, in their order: what they score, and the largest value of their
        maps.

    Examples
    --------
    >>> scale = MapScale(0.5, 4.5, "standard deviations of normal", (1.0, 2.0), (1.5, 3.5))
    >>> scale.shown(2.5)
    4.0
    """

    low: float = 0.0
    high: float = 1.0
    unit: Unit = "probability"
    scores: tuple[float, ...] = ()
    peaks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that it spans something.

        Raises
        ------
        ValueError
            If an end or a value is not finite, the ends are in the wrong order, or scores and peaks
            are not as many.
        """
        numbers = (self.low, self.high, *self.scores, *self.peaks)
        if not all(map(isfinite, numbers)) or self.low >= self.high:
            raise ValueError(f"a map scale must span finite values, not {self}")
        if len(self.scores) != len(self.peaks):
            raise ValueError(f"{len(self.scores)} scores, but {len(self.peaks)} peaks")

    @property
    def span(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high

    @classmethod
    def of(cls, normal: Scores, probabilities: bool, inside: Tensor | None = None) -> Self:
        """Take the scale from normal images' scores and maps.

        Parameters
        ----------
        normal : Scores
            Of images that the method has not seen, as far as that can be.
        probabilities : bool
            Whether maps are probabilities, which are shown as they are.
        inside : Tensor, optional
            `(N, S, S)` bool: the pixels that count, where there are regions of interest.

        Examples
        --------
        >>> import torch
        >>> from synthmed_clip import Scores
        >>> maps = torch.tensor([[[0.0, 2.0]], [[4.0, 2.0]]])
        >>> scale = MapScale.of(Scores(maps.amax((1, 2)), maps), probabilities=False)
        >>> round(scale.low, 3), round((scale.high - scale.low) / HIGHEST, 3), scale.peaks
        (2.0, 1.414, (2.0, 4.0))
        """
        if not normal.maps.numel():
            return cls()
        scores = tuple(normal.scores.tolist())
        peaks = tuple(normal.maps.amax((1, 2)).tolist())
        if probabilities:
            return cls(scores=scores, peaks=peaks)
        values = normal.maps if inside is None else normal.maps[inside.to(normal.maps.device)]
        values = values.double()
        mean, deviation = float(values.mean()), float(values.std(correction=0))
        high = mean + HIGHEST * max(deviation, 1e-6)
        return cls(mean, high, "standard deviations of normal", scores, peaks)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from JSON-ready data; KeyError, TypeError or ValueError if they are of no scale.

        Examples
        --------
        >>> from dataclasses import asdict
        >>> MapScale.from_dict(asdict(MapScale())) == MapScale()
        True
        """
        if data["unit"] not in get_args(Unit):
            raise ValueError(f"a map scale is in {' or '.join(get_args(Unit))}")
        scores, peaks = (tuple(map(float, data[name])) for name in ("scores", "peaks"))
        return cls(float(data["low"]), float(data["high"]), data["unit"], scores, peaks)

    def shown(self, value: float) -> float:
        """Return a map's value in the scale's unit."""
        if self.unit == "probability":
            return value
        return (value - self.low) / (self.high - self.low) * HIGHEST

    def matching(self) -> tuple[tuple[float, ...], tuple[float, ...], float] | None:
        """Return the line that leads from a score to a map's value: knots, and its slope beyond.

        As many normal images have a pixel above the value as score above the score: the two are
        matched by their quantiles, linearly between and beyond. For a score that is its map's peak
        the value is the score itself.

        Returns
        -------
        scores, peaks : tuple of float
            In rising order.
        slope : float
            Below the first knot and above the last.
            None in place of all three where no normal image tells.

        Examples
        --------
        >>> MapScale(scores=(0.5, 1.5), peaks=(4.0, 2.0)).matching()
        ((0.5, 1.5), (2.0, 4.0), 2.0)
        """
        if not self.scores:
            return None
        if np.allclose(self.scores, self.peaks, rtol=1e-6, atol=0):
            return (0.0,), (0.0,), 1.0
        spread = float(np.std(self.scores))
        if not spread > 0:
            return None
        return (
            tuple(sorted(self.scores)),
            tuple(sorted(self.peaks)),
            float(np.std(self.peaks)) / spread,
        )

    def level_of(self, threshold: float) -> float | None:
        """Return the value of a map that corresponds to a threshold on scores, by `matching`.

        Parameters
        ----------
        threshold : float

        Returns
        -------
        float or None
            None where no normal image tells.

        Examples
        --------
        >>> scale = MapScale(scores=(0.2, 0.4, 0.3), peaks=(0.5, 0.9, 0.6))
        >>> round(scale.level_of(0.35), 3), round(scale.level_of(0.5), 3)
        (0.75, 1.108)
        >>> MapScale(scores=(0.2,), peaks=(0.2,)).level_of(0.5), MapScale().level_of(0.5)
        (0.5, None)
        """
        matched = self.matching()
        if matched is None:
            return None
        scores, peaks, slope = matched
        nearest = min(max(threshold, scores[0]), scores[-1])
        return float(np.interp(nearest, scores, peaks)) + (threshold - nearest) * slope
