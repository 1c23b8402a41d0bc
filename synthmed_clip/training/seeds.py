"""One seed for a whole fit, and what each random number of it is for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import BitGenerator, Generator, SeedSequence

RNG = int | Sequence[int] | SeedSequence | BitGenerator | Generator | None
Entropy = tuple[int, ...]

# First entries of the spawn keys.
INITIAL, SYNTHETIC, ORDER, CALIBRATION, FOLDS, KIND, HELD_OUT = range(7)


def draw_entropy(rng: RNG) -> Entropy:
    """Draw the numbers from which all others of a fit are derived.

    Examples
    --------
    >>> draw_entropy(7) == draw_entropy(np.random.default_rng(7))
    True
    """
    return tuple(int(number) for number in np.random.default_rng(rng).integers(2**32, size=4))


def seed_of(entropy: Entropy, *key: int) -> int:
    """Return a seed for something that takes an integer, by what it is for.

    Parameters
    ----------
    entropy : tuple of int
        Of the fit, as `draw_entropy` gives it.
    *key : int
        What it is for; another key gives another seed.

    Examples
    --------
    >>> entropy = draw_entropy(7)
    >>> seed_of(entropy, 0) == seed_of(entropy, 0), seed_of(entropy, 0) == seed_of(entropy, 1)
    (True, False)
    """
    return int(SeedSequence(entropy, spawn_key=key).generate_state(1)[0])
