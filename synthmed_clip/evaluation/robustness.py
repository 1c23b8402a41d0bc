"""How far a detector's scores move on what is no disease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from synthmed import io
from synthmed.testing import ScoreShift, check_detector
from synthmed_clip.data.images import eight_bit
from synthmed_clip.data.layouts import Item
from synthmed_clip.data.values import Values

__all__ = ["ScoreShift", "robustness", "table"]


class _Method(Protocol):
    @property
    def scored_channels(self) -> Literal["grey", "colour"]: ...


class _Scored(Protocol):
    @property
    def score(self) -> float: ...


class _Predicts(Protocol):
    @property
    def axis(self) -> object: ...
    @property
    def method(self) -> _Method: ...
    @property
    def values(self) -> Values: ...
    def predict(
        self, images: io.Image, /, *, value_range: tuple[float, float]
    ) -> _Scored | Sequence[_Scored]: ...


def robustness(
    detector: _Predicts, items: Sequence[Item], *, images: int = 32, rng: int = 0
) -> tuple[ScoreShift, ...]:
    """Measure how far callipers, text, gain, speckle and the like move a detector's scores.

    `synthmed.testing.check_detector` on a sample of the normal images, as the detector sees their
    values (8 bits, grey where it is) but at their own size.

    Parameters
    ----------
    detector : Detector
    items : sequence of Item
        As `read_dataset` lists them; the normal ones count.
    images : int
        How many of them at most, drawn without replacement.
    rng : int
        Determines which, and what is laid over them.

    Returns
    -------
    tuple of ScoreShift
        In standard deviations of the sample's own scores, the one that moves scores farthest first.

    Raises
    ------
    ValueError
        If the detector is one of volumes, there are fewer than two normal images, or all have the
        same score.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from synthmed_clip import NearestPatch, fit
    >>> with TemporaryDirectory() as folder:
    ...     items = [Item(Path(folder, f"{i}.png"), abnormal=False) for i in range(3)]
    ...     for item, pixels in zip(items, scans):
    ...         Image.fromarray(pixels).save(item.image)
    ...     found = robustness(fit(scans[3:], NearestPatch(), backbone=backbone), items)
    >>> len(found), found[0].largest >= found[1].largest
    (6, True)
    """
    if detector.axis is not None:
        raise ValueError(
            f"robustness is measured on images, and the detector is of volumes (axis "
            f"{detector.axis!r})"
        )
    normal = [item.image for item in items if not item.abnormal]
    chosen = np.random.default_rng(rng).permutation(len(normal))[:images]
    seen = [eight_bit(normal[i], detector.values) for i in sorted(chosen)]
    if detector.method.scored_channels == "grey":
        seen = [io.grey(image) for image in seen]
    in_colour = any(image.channel_axis is not None for image in seen)
    channel_axis = -1 if in_colour else None

    def score(array: ArrayLike) -> float:
        image = io.Image(np.asarray(array), channel_axis)
        found = detector.predict(image, value_range=(0, 255))
        assert not isinstance(found, Sequence)  # one image, one prediction
        return found.score

    arrays = [_in_colour(image).array if in_colour else image.array for image in seen]
    return check_detector(score, arrays, rng=rng, value_range=(0, 255), channel_axis=channel_axis)


def table(shifts: Sequence[ScoreShift]) -> str:
    """Show shifts as lines of a table.

    Examples
    --------
    >>> print(table([ScoreShift("callipers", images=16, mean=0.4, largest=1.9)]))
    robustness: shift of normal images' scores, in their standard deviations
    callipers      mean +0.40, largest 1.90 (16 images)
    """
    lines = ["robustness: shift of normal images' scores, in their standard deviations"]
    for shift in shifts:
        figures = f"mean {shift.mean:+.2f}, largest {shift.largest:.2f} ({shift.images} images)"
        lines.append(f"{shift.name:<14} {figures if shift.images else 'could be seen on no image'}")
    return "\n".join(lines)


def _in_colour(image: io.Image) -> io.Image:
    if image.channel_axis is not None:
        return image
    return replace(image, array=np.repeat(image.array[..., None], 3, axis=-1), channel_axis=-1)
