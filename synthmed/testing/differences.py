"""Whether arrays differ, where and by how much, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthmed.testing.trial import Result


def unequal(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the values differ; NaN equals NaN."""
    with np.errstate(invalid="ignore"):
        return (before != after) & ~((before != before) & (after != after))


def same(before: Any, after: Any) -> bool:
    """Whether two arrays are equal in shape and values."""
    return (
        np.shape(before) == np.shape(after)
        and not unequal(np.asarray(before), np.asarray(after)).any()
    )


def half_steps(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Half the absolute differences: their double may not be representable."""
    with np.errstate(all="ignore"):
        return np.abs(after * np.float64(0.5) - before * np.float64(0.5))


def describe(
    before: NDArray[Any], after: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> str:
    """How many values differ, the first place, and the largest difference."""
    where = unequal(before, after) if where is None else where
    steps = np.where(where, half_steps(before, after), -1)
    first = tuple(np.argwhere(where)[0].tolist())
    most = tuple(int(i) for i in np.unravel_index(np.argmax(steps), steps.shape))
    text = (
        f"{np.count_nonzero(where)} of {where.size} values, the first at {first}: "
        f"{before[first]} became {after[first]}"
    )
    return (
        text
        if most == first
        else f"{text}; the most at {most}: {before[most]} became {after[most]}"
    )


def between(first: Result, second: Result, slack: float = 0.0) -> str | None:
    """What tells two results apart; values may differ by `slack` times the first image's range."""
    for name, a, b in (("image", first.image, second.image), ("mask", first.mask, second.mask)):
        if (a is None) != (b is None):
            return f"one has a {name}, the other has none"
        if np.shape(a) != np.shape(b):
            return f"the {name}'s shapes are {np.shape(a)} and {np.shape(b)}"
        if a is None or same(a, b):
            continue
        a, b = np.asarray(a), np.asarray(b)
        limit = slack * (a.max() * 0.5 - a.min() * 0.5) if slack else 0.0
        where = unequal(a, b) & ~(half_steps(a, b) <= limit)
        if where.any():
            return f"{name}: {describe(a, b, where)}"
    return None
