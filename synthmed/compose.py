"""Generators made of generators: one of several, all in order, one several times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthmed.distributions import Number, draw_whole, require_whole
from synthmed.generator import Generator, Outcome, Parameters, nothing, outcome_of
from synthmed.sample import NothingToSee
from synthmed.scene import Region, Scene

_TRIES = 20


@dataclass(frozen=True, repr=False, init=False)
class OneOf(Generator):
    """One of several masks or anomalies, drawn anew in each call.

    ``a | b`` is ``OneOf(a, b)``.

    Parameters
    ----------
    *options : Generator
        Masks alone, or anomalies and their compositions alone.
    weights : sequence of float, optional
        Their relative frequencies; equal by default.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import CutPaste, OneOf, Sink, Source
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> recipe = OneOf(CutPaste(), Source(), weights=(0.9, 0.1))
    >>> recipe(scan, rng=7).record["anomalies"]
    ['CutPaste']
    >>> Source() | Sink()
    OneOf(Source(), Sink())
    """

    options: tuple[Generator, ...] = ()
    weights: tuple[float, ...] | None = None

    def __init__(self, *options: Generator, weights: Iterable[float] | None = None) -> None:
        options = _members(self, options)
        if len({o.is_mask for o in options}) > 1:
            raise TypeError(f"OneOf takes masks alone or anomalies alone, got {options!r}")
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "weights", _weights(self, weights, len(options)))

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Generator:
        return cls(*fields.pop("options", ()), **fields)

    def _repr_arguments(self) -> list[str]:
        return [repr(o) for o in self.options] + (
            [f"weights={self.weights!r}"] if self.weights else []
        )

    @property
    def is_mask(self) -> bool:  # type: ignore[override]
        """Whether the options are masks."""
        return self.options[0].is_mask

    def __or__(self, other: Generator) -> Generator:
        """One more option; equal weights stay equal."""
        if not isinstance(other, Generator) or self.weights is not None:
            return super().__or__(other)
        return OneOf(
            *self.options,
            *(other.options if isinstance(other, OneOf) and not other.weights else [other]),
        )

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Region | Outcome]:
        """Draw the option, then let it run."""
        option = _draw_index(rng, self.weights, len(self.options))
        parameters, result = self.options[option].run(rng, scene)
        return {"option": option, "parameters": parameters}, result

    def apply(self, parameters: Parameters, scene: Scene) -> Region | Outcome:
        """Apply the option that was drawn."""
        return self.options[parameters["option"]].apply(parameters["parameters"], scene)


@dataclass(frozen=True, repr=False, init=False)
class Sequence(Generator):
    """All of several anomalies in order, each drawn on the result of the one before; the mask is
    the union.

    ``a + b`` is ``Sequence(a, b)``.

    Parameters
    ----------
    *members : Generator
        Anomalies and their compositions.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import GaussianIntensityChange, Source
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> recipe = Source() + GaussianIntensityChange()
    >>> recipe
    Sequence(Source(), GaussianIntensityChange())
    >>> recipe(scan, rng=7).record["anomalies"]
    ['Source', 'GaussianIntensityChange']
    """

    members: tuple[Generator, ...] = ()

    def __init__(self, *members: Generator) -> None:
        object.__setattr__(self, "members", _anomalies(self, _members(self, members)))

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Generator:
        return cls(*fields.pop("members", ()), **fields)

    def _repr_arguments(self) -> list[str]:
        return [repr(m) for m in self.members]

    def __add__(self, other: Generator) -> Generator:
        """One more member."""
        if not isinstance(other, Generator):
            return NotImplemented
        return Sequence(*self.members, *(other.members if isinstance(other, Sequence) else [other]))

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Outcome]:
        """Run the members in order."""
        return _run_all(self.members, rng, scene, self)

    def apply(self, parameters: Parameters, scene: Scene) -> Outcome:
        """Apply what was drawn, in order."""
        return _apply_all(iter(self.members), parameters, scene)


@dataclass(frozen=True, repr=False)
class Repeat(Generator):
    """An anomaly a random number of times, each on the result of the one before; the mask is the
    union.

    Parameters
    ----------
    member : Generator
        An anomaly or a composition.
    times : Number
        How often, a whole number: ``2``, ``(1, 3)``, or ``Choice((1, 2, 4), weights=(3, 2, 1))``.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import CutPaste, Repeat
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> Repeat(CutPaste(), times=3)(scan, rng=7).record["anomalies"]
    ['CutPaste', 'CutPaste', 'CutPaste']
    """

    member: Generator
    times: Number = (1, 2)

    def __post_init__(self) -> None:
        _anomalies(self, _members(self, (self.member,)))
        require_whole(self, "times", 0)

    def _repr_arguments(self) -> list[str]:
        return [repr(self.member), *super()._repr_arguments()[1:]]

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Outcome]:
        """Draw the number, then run the member that often."""
        times = draw_whole(rng, self.times)
        return _run_all((self.member,) * times, rng, scene, self)

    def apply(self, parameters: Parameters, scene: Scene) -> Outcome:
        """Apply what was drawn, in order."""
        return _apply_all(iter([self.member] * len(parameters["members"])), parameters, scene)


def _run_all(
    members: tuple[Generator, ...], rng: np.random.Generator, scene: Scene, owner: Generator
) -> tuple[Parameters, Outcome]:
    for _ in range(_TRIES):
        drawn = []
        total = nothing(scene)
        for member in members:
            parameters, outcome = member.run(rng, total.scene)
            drawn.append(parameters)
            total = _then(total, outcome_of(total.scene, outcome))
        # Each can be seen on the result of the one before, but a second may undo a first; each has
        # its share in the region of interest, but what they share there counts once in the union.
        if len(total.anomalies) < 2 or (
            scene.visibly_differs(total.scene)
            and total.scene.is_in_roi(total.mask, total.roi_overlap)
        ):
            return {"members": drawn}, total
    outside = "" if scene.roi is None else ", or lay outside the region of interest,"
    raise NothingToSee(f"{type(owner).__name__} undid its own changes{outside} in {_TRIES} draws")


def _apply_all(members: Iterator[Generator], parameters: Parameters, scene: Scene) -> Outcome:
    total = nothing(scene)
    for member, drawn in zip(members, parameters["members"], strict=True):
        total = _then(total, outcome_of(total.scene, member.apply(drawn, total.scene)))
    return total


def _then(first: Outcome, second: Outcome) -> Outcome:
    if second.moved and first.mask.any():
        raise ValueError(
            "a distractor that moves the image came after an anomaly, whose mask it would leave "
            "behind; put it first in the sequence"
        )
    soft = np.maximum(first.label, second.label) if second.scene.soft else None
    return replace(
        second,
        soft=soft,
        mask=first.mask | second.mask,
        anomalies=first.anomalies + second.anomalies,
        roi_overlap=min(first.roi_overlap, second.roi_overlap),
        moved=first.moved or second.moved,
    )


def _draw_index(rng: np.random.Generator, weights: tuple[float, ...] | None, count: int) -> int:
    if weights is None:
        return int(rng.integers(count))
    ends = np.cumsum(weights)
    return int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))


def _members(owner: Generator, members: tuple[Any, ...]) -> tuple[Generator, ...]:
    if len(members) == 1 and isinstance(members[0], list | tuple):
        members = tuple(members[0])
    if not members or not all(isinstance(m, Generator) for m in members):
        raise TypeError(f"{type(owner).__name__} takes one or more generators, got {members!r}")
    return members


def _anomalies(owner: Generator, members: tuple[Generator, ...]) -> tuple[Generator, ...]:
    if any(m.is_mask for m in members):
        raise TypeError(
            f"{type(owner).__name__} takes anomalies, not masks (for those UnionMask, "
            f"IntersectionMask)"
        )
    return members


def _weights(
    owner: Generator, weights: Iterable[float] | None, count: int
) -> tuple[float, ...] | None:
    if weights is None:
        return None
    values = tuple(float(w) for w in weights)
    if len(values) != count or not all(0 <= w < np.inf for w in values) or sum(values) <= 0:
        raise ValueError(
            f"{type(owner).__name__}: weights must be {count} numbers, none negative, not all 0, "
            f"got {weights!r}"
        )
    return values
