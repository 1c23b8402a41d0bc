"""Strategies for seeds and for whole calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import DTypeLike, NDArray

from synthmed.generator import RNG
from synthmed.testing.phantoms import CONTENTS, LAYOUTS
from synthmed.testing.strategies.arrays import DTYPES, drawn_phantoms, dtype_names, rois, shapes
from synthmed.testing.trial import Trial


def rngs() -> SearchStrategy[RNG]:
    """All that may be given as `rng` and can be repeated: ints, SeedSequences, BitGenerators,
    Generators.

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.rngs())
    ... def check(value):
    ...     assert 0 <= np.random.default_rng(value).random() < 1
    >>> check()
    """
    seeds = st.integers(0, 2**32)
    return st.one_of(
        seeds,
        seeds.map(np.random.SeedSequence),
        seeds.map(np.random.PCG64),
        seeds.map(np.random.default_rng),
    )


@st.composite
def trials(
    draw: st.DrawFn,
    function: Any,
    images: SearchStrategy[NDArray[Any]] | None = None,
    *,
    dtype: DTypeLike | Sequence[DTypeLike] | None = None,
    side: tuple[int, int] = (5, 40),
    dimensions: int | Sequence[int] = (2, 3),
    value_range: tuple[float, float] | None = None,
    channel_axis: int | None = None,
) -> Trial:
    """Calls of a generator (or of one that a strategy draws), with all that may come with a call.

    Parameters
    ----------
    function : Generator, callable, or strategy of either
        What is called. Only a generator gets regions of interest, donors, spacings and value ranges
        of its own.
    images : strategy, optional
        Of the images. By default they are drawn anew with dtype, side and dimensions as given, with
        and without channels.
    dtype, side, dimensions
        As for `images`.
    value_range, channel_axis
        Of the images given.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.trials(strategies.anomalies()))
    ... def check(value):
    ...     assert value.image.size > 0
    >>> check()
    """
    called = draw(function) if isinstance(function, SearchStrategy) else function
    seed = draw(st.integers(0, 2**32))
    if images is not None:
        return Trial(called, draw(images), seed, value_range=value_range, channel_axis=channel_axis)
    shape = draw(shapes(side, dimensions))
    n = len(shape)
    axis = draw(st.none() | st.integers(-n - 1, n))
    full = list(shape)
    if axis is not None:
        full.insert(axis % (n + 1), draw(st.integers(1, 4)))
    kinds = dtype_names(DTYPES if dtype is None else dtype)
    image = draw(
        drawn_phantoms(tuple(full), kinds, tuple(CONTENTS), tuple(LAYOUTS), channel_axis=axis)
    )
    donor = draw(
        st.none()
        | drawn_phantoms(
            tuple(full), (image.dtype.name,), ("smooth", "noise"), ("plain",), channel_axis=axis
        )
    )
    return Trial(
        called,
        image,
        seed,
        roi=draw(st.none() | rois(shape)),
        donors=None if donor is None else [donor],
        value_range=draw(st.none() | _ranges(image)),
        channel_axis=axis,
        spacing=draw(st.none() | st.tuples(*[st.sampled_from([1.0, 0.5, 3.0])] * n)),
    )


def _ranges(image: NDArray[Any]) -> SearchStrategy[tuple[float, float]]:
    """Value ranges wider than the image's own, narrower, and, for integers, between whole
    numbers.
    """
    low, high = image.min().item(), image.max().item()
    if image.dtype.kind == "f":
        if not 0 < high * 0.5 - low * 0.5 < 1e300:
            return st.just((low / 2, high / 2) if high > low else (-1.0, 1.0))
        return st.sampled_from([(low - 1.0, high + 1.0), (low, low + (high - low) / 2)])
    limits = np.iinfo(image.dtype)
    choices: list[tuple[float, float]] = [(int(limits.min), int(limits.max)), (low, high)]
    if max(-low, high) < 2**50:  # else there are no doubles between them
        choices.append((low + 0.25, high - 0.25))
    return st.sampled_from([(a, b) for a, b in choices if b - a > 2])
