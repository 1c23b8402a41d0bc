"""The checks: many calls drawn by Hypothesis, the invariants on each, and the smallest failing call
told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy
from numpy.typing import DTypeLike, NDArray

from synthmed.generator import Generator
from synthmed.sample import NothingToSee
from synthmed.testing import strategies
from synthmed.testing.adapters import adapted
from synthmed.testing.invariants import (
    EVERY_CALL,
    MANY_SEEDS,
    OPTIONAL,
    Invariant,
    other_rngs_other_results,
)
from synthmed.testing.phantoms import CONTENTS, LAYOUTS, phantom
from synthmed.testing.trial import DoesNotApply, Fault, Trial

_CANDIDATES = 8


@dataclasses.dataclass
class Report:
    """What a check that found no fault has done.

    Attributes
    ----------
    calls : int
        How many calls were drawn.
    rejected : int
        How many of them the function rejected with `NothingToSee`.
    applied : dict
        For each invariant's name, on how many calls it was judged.
    not_applied : dict
        For each invariant that was never judged, why.

    Examples
    --------
    >>> from synthmed import EllipseMask
    >>> from synthmed.testing import check_anomaly
    >>> check_anomaly(EllipseMask(), examples=5).calls
    5
    """

    calls: int = 0
    rejected: int = 0
    applied: dict[str, int] = dataclasses.field(default_factory=dict)
    not_applied: dict[str, str] = dataclasses.field(default_factory=dict)


def check_anomaly(
    generator: Generator,
    *,
    invariants: Iterable[str | Invariant] | None = None,
    without: Iterable[str | Invariant] = (),
    examples: int | None = None,
    images: SearchStrategy[NDArray[Any]] | None = None,
    dtype: DTypeLike | list[DTypeLike] | None = None,
    side: tuple[int, int] = (5, 40),
    dimensions: int | tuple[int, ...] = (2, 3),
) -> Report:
    """Check the contract of a generator of anomalies or masks: every invariant that applies, on
    calls of every kind.

    Parameters
    ----------
    generator : Generator
    invariants : iterable of str or function, optional
        Which to check; by default all.
    without : iterable of str or function
        Which to leave out.
    examples : int, optional
        How many calls to draw; by default Hypothesis's setting (100).
    images : strategy, optional
        Of grey images, in place of those drawn by default.
    dtype, side, dimensions
        Of the images drawn by default, as in `strategies.images`. They come with and without
        channels, regions of interest, donors, value ranges and voxel sizes.

    Returns
    -------
    Report

    Raises
    ------
    Fault
        If an invariant does not hold: an AssertionError that tells the smallest call found and the
        code to repeat it.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import check_anomaly
    >>> report = check_anomaly(CutPaste(), examples=5)
    >>> report.calls
    5
    """
    if not isinstance(generator, Generator):
        raise TypeError(
            f"generator must be a synthmed Generator, got {generator!r}; for a function use "
            f"check_augmentation"
        )
    trials = strategies.trials(generator, images, dtype=dtype, side=side, dimensions=dimensions)
    chosen = _chosen(invariants, without, EVERY_CALL + MANY_SEEDS)
    return _check(trials, chosen, invariants is not None, examples, _telling(generator, images))


def check_augmentation(
    function: Callable[..., Any],
    *,
    images: SearchStrategy[NDArray[Any]] | None = None,
    invariants: Iterable[str | Invariant] | None = None,
    without: Iterable[str | Invariant] = (),
    examples: int | None = None,
    dtype: DTypeLike | list[DTypeLike] | None = None,
    side: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
    channel_axis: int | None = None,
) -> Report:
    """Check an augmentation: any function of an image and a random generator, or a transform of
    MONAI, TorchIO, albumentations or torchvision as it is.

    Parameters
    ----------
    function : callable
        ``f(image, rng)``, `rng` a `numpy.random.Generator`. It returns an image, or a pair (image,
        mask) whose mask says where it changed the image. It may raise `synthmed.NothingToSee` to
        reject an image; any other exception is a fault. A transform of one of the four libraries
        is found by its type, gets images of the dtypes that its library documents, and is seeded in
        its library's own way.
    images : strategy, optional
        Of the images, say `synthmed.testing.strategies.images` with arguments of its own.
    invariants, without, examples
        As in `check_anomaly`. By default all that any function can keep; those in
        `synthmed.testing.invariants.OPTIONAL` only where they are asked for, and
        `other_rngs_other_results` of a library's transform only where its type says that it is
        random.
    dtype, side
        Of the images drawn by default: in the plane, without channels, with values as usual for the
        dtype, in the machine's byte order; sides from 8 to 40, for a library's transform from 24 to
        64.
    value_range : (low, high), optional
        Of the images, and then also of what the function may return; by default that need only be
        finite.
    channel_axis : int, optional
        Where the images have their channels.

    Returns
    -------
    Report

    Raises
    ------
    Fault
        As `check_anomaly` does.

    Examples
    --------
    >>> from synthmed.testing import check_augmentation
    >>> report = check_augmentation(lambda image, rng: rng.permutation(image), examples=5)
    >>> report.calls
    5
    """
    if not callable(function):
        raise TypeError(f"function must be callable as f(image, rng), got {function!r}")
    foreign = adapted(function, channel_axis)
    if foreign is not None:
        function, dtype = foreign, list(foreign.library.dtypes) if dtype is None else dtype
        side = (24, 64) if side is None else side
    telling: list[Trial] = []
    if images is None:
        if channel_axis is None:
            kind = dtype[0] if isinstance(dtype, list) else dtype
            large = phantom("smooth", (96, 128), kind or "uint8", value_range=value_range)
            telling = [Trial(function, large, value_range=value_range)]
        images = strategies.images(
            dtype,
            side=side or (8, 40),
            value_range=value_range,
            channel_axis=channel_axis,
            contents=[c for c in CONTENTS if c != "extreme"],
            layouts=[k for k in LAYOUTS if k != "big-endian"],
        )
    optional = OPTIONAL
    if foreign is not None and not foreign.library.is_random(foreign.transform):
        optional = (*OPTIONAL, other_rngs_other_results)
    usual = tuple(i for i in EVERY_CALL + MANY_SEEDS if i not in optional)
    chosen = _chosen(invariants, without, usual)
    trials = strategies.trials(function, images, value_range=value_range, channel_axis=channel_axis)
    return _check(trials, chosen, invariants is not None, examples, telling)


def _telling(generator: Generator, images: SearchStrategy[NDArray[Any]] | None) -> list[Trial]:
    """A call on which many seeds tell much, where no images of a certain kind are asked for."""
    return [Trial(generator, phantom("smooth", (24, 40), "float64"))] if images is None else []


def _check(
    trials: SearchStrategy[Trial],
    chosen: list[Invariant],
    is_asked_for: bool,
    examples: int | None,
    telling: list[Trial],
) -> Report:
    report, faults = Report(), []
    candidates: list[Trial] = []
    every, many = [[i for i in chosen if (i in MANY_SEEDS) == wanted] for wanted in (False, True)]

    @settings(
        max_examples=settings().max_examples if examples is None else examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.nested_given, HealthCheck.too_slow],
    )  # how slow the function is, is not ours
    @given(trials)
    def judge(trial: Trial) -> None:
        report.calls += 1
        try:
            _ = trial.result
            for invariant in every:
                _judge(invariant, trial, report)
        except NothingToSee as rejection:
            report.rejected += 1
            report.not_applied.setdefault("all", str(rejection))
            return
        except Fault as fault:
            faults.append(fault)
            raise
        candidates.append(trial)
        candidates.sort(key=lambda t: -t.image.size)
        del candidates[_CANDIDATES:]

    try:
        judge()
    except Flaky:
        last = faults[-1]
        raise Fault(
            last.invariant,
            last.trial,
            last.what,
            "\n\nThe same call did not always fail: the function hangs on more than image and rng.",
        ) from None
    except Fault:
        last = faults[-1]
        raise Fault(last.invariant, last.trial, last.what) from last.__cause__
    if report.rejected == report.calls:
        raise AssertionError(
            f"nothing was checked: all {report.calls} images were rejected "
            f"({report.not_applied['all']})"
        )
    report.not_applied.pop("all", None)
    for invariant in many:
        _judge_for_one(invariant, telling + candidates, report)
    report.not_applied = {
        name: why for name, why in report.not_applied.items() if name not in report.applied
    }
    if is_asked_for and report.not_applied:
        raise ValueError(
            "; ".join(
                f"{name} was asked for, but {why}" for name, why in report.not_applied.items()
            )
        )
    return report


def _judge(invariant: Invariant, trial: Trial, report: Report) -> None:
    try:
        invariant(trial)
        report.applied[invariant.__name__] = report.applied.get(invariant.__name__, 0) + 1
    except DoesNotApply as reason:
        report.not_applied[invariant.__name__] = str(reason)


def _judge_for_one(invariant: Invariant, candidates: list[Trial], report: Report) -> None:
    """Judge by any of several images: it is a fault if some break it and none keeps it."""
    first = None
    for trial in candidates:
        try:
            _judge(invariant, trial, report)
        except Fault as fault:
            first = first or fault
            continue
        except NothingToSee:
            continue
        if invariant.__name__ in report.applied:
            return
    if first is not None:
        raise first


def _chosen(
    invariants: Iterable[str | Invariant] | None,
    without: Iterable[str | Invariant],
    usual: tuple[Invariant, ...],
) -> list[Invariant]:
    known = {i.__name__: i for i in EVERY_CALL + MANY_SEEDS}

    def named(which: str | Invariant) -> Invariant:
        name = which if isinstance(which, str) else which.__name__
        if isinstance(which, str) and name not in known:
            raise ValueError(f"unknown invariant {name!r}; known: {', '.join(known)}")
        return known.get(name, which)  # type: ignore[arg-type]

    left_out = [named(i) for i in without]
    return [
        i for i in (usual if invariants is None else map(named, invariants)) if i not in left_out
    ]
