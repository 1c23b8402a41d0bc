"""Checks of configuration values, with messages that name the parameter and what came."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def interval(owner: object, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Require the field to be a pair of finite numbers, ordered, within [low, high]."""
    value = getattr(owner, name)
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
    value = getattr(owner, name)
    if not (_is_number(value) and low <= value <= high):
        raise ValueError(
            f"{_name(owner, name)} must be a number{_bounds(low, high)}, got {value!r}"
        )


def whole(owner: object, name: str, low: int) -> None:
    """Require the field to be an int, at least `low`."""
    value = getattr(owner, name)
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= low):
        raise ValueError(
            f"{_name(owner, name)} must be a whole number at least {low}, got {value!r}"
        )


def choice(owner: object, name: str, options: Collection[Any]) -> None:
    """Require the field to be one of the options."""
    value = getattr(owner, name)
    if value not in options:
        raise ValueError(
            f"{_name(owner, name)} must be one of {', '.join(map(repr, options))}, got {value!r}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bounds(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    return f" at least {low:g}" if math.isinf(high) else f" within [{low:g}, {high:g}]"


def _name(owner: object, name: str) -> str:
    return f"{type(owner).__name__}: {name}"
