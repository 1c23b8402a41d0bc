"""How a function that says what is broken becomes an invariant."""

from __future__ import annotations

import functools
from collections.abc import Callable

from synthmed.sample import NothingToSee
from synthmed.testing.trial import Fault, Trial

Invariant = Callable[[Trial], None]


def invariant(broken: Callable[[Trial], str | None]) -> Invariant:
    """Make an invariant of a function that says what is broken, or None; of an image rejected by
    the function, nothing.
    """

    @functools.wraps(broken)
    def check(trial: Trial) -> None:
        _ = trial.result
        try:
            what = broken(trial)
        except NothingToSee as rejection:
            what = f"called again it rejects the image, which it took before: {rejection}"
        if what:
            raise Fault(broken.__name__, trial, what)

    return check
