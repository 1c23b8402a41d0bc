"""From what a number is drawn: a constant, a range, or a distribution.

Wherever a generator takes a `Number`, it may be given as

- a number: it is always this one;
- a pair ``(low, high)``: drawn uniformly between the two;
- `Choice`, `Normal` or `Gamma`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from synthmed import validation

__all__ = [
    "Choice",
    "Distribution",
    "Gamma",
    "Normal",
    "Number",
    "draw_number",
    "draw_whole",
    "from_dict",
    "require_number",
    "require_whole",
]


class Distribution(ABC):
    """Base of the distributions: frozen configuration of which numbers are drawn.

    Examples
    --------
    >>> from synthmed import Gamma
    >>> from synthmed.distributions import Distribution
    >>> isinstance(Gamma(2, 0.1), Distribution), Gamma(2, 0.1).support
    (True, (0.0, inf))
    """

    known: ClassVar[dict[str, type[Distribution]]] = {}

    def __init_subclass__(cls) -> None:
        """Make the class known by its name to `from_dict`."""
        if not cls.__name__.startswith("_"):
            Distribution.known[cls.__name__] = cls

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """Smallest and largest number that may be drawn."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> float:
        """Draw one number."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON data: the type's name and every parameter."""
        parameters = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()}
        return {"type": type(self).__name__} | plain

    def __repr__(self) -> str:
        """The constructor call, with what is not default."""
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


Number = float | tuple[float, float] | Distribution


@dataclass(frozen=True, repr=False)
class Choice(Distribution):
    """One of several numbers.

    Parameters
    ----------
    values : tuple of float
    weights : tuple of float, optional
        Their relative frequencies; equal by default.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Choice
    >>> Choice((1.0, 2.0), weights=(0.0, 1.0)).draw(np.random.default_rng(0))
    2.0
    """

    values: tuple[float, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        validation.numbers(self, "values")
        if self.weights is None:
            return
        validation.numbers(self, "weights", 0)
        if len(self.weights) != len(self.values) or not sum(self.weights) > 0:
            raise ValueError(
                f"Choice: weights must be {len(self.values)} numbers, not all 0, got "
                f"{self.weights!r}"
            )

    @property
    def support(self) -> tuple[float, float]:
        """The ends of the values."""
        return min(self.values), max(self.values)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one of the values."""
        if self.weights is None:
            return self.values[int(rng.integers(len(self.values)))]
        ends = np.cumsum(self.weights)
        return self.values[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]


def _within(value: float, bounds: tuple[float, float] | None) -> float:
    return value if bounds is None else min(max(value, bounds[0]), bounds[1])


@dataclass(frozen=True, repr=False)
class Normal(Distribution):
    """A normal distribution.

    Parameters
    ----------
    mean, deviation : float
        Mean and standard deviation.
    bounds : (float, float), optional
        What is drawn beyond them becomes the nearer of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Normal
    >>> number = Normal(0.5, 0.1, bounds=(0.2, 0.8))
    >>> 0.2 <= number.draw(np.random.default_rng(0)) <= 0.8
    True
    """

    mean: float
    deviation: float
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        validation.number(self, "mean")
        validation.number(self, "deviation", 0)
        if self.bounds is not None:
            validation.interval(self, "bounds")

    @property
    def support(self) -> tuple[float, float]:
        """The bounds, if any."""
        return self.bounds or (-math.inf, math.inf)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one number."""
        return _within(float(rng.normal(self.mean, self.deviation)), self.bounds)


@dataclass(frozen=True, repr=False)
class Gamma(Distribution):
    """A gamma distribution, moved by an offset; of shape 1, an exponential one.

    Parameters
    ----------
    shape, scale : float
        The mean is ``offset + shape * scale``.
    offset : float
        The smallest number.
    bounds : (float, float), optional
        What is drawn beyond them becomes the nearer of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Gamma
    >>> number = Gamma(2, 0.1, offset=0.03)
    >>> number
    Gamma(shape=2, scale=0.1, offset=0.03)
    >>> number.draw(np.random.default_rng(0)) >= 0.03
    True
    """

    shape: float
    scale: float
    offset: float = 0.0
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        validation.number(self, "shape", 0)
        validation.number(self, "scale", 0)
        validation.number(self, "offset")
        if self.bounds is not None:
            validation.interval(self, "bounds")

    @property
    def support(self) -> tuple[float, float]:
        """The bounds, if any, or from the offset on."""
        return self.bounds or (self.offset, math.inf)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one number."""
        return _within(self.offset + float(rng.gamma(self.shape, self.scale)), self.bounds)


def draw_number(rng: np.random.Generator, number: Number) -> float:
    """Draw from a constant, a range (uniformly) or a distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Choice
    >>> from synthmed.distributions import draw_number
    >>> rng = np.random.default_rng(0)
    >>> draw_number(rng, 3), 0 <= draw_number(rng, (0, 1)) < 1, draw_number(rng, Choice((5.0,)))
    (3.0, True, 5.0)
    """
    if isinstance(number, Distribution):
        return float(number.draw(rng))
    return float(rng.uniform(*number) if isinstance(number, tuple) else number)


def draw_whole(rng: np.random.Generator, number: Number) -> int:
    """Draw a whole number: a range holds both its ends, of a distribution the nearest is taken.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.distributions import draw_whole
    >>> rng = np.random.default_rng(0)
    >>> sorted({draw_whole(rng, (1, 3)) for _ in range(50)})
    [1, 2, 3]
    """
    if isinstance(number, tuple):
        return int(rng.integers(int(number[0]), int(number[1]) + 1))
    return round(draw_number(rng, number))


def require_number(
    owner: object, name: str, low: float = -math.inf, high: float = math.inf
) -> None:
    """Require the field of a frozen dataclass to be a `Number` that is never drawn outside [low,
    high].

    Raises
    ------
    ValueError
        If it is anything else; the message names the field and what came.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from synthmed import Normal
    >>> from synthmed.distributions import Number, require_number
    >>> @dataclass(frozen=True)
    ... class Haze:
    ...     strength: Number
    ...     def __post_init__(self):
    ...         require_number(self, "strength", 0, 1)
    >>> Haze((0.2, 0.4)).strength
    (0.2, 0.4)
    >>> Haze(Normal(0.5, 0.1))
    Traceback (most recent call last):
    ValueError: Haze: strength must be drawn within [0, 1], give bounds, got \
Normal(mean=0.5, deviation=0.1)
    """
    value = getattr(owner, name)
    if isinstance(value, Distribution):
        least, most = value.support
        if not low <= least <= most <= high:
            limits = f"within [{low:g}, {high:g}]" if math.isfinite(high) else f"at least {low:g}"
            raise ValueError(
                f"{type(owner).__name__}: {name} must be drawn {limits}, give bounds, got {value!r}"
            )
    elif isinstance(validation.plain(value), tuple):
        validation.interval(owner, name, low, high)
    else:
        validation.number(owner, name, low, high)


def require_whole(owner: object, name: str, low: int) -> None:
    """Require the field to be a `Number` of which whole numbers at least `low` are drawn.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from synthmed.distributions import Number, require_whole
    >>> @dataclass(frozen=True)
    ... class Several:
    ...     count: Number
    ...     def __post_init__(self):
    ...         require_whole(self, "count", 1)
    >>> Several(2.5)
    Traceback (most recent call last):
    ValueError: Several: count must be whole numbers at least 1, got 2.5
    """
    require_number(owner, name, low)
    value = getattr(owner, name)
    given = value.values if isinstance(value, Choice) else value
    given = given if isinstance(given, tuple) else (given,)
    if not isinstance(value, Normal | Gamma) and any(v != int(v) for v in given):
        raise ValueError(
            f"{type(owner).__name__}: {name} must be whole numbers at least {low}, got {value!r}"
        )


def from_dict(data: Mapping[str, Any]) -> Distribution:
    """The distribution that a dictionary made by `Distribution.to_dict` describes.

    Examples
    --------
    >>> from synthmed.distributions import from_dict
    >>> from_dict({"type": "Gamma", "shape": 2, "scale": 0.1})
    Gamma(shape=2, scale=0.1)
    """
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "type"}
    cls = Distribution.known[data["type"]]
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    needed = names[: 1 if cls is Choice else 2]
    if not set(needed) <= set(given) <= set(names):
        raise ValueError(
            f"{cls.__name__} has the parameters {', '.join(names)} (needed: "
            f"{', '.join(needed)}), got {', '.join(map(repr, given)) or 'none'}"
        )
    return cls(**given)
