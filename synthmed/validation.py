"""Checks of configuration values, with messages that name the parameter and what came.

What comes out of NumPy or JSON is brought to Python's own values first: a NumPy number to an int or
a float, a list or an array to a tuple. The field then holds those, so that configurations which are
equal compare, hash and print as such.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A NumPy number as Python's, a list or an array as a tuple, all else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.validation import plain
    >>> plain(np.int64(2)), plain([np.float64(0.5), 1]), plain("none")
    (2, (0.5, 1), 'none')
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(plain(v) for v in value) if isinstance(value, list | tuple) else value


def _plain_field(owner: object, name: str) -> Any:
    value = plain(getattr(owner, name))
    object.__setattr__(owner, name, value)  # the owner is frozen, and still being made
    return value


def numbers(owner: object, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Require the field to be a tuple of finite numbers within [low, high], one or more."""
    value = _plain_field(owner, name)
    if not (
        isinstance(value, tuple)
        and value
        and all(_is_number(v) and low <= v <= high for v in value)
    ):
        raise ValueError(
            f"{_name(owner, name)} must be a tuple of numbers{_bounds(low, high)}, got {value!r}"
        )


def interval(owner: object, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Require the field to be a pair of finite numbers, ordered, within [low, high]."""
    value = _plain_field(owner, name)
    if not (
        isinstance(value, tuple)
        and len(value) == 2
        and all(_is_number(v) for v in value)
        and low <= value[0] <= value[1] <= high
    ):
        raise ValueError(
            f"{_name(owner, name)} must be a pair of ordered numbers{_bounds(low, high)}, got "
            f"{value!r}"
        )


def number(owner: object, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Require the field to be a finite number within [low, high]."""
    value = _plain_field(owner, name)
    if not (_is_number(value) and low <= value <= high):
        raise ValueError(
            f"{_name(owner, name)} must be a number{_bounds(low, high)}, got {value!r}"
        )


def whole(owner: object, name: str, low: int, *, otherwise: str = "") -> None:
    """Require the field to be an int, at least `low`; `otherwise` is for the message, what else it
    may be.
    """
    value = _plain_field(owner, name)
    if not (_is_whole(value) and value >= low):
        raise ValueError(
            f"{_name(owner, name)} must be a whole number at least {low}"
            f"{f' or {otherwise!r}' if otherwise else ''}, got {value!r}"
        )


def choice(owner: object, name: str, options: Collection[Any]) -> None:
    """Require the field to be one of the options."""
    value = _plain_field(owner, name)
    if value not in options:
        raise ValueError(
            f"{_name(owner, name)} must be one of {', '.join(map(repr, options))}, got {value!r}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bounds(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    return f" at least {low:g}" if math.isinf(high) else f" within [{low:g}, {high:g}]"


def _name(owner: object, name: str) -> str:
    return f"{type(owner).__name__}: {name}"
