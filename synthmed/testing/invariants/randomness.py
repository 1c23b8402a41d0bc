"""What seeds decide, and what they do not."""

from __future__ import annotations

import pickle
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
    """NumPy's and Python's (and torch's, if loaded) global random state neither matters nor moves."""
    results = []
    for seed in (1, 2):
        with _global_random_state(seed) as moved:
            results.append(trial.run())
            if moved():
                return f"it moved the global random state of {moved()}"
    difference = differences.between(results[0], results[1])
    return f"under another global random state the result differs: {difference}" if difference else None


@invariant
def same_rng_same_result(trial: Trial) -> str | None:
    """The same seed gives the same result, in a generator whatever form the seed has (SPEC 7)."""
    difference = differences.between(trial.result, trial.run())
    if difference:
        return f"called again with the same seed it gives another result: {difference}"
    if isinstance(trial.function, Generator):
        for form in (trial.seed, np.random.SeedSequence(trial.seed), np.random.PCG64(trial.seed)):
            difference = differences.between(trial.result, trial.call(copy_as_it_lies(trial.image), form))
            if difference:
                return f"rng={type(form).__name__} gives another result than the Generator of that seed: {difference}"
    return None


@invariant
def other_rngs_other_results(trial: Trial) -> str | None:
    """Among many seeds some give other results; told by 64, since an unchanged image is a fair draw."""
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
    """Set the global random states; what is yielded names the one that moved. They are set back at the end."""
    torch = sys.modules.get("torch")
    keepers: dict[str, tuple[Any, Any, Any]] = {
        "NumPy": (np.random.get_state, np.random.set_state, np.random.seed),
        "Python": (random.getstate, random.setstate, random.seed),
    }
    if torch is not None:
        keepers["torch"] = (torch.get_rng_state, torch.set_rng_state, torch.manual_seed)
    before = {name: get() for name, (get, _, _) in keepers.items()}
    for _, _, sow in keepers.values():
        sow(seed)
    start = {name: pickle.dumps(get()) for name, (get, _, _) in keepers.items()}
    try:
        yield lambda: ", ".join(name for name, (get, _, _) in keepers.items() if pickle.dumps(get()) != start[name])
    finally:
        for name, (_, put, _) in keepers.items():
            put(before[name])
