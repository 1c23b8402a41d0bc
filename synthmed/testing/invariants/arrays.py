"""What one call shows: shape and dtype, the input, the mask, the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthmed.compose import OneOf
from synthmed.distractors import Distractor
from synthmed.generator import Generator
from synthmed.masks import Mask, ScatterMask
from synthmed.sample import NothingToSee
from synthmed.testing import differences
from synthmed.testing.adapters import Adapted
from synthmed.testing.invariants.base import invariant
from synthmed.testing.trial import (
    DoesNotApply,
    Fault,
    Trial,
    copy_as_it_lies,
    direct_members,
    members,
)


@invariant
def shape_and_dtype_kept(trial: Trial) -> str | None:
    """The image that comes out is an array of the shape and dtype of the one that went in.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.shape_and_dtype_kept(trial)
    """
    after, before = trial.result.image, trial.image
    if not isinstance(after, np.ndarray):
        return f"the image that came out is a {type(after).__name__}, not a NumPy array"
    if after.shape != before.shape:
        return f"the image's shape is {after.shape}, it was {before.shape}"
    # In what order a function other than ours leaves the bytes is not of interest: NumPy's own
    # results are native.
    both = after.dtype, before.dtype
    if not isinstance(trial.function, Generator):
        both = after.dtype.newbyteorder("="), before.dtype.newbyteorder("=")
    if both[0] != both[1]:
        return f"the image's dtype is {after.dtype}, it was {before.dtype}"
    return None


@invariant
def input_not_written(trial: Trial) -> str | None:
    """The array that is handed over stays as it is, and what comes out of a generator shares no
    memory with it.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.input_not_written(trial)
    """
    image = copy_as_it_lies(trial.image)
    result = trial.call(image)
    if not differences.same(image, trial.image):
        return "it wrote to its input: " + differences.describe(trial.image, image)
    shared = [
        name
        for name, array in (("image", result.image), ("mask", result.mask))
        if isinstance(array, np.ndarray) and np.shares_memory(array, image)
    ]
    if shared and isinstance(trial.function, Generator):
        return (
            f"the {shared[0]} that came out shares memory with the input: writing to one "
            f"would change the other"
        )
    return None


@invariant
def independent_of_memory_layout(trial: Trial) -> str | None:
    """The same values give the same result however they lie in memory.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.independent_of_memory_layout(trial)
    """
    plain = np.ascontiguousarray(trial.image, trial.image.dtype.newbyteorder("="))
    back = (slice(None, None, -1),) * plain.ndim
    # Sums may be taken in another order, which a generator of ours promises not to show.
    slack = 0.0 if isinstance(trial.function, Generator) else 1e-4
    for name, image in (
        ("contiguous", plain),
        ("reversed", plain[back].copy()[back]),
        ("column-major", plain.T.copy().T),
    ):
        difference = differences.between(trial.result, trial.run(image=image), slack)
        if difference:
            return f"on a {name} array of the same values the result differs: {difference}"
    return None


@invariant
def mask_is_bool_of_spatial_shape(trial: Trial) -> str | None:
    """The mask is a bool array of the image's shape without channels.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.mask_is_bool_of_spatial_shape(trial)
    """
    mask = trial.mask
    if not isinstance(mask, np.ndarray):
        return f"the mask is a {type(mask).__name__}, not a NumPy array"
    if mask.dtype != bool:
        return f"the mask's dtype is {mask.dtype}, not bool"
    if mask.shape != trial.spatial_shape:
        return f"the mask's shape is {mask.shape}, the image's spatial shape {trial.spatial_shape}"
    return None


@invariant
def unchanged_outside_mask(trial: Trial) -> str | None:
    """Outside the mask the image equals the input to the bit.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.unchanged_outside_mask(trial)
    """
    function = trial.function
    if isinstance(function, Generator) and any(
        isinstance(m, Distractor) for m in members(function)
    ):
        raise DoesNotApply("a distractor changes the image and labels nothing")
    before, after, mask = _comparable(trial)
    changed = differences.unequal(before, after) & ~mask
    if changed.any():
        return "the image changed outside the mask: " + differences.describe(before, after, changed)
    return None


@invariant
def visible_inside_mask(trial: Trial) -> str | None:
    """Where there is a mask, some pixel inside changed by at least 1/255 of the value range, both
    values being clipped to it.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.visible_inside_mask(trial)
    """
    before, after, mask = _comparable(trial)
    if not mask.any() or (isinstance(trial.function, Generator) and trial.function.is_mask):
        raise DoesNotApply("nothing is said to have changed")
    low, high = trial.limits
    half = np.float64(0.5)
    was, now = (np.clip(values * half, low * half, high * half) for values in (before, after))
    steps = np.where(mask, np.abs(now - was), 0)
    least = (high * 0.5 - low * 0.5) / 255
    if not steps.max() >= least * (1 - 1e-9) or not steps.max() > 0:
        return (
            f"the mask covers {np.count_nonzero(trial.mask)} pixels, but none changed by 1/255 "
            f"of the value range "
            f"({2 * least:g}); the largest change is {2 * steps.max():g}"
        )
    return None


@invariant
def finite_and_within_value_range(trial: Trial) -> str | None:
    """The image that comes out is finite, and what changed lies within the value range.

    For a generator the range is `Trial.limits`; for another function it is judged only where one is
    given.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.finite_and_within_value_range(trial)
    """
    after, before = trial.result.image, trial.image
    if not np.isfinite(after).all():
        bad = ~np.isfinite(after)
        first = tuple(np.argwhere(bad)[0].tolist())
        return (
            f"{np.count_nonzero(bad)} values are not finite, the first at {first}: "
            f"{before[first]} became {after[first]}"
        )
    if trial.value_range is None and not isinstance(trial.function, Generator):
        return None
    low, high = trial.limits
    beyond = ((after < low) | (after > high)) & differences.unequal(before, after)
    if beyond.any():
        return f"values leave the value range ({low}, {high}): " + differences.describe(
            before, after, beyond
        )
    return None


@invariant
def mostly_in_roi(trial: Trial) -> str | None:
    """At least half of the mask lies in the region of interest, whether it is of one anomaly or of
    several; or the least share that one of the generator's masks asks for.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom, phantom_mask
    >>> roi = phantom_mask("disc", (24, 40))
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7, roi=roi)
    >>> invariants.mostly_in_roi(trial)
    """
    generator = trial.generator
    if trial.roi is None or not trial.mask.any():
        raise DoesNotApply("no region of interest is given, or the mask is empty")
    share = np.count_nonzero(trial.mask & trial.roi) / np.count_nonzero(trial.mask)
    least = _least_roi_overlap(generator)
    if share < least:
        return f"{share:.3f} of the mask lies in the region of interest, at least {least:g} should"
    return None


def _least_roi_overlap(generator: Generator) -> float:
    """The least share that a mask of the generator's asks for; of a mask made of masks, its own."""
    if isinstance(generator, Mask):
        return generator.roi_overlap
    if generator.is_mask and not isinstance(generator, OneOf | ScatterMask):
        return Mask.roi_overlap
    return min(map(_least_roi_overlap, direct_members(generator)), default=1.0)


@invariant
def no_wrap_around(trial: Trial) -> str | None:
    """Integers do not overflow.

    Told by calling again with the same values in a wider integer: it is a fault if, wherever that
    result is beyond the image's dtype, the narrow one is just that result modulo 2 to the power of
    its bits.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.no_wrap_around(trial)
    """
    dtype = trial.image.dtype
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        raise DoesNotApply("no wider integer is tried for this dtype")
    wide = np.dtype(np.int32 if dtype.itemsize < 4 else np.int64)
    if isinstance(trial.function, Adapted) and wide.name not in trial.function.library.dtypes:
        raise DoesNotApply(f"the function is not documented to take {wide}")
    donors = None if trial.donors is None else [d.astype(wide) for d in trial.donors]
    try:
        result = trial.run(image=trial.image.astype(wide), donors=donors, value_range=trial.limits)
    except (Fault, NothingToSee) as error:
        raise DoesNotApply(f"the function does not take {wide}") from error
    after, straight = trial.result.image, np.asarray(result.image)
    if straight.shape != after.shape or straight.dtype.kind not in "iu":
        raise DoesNotApply("the results are not comparable")
    limits = np.iinfo(dtype)
    beyond = (straight < limits.min) | (straight > limits.max)
    if beyond.any() and (after == straight.astype(dtype))[beyond].all():
        return f"{dtype} wraps around (the result in {wide} is beyond it): " + differences.describe(
            trial.image, after, beyond
        )
    return None


def _comparable(trial: Trial) -> tuple[Any, Any, Any]:
    """Image before and after, and the mask spread over their shape."""
    mask = np.asarray(trial.mask)
    if mask.shape != trial.spatial_shape or np.shape(trial.result.image) != trial.image.shape:
        raise DoesNotApply("image, mask and input are not of one shape")
    if trial.channel_axis is not None:
        mask = np.expand_dims(mask, trial.channel_axis)
    return trial.image, trial.result.image, np.broadcast_to(mask != 0, trial.image.shape)
