"""How far a detector's score moves on what is no disease."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from synthmed.distractors import (
    BurnedInText,
    Callipers,
    GainChange,
    Shift,
    SideMarker,
    Speckle,
)
from synthmed.generator import Generator
from synthmed.sample import NothingToSee

DISTRACTORS: Mapping[str, Generator] = {
    "callipers": Callipers(),
    "text": BurnedInText(),
    "side marker": SideMarker(),
    "gain": GainChange(),
    "speckle": Speckle(),
    "shift": Shift(),
}
"""What `check_detector` tries by default."""


class _Scored(Protocol):
    score: float


class _Predicts(Protocol):
    def predict(self, image: ArrayLike, /) -> _Scored: ...


@dataclass(frozen=True)
class ScoreShift:
    """How far a distractor moves scores; in units of their standard deviation over the images.

    Attributes
    ----------
    name : str
    images : int
        On how many images it could be seen.
    mean, largest : float
        Mean of the changes with their sign (above 0, more abnormal), and the largest absolute one.

    Examples
    --------
    >>> from synthmed.testing import ScoreShift
    >>> ScoreShift("callipers", images=16, mean=0.4, largest=1.9).largest
    1.9
    """

    name: str
    images: int
    mean: float
    largest: float


def check_detector(
    detector: _Predicts | Callable[[ArrayLike], float],
    images: Sequence[ArrayLike],
    *,
    distractors: Mapping[str, Generator] = DISTRACTORS,
    rng: int = 0,
    value_range: tuple[float, float] | None = None,
    channel_axis: int | None = None,
) -> tuple[ScoreShift, ...]:
    """Measure how far a detector's score moves on what should not move it.

    Each distractor is laid over each image once, with a seed of its own.

    Parameters
    ----------
    detector : object with ``predict(image).score``, or callable
        A `synthmed_clip.Detector`, say, or ``f(image) -> score``; it gets one image at a time.
    images : sequence of array_like
        Normal images, two or more, whose scores differ.
    distractors : mapping of str to Generator
        Distractors or compositions of them alone.
    rng : int
        Determines what is drawn.
    value_range, channel_axis
        Of the images, as a generator takes them.

    Returns
    -------
    tuple of ScoreShift
        One for each distractor, the one that moves scores farthest first.

    Raises
    ------
    ValueError
        If there are fewer than two images, all have the same score, or a score is not finite.
    TypeError
        If a distractor labels something as abnormal.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import GainChange
    >>> from synthmed.testing import check_detector
    >>> scans = np.random.default_rng(0).random((4, 32, 32)) / 2
    >>> brighter = GainChange(gain=1.0, offset=0.1, gamma=1.0)
    >>> (shift,) = check_detector(np.mean, scans, distractors={"offset": brighter})
    >>> shift.images, shift.mean > 1
    (4, True)
    """
    if len(images) < 2:
        raise ValueError(f"images must be two or more, got {len(images)}")

    def score(image: ArrayLike) -> float:
        given = detector.predict(image).score if hasattr(detector, "predict") else detector(image)
        value = float(given)
        if not np.isfinite(value):
            raise ValueError(f"detector must give finite scores, got {given!r}")
        return value

    plain = [score(image) for image in images]
    spread = statistics.pstdev(plain)
    if not spread > 0:
        raise ValueError(
            f"images must differ in their scores, against whose spread shifts are measured; all "
            f"have {plain[0]!r}"
        )
    shifts = []
    for index, (name, distractor) in enumerate(distractors.items()):
        changes = []
        for k, image in enumerate(images):
            try:
                sample = distractor(
                    image,
                    rng=[rng, index, k],
                    value_range=value_range,
                    channel_axis=channel_axis,
                )
            except NothingToSee:
                continue
            if sample.mask.any():
                raise TypeError(
                    f"distractors[{name!r}] must leave the mask empty, {distractor!r} does not"
                )
            changes.append((score(sample.image) - plain[k]) / spread)
        if changes:
            largest = max(map(abs, changes))
            shifts.append(ScoreShift(name, len(changes), statistics.fmean(changes), largest))
        else:
            shifts.append(ScoreShift(name, 0, 0.0, 0.0))
    return tuple(sorted(shifts, key=lambda s: -s.largest))
