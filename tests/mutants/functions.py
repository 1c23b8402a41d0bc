"""Augmentations as their users write them: one that is right, then the same with one fault each."""

from __future__ import annotations

import numpy as np

import synthmed


def add_disc(image, rng):
    """A disc of other values at a random place: nothing is wrong with it."""
    mask = _disc(image, rng)
    low, high = _limits(image)
    if not low < high:
        raise synthmed.NothingToSee("the image is constant")
    after = image.copy()
    after[mask] = np.where(image[mask] * 0.5 < low * 0.5 / 2 + high * 0.5 / 2, high, low)
    return after, mask


def brighten(image, rng):
    """Brighter or darker as a whole, clipped: nothing is wrong with it."""
    low, high = _limits(image)
    return np.clip(image + rng.uniform(-0.4, 0.4) * (high * 0.5 - low * 0.5), low, high).astype(
        image.dtype
    )


def maybe_flip(image, rng):
    """One of two: nothing is wrong with it, nor with an image that is its own mirror image."""
    return image[:, ::-1].copy() if rng.random() < 0.5 else image.copy()


def mask_off_by_one(image, rng):
    after, mask = add_disc(image, rng)
    return after, np.roll(mask, 1, axis=1)


def mask_of_bytes(image, rng):
    after, mask = add_disc(image, rng)
    return after, mask.astype(np.uint8) * 255


def mask_transposed(image, rng):
    after, mask = add_disc(image, rng)
    return after, mask.T


def writes_to_its_input(image, rng):
    after, mask = add_disc(image, rng)
    if image.flags.writeable:
        image[mask] = after[mask]
    return after, mask


def wraps_around(image, rng):
    return image + np.array(rng.integers(1, 100)).astype(image.dtype)


def wraps_around_from_floats(image, rng):
    """The usual way: computed as float, cast without a clip."""
    if image.dtype.kind == "f":
        return brighten(image, rng)
    return (image.astype(np.float64) + rng.uniform(5, 100)).astype(np.int64).astype(image.dtype)


def draws_from_global_state(image, rng):
    return brighten(image, np.random)


def draws_from_entropy(image, rng):
    return brighten(image, np.random.default_rng())


def ignores_its_rng(image, rng):
    return brighten(image, np.random.default_rng(3))


def returns_doubles(image, rng):
    return brighten(image, rng).astype(np.float64)


def transposes(image, rng):
    return brighten(image, rng).T.copy()


def stretches_contrast(image, rng):
    """NaN where there is no contrast."""
    low, high = image.min(), image.max()
    with np.errstate(all="ignore"):
        unit = (image.astype(np.float64) - low) / (high * 1.0 - low)
        after = unit ** rng.uniform(0.5, 2)
    return after.astype(np.float32).astype(image.dtype) if image.dtype.kind == "f" else image.copy()


def changes_outside(image, rng):
    """A little noise everywhere, as a lossy format leaves it."""
    after, mask = add_disc(image, rng)
    low, high = _limits(image)
    after[0, 0] = low if after[0, 0] > low else high
    return after, mask & (np.indices(image.shape).sum(axis=0) > 0)


def labels_what_is_not_there(image, rng):
    return image.copy(), _disc(image, rng)


def assumes_an_even_width(image, rng):
    left, right = np.split(image, 2, axis=1)
    return np.hstack([right, left]) if rng.random() < 0.5 else image.copy()


def _disc(image, rng):
    centre = rng.integers(image.shape)
    grid = np.indices(image.shape)
    return ((grid - centre[:, None, None]) ** 2).sum(axis=0) <= rng.integers(2, 9)


def _limits(image):
    if image.dtype == np.uint8:
        return 0, 255
    return image.min().item(), image.max().item()


RIGHT = (add_disc, brighten, maybe_flip)

CAUGHT_BY = {
    mask_off_by_one: "unchanged_outside_mask",
    mask_of_bytes: "mask_is_bool_of_spatial_shape",
    mask_transposed: "mask_is_bool_of_spatial_shape|unchanged_outside_mask",
    writes_to_its_input: "input_not_written",
    wraps_around: "no_wrap_around",
    wraps_around_from_floats: "no_wrap_around",
    draws_from_global_state: "independent_of_global_random_state",
    draws_from_entropy: "independent_of_global_random_state|same_rng_same_result",
    ignores_its_rng: "other_rngs_other_results",
    returns_doubles: "shape_and_dtype_kept",
    transposes: "shape_and_dtype_kept",
    stretches_contrast: "finite_and_within_value_range",
    changes_outside: "unchanged_outside_mask",
    labels_what_is_not_there: "visible_inside_mask",
    assumes_an_even_width: "runs",
}
"""The invariant that must name each; where a fault shows in two ways, either."""
