"""What seeds decide, and what they do not."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from synthmed.generator import Generator
from synthmed.sample import NothingToSee
from synthmed.testing import differences
from synthmed.testing.invariants.base import invariant
from synthmed.testing.trial import DoesNotApply, Trial, copy_as_it_lies


@invariant
def independent_of_global_random_state(trial: Trial) -> str | None:
    """NumPy's and Python's (and torch's, if loaded) global random state neither matters
    nor moves.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.independent_of_global_random_state(trial)
    """
    results = []
    for seed in (1, 2):
        with _global_random_state(seed) as moved:
            results.append(trial.run())
            if moved():
                return f"it moved the global random state of {moved()}"
    difference = differences.between(results[0], results[1])
    return (
        f"under another global random state the result differs: {difference}"
        if difference
        else None
    )


@invariant
def same_rng_same_result(trial: Trial) -> str | None:
    """The same seed gives the same result, in a generator whatever form the seed has (SPEC 7).

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.same_rng_same_result(trial)
    """
    difference = differences.between(trial.result, trial.run())
    if difference:
        return f"called again with the same seed it gives another result: {difference}"
    if isinstance(trial.function, Generator):
        for form in (trial.seed, np.random.SeedSequence(trial.seed), np.random.PCG64(trial.seed)):
            difference = differences.between(
                trial.result, trial.call(copy_as_it_lies(trial.image), form)
            )
            if difference:
                return (
                    f"rng={type(form).__name__} gives another result than the Generator "
                    f"of that seed: {difference}"
                )
    return None


@invariant
def other_rngs_other_results(trial: Trial) -> str | None:
    """Among many seeds some give other results; told by 64, since an unchanged image is a fair
    draw.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.other_rngs_other_results(trial)
    """
    moved = False
    for seed in range(trial.seed + 1, trial.seed + 65):
        try:
            result = trial.run(seed=seed)
        except NothingToSee:
            continue
        if differences.between(trial.result, result):
            return None
        moved = moved or not differences.same(result.image, trial.image)
    if not moved:
        raise DoesNotApply("nothing ever changes")
    return "64 other seeds all give the same result (if that is meant, leave this invariant out)"


@contextmanager
def _global_random_state(seed: int) -> Iterator[Callable[[], str]]:
    """Set the global random states; what is yielded names those that moved. They are set back at
    the end.
    """
    keepers = _keepers()
    before = {name: get() for name, (get, _, _, _) in keepers.items()}
    for _, _, sow, _ in keepers.values():
        sow(seed)
    start = {name: content(get()) for name, (get, _, _, content) in keepers.items()}
    try:
        yield lambda: ", ".join(
            n for n, (get, _, _, content) in keepers.items() if content(get()) != start[n]
        )
    finally:
        for name, (_, put, _, _) in keepers.items():
            put(before[name])


def _keepers() -> dict[str, tuple[Callable[..., Any], ...]]:
    """For each global random state how to get, set and seed it, and its content as something that
    compares.
    """
    keepers: dict[str, tuple[Callable[..., Any], ...]] = {
        "NumPy": (
            np.random.get_state,
            np.random.set_state,
            np.random.seed,
            lambda s: (s[1].tobytes(), s[2:]),
        ),
        "Python": (random.getstate, random.setstate, random.seed, lambda s: s),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        keepers["torch"] = (
            torch.get_rng_state,
            torch.set_rng_state,
            torch.manual_seed,
            lambda s: s.numpy().tobytes(),
        )
    return keepers
