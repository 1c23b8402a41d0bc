"""What happens to the result when the input is changed in a way that should not matter."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed.anomalies import Anomaly
from synthmed.sample import NothingToSee
from synthmed.testing import differences
from synthmed.testing.invariants.base import invariant
from synthmed.testing.trial import DoesNotApply, Result, Trial


@invariant
def equivariant_to_channels(trial: Trial) -> str | None:
    """Channels in another order come out in that order; a grey image three times over, as three
    equal channels.

    Examples
    --------
    >>> from synthmed import SmoothIntensityChange
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(SmoothIntensityChange(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.equivariant_to_channels(trial)
    """
    _ = trial.generator
    axis = trial.channel_axis

    def other(array: Any) -> Any:
        return np.stack([array] * 3) if axis is None else np.flip(array, axis)

    donors = None if trial.donors is None else [other(d) for d in trial.donors]
    result = trial.run(
        image=other(trial.image), donors=donors, channel_axis=0 if axis is None else axis
    )
    difference = differences.between(
        Result(other(trial.result.image), trial.mask), Result(result.image, result.mask)
    )
    order = "as three equal channels" if axis is None else "with its channels in reverse order"
    return f"the image {order} gives another result: {difference}" if difference else None


@invariant
def equivariant_to_intensity(trial: Trial) -> str | None:
    """With image and value range scaled and shifted, the result is scaled and shifted, and the mask
    the same.

    Examples
    --------
    >>> from synthmed import SmoothIntensityChange
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(SmoothIntensityChange(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.equivariant_to_intensity(trial)
    """
    generator = trial.generator
    if trial.image.dtype.kind in "iu" and trial.image.dtype.itemsize > 4:
        raise DoesNotApply("a double does not hold these integers")
    low, high = (float(v) for v in trial.limits)
    if not 1e-100 < high - low < 1e100 or max(abs(low), abs(high)) > 1e6 * (high - low):
        raise DoesNotApply("the scaled image would not be exact")

    def called(scale: float, offset: float) -> Result:
        def moved(array: Any) -> Any:
            return array.astype(np.float64) * scale + offset

        donors = None if trial.donors is None else [moved(d) for d in trial.donors]
        return trial.run(
            image=moved(trial.image),
            donors=donors,
            value_range=(low * scale + offset, high * scale + offset),
        )

    def compared(scale: float, offset: float, slack: float) -> str | None:
        result = called(scale, offset)
        difference = differences.between(
            Result(straight.image * scale + offset, straight.mask),
            Result(result.image, result.mask),
            slack,
        )
        return (
            f"on the image times {scale:g} plus {offset:g} the result is not that: {difference}"
            if difference
            else None
        )

    try:
        straight = called(1, 0)
        # A power of two is exact, so no decision within the generator may fall another way. An
        # offset rounds the result: a second anomaly on top of it would see that.
        found = compared(2.0**-3, 0, 0)
        if found is None and isinstance(generator, Anomaly) and trial.image.dtype.kind in "iu":
            found = compared(1, 1024, 1e-9)
        return found
    except NothingToSee as error:
        raise DoesNotApply("as double, the image shows nothing") from error


@invariant
def rounded_for_its_dtype(trial: Trial) -> str | None:
    """What a single anomaly gives for an integer or short float image is what it gives for doubles,
    rounded.

    Examples
    --------
    >>> from synthmed import SmoothIntensityChange
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(SmoothIntensityChange(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.rounded_for_its_dtype(trial)
    """
    dtype = trial.image.dtype
    if not isinstance(trial.generator, Anomaly) or (dtype.kind in "iu" and dtype.itemsize > 4):
        raise DoesNotApply(
            "a second anomaly would see the rounding of the first, or a double does not hold the "
            "integers"
        )
    donors = None if trial.donors is None else [d.astype(np.float64) for d in trial.donors]
    try:
        doubles = trial.run(
            image=trial.image.astype(np.float64), donors=donors, value_range=trial.limits
        )
    except NothingToSee as error:
        raise DoesNotApply("as double, the image shows nothing") from error
    if (
        trial.result.record is None
        or doubles.record is None
        or _drawn(trial.result.record) != _drawn(doubles.record)
    ):
        raise DoesNotApply("rounding made a change visible or invisible, so another was drawn")
    if dtype.kind in "iu":  # bounds between whole numbers round inwards
        step = 0.5 if all(float(v).is_integer() for v in trial.limits) else 1.0
    else:
        with np.errstate(over="ignore"):
            step = float(np.spacing(np.max(np.abs(trial.limits)).astype(dtype)))
    # In terms of the values' range, which `differences.between` takes; a hair more, for ties.
    extent = float(doubles.image.max()) * 0.5 - float(doubles.image.min()) * 0.5
    difference = differences.between(
        Result(doubles.image),
        Result(trial.result.image),
        (step / 2 + 1e-9 * extent) / extent if extent > 0 else 0,
    )
    return (
        f"for {dtype} the result is not that for doubles, rounded: {difference}"
        if difference
        else None
    )


@invariant
def axes_alike(trial: Trial) -> str | None:
    """Masks on the transposed image are as large along each axis as those on the image along the
    other.

    From 100 seeds each, as a difference of the means of five standard errors, on images that are
    not square.

    Examples
    --------
    >>> from synthmed import EllipseMask
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(EllipseMask(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.axes_alike(trial)
    """
    shape = trial.image.shape
    if (
        trial.channel_axis is not None
        or len(shape) != 2
        or min(shape) < 16
        or max(shape) < 1.25 * min(shape)
    ):
        raise DoesNotApply(
            "it shows in images without channels, of two unequal axes of at least 16 pixels"
        )
    donors = None if trial.donors is None else [d.T for d in trial.donors]
    spacing = None if trial.spacing is None else trial.spacing[::-1]
    ours = _extents(trial, {"roi": None})
    theirs = _extents(
        trial, {"image": trial.image.T, "donors": donors, "spacing": spacing, "roi": None}
    )[:, ::-1]
    if min(len(ours), len(theirs)) < 40:
        raise DoesNotApply("too few draws have a mask")
    for axis in range(2):
        a, b = ours[:, axis], theirs[:, axis]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b)) + 1e-9 * shape[axis]
        if abs(a.mean() - b.mean()) > 5 * error:
            return (
                f"along axis {axis}, of {shape[axis]} pixels, masks extend over {a.mean():.1f} "
                f"on average, but over "
                f"{b.mean():.1f} along the same axis of the transposed image (standard error "
                f"{error:.1f})"
            )
    return None


def _extents(trial: Trial, changes: dict[str, Any]) -> NDArray[Any]:
    """Sides of the masks' bounding boxes over 100 seeds, where there is a mask."""
    rows = []
    for seed in range(100):
        try:
            mask = trial.run(seed=seed, **changes).mask
        except NothingToSee:
            continue
        if mask is None:
            raise DoesNotApply("no mask is returned")
        if mask.any():
            box = scipy.ndimage.find_objects(mask.astype(np.uint8))[0]
            rows.append([s.stop - s.start for s in box])
    return np.array(rows).reshape(-1, 2)


def _drawn(record: dict[str, Any]) -> Any:
    """What was drawn, less the donors' digests, which tell dtypes apart."""
    text = json.dumps(record["parameters"], default=repr)
    return json.loads(text, object_hook=lambda d: {k: v for k, v in d.items() if k != "digest"})
