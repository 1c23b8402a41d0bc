"""Hypothesis strategies for images, masks, seeds, generators and whole calls.

What they draw shrinks to a call of `phantom` or `phantom_mask`, to a generator's constructor or to
a small int: to something a person can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import DTypeLike, NDArray

from synthmed.anomalies import (
    CutPaste,
    GaussianIntensityChange,
    Identity,
    Sink,
    SmoothIntensityChange,
    Source,
)
from synthmed.compose import OneOf, Repeat
from synthmed.compose import Sequence as InSequence
from synthmed.generator import RNG, Generator
from synthmed.masks import EllipseMask, IntersectionMask, PerlinMask, RectangleMask, UnionMask
from synthmed.presets import PRESETS, preset
from synthmed.testing.phantoms import CONTENTS, LAYOUTS, MASK_KINDS, phantom, phantom_mask
from synthmed.testing.trial import Trial

DTYPES = ("uint8", "int16", "uint16", "float32", "float64")
"""The dtypes of images unless others are asked for."""

_LARGEST_VOLUME_SIDE = 14


def images(
    dtype: DTypeLike | Sequence[DTypeLike] | None = None,
    *,
    side: tuple[int, int] = (1, 40),
    dimensions: int | Sequence[int] = 2,
    channel_axis: int | None = None,
    channels: tuple[int, int] = (1, 4),
    value_range: tuple[float, float] | None = None,
    contents: Sequence[str] = tuple(CONTENTS),
    layouts: Sequence[str] = tuple(LAYOUTS),
) -> SearchStrategy[NDArray[Any]]:
    """Images made to break code; see `synthmed.testing.phantom` for what they show.

    Parameters
    ----------
    dtype : dtype or sequence of dtype, optional
        By default `DTYPES`.
    side : (int, int)
        Bounds of each spatial side, drawn on its own; those of a volume are at most 14 (or as long
        as the lower bound).
    dimensions : int or sequence of int
        Number of spatial axes.
    channel_axis : int, optional
        Where the channels are; by default there are none.
    channels : (int, int)
        Bounds of their number.
    value_range : (low, high), optional
        Of the values; by default what is usual for the dtype.
    contents, layouts : sequence of str
        What the images show, of `synthmed.testing.phantoms.CONTENTS`, and how they lie in memory,
        of its `LAYOUTS`. "extreme" uses all that the dtype holds and is left out where a value
        range is given.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.images("uint8", side=(4, 9)))
    ... def check(value):
    ...     assert value.ndim == 2
    >>> check()
    """
    kinds = _several(DTYPES if dtype is None else dtype)
    if value_range is not None:
        contents = [c for c in contents if c != "extreme"]

    @st.composite
    def drawn(draw: st.DrawFn) -> NDArray[Any]:
        shape = list(draw(shapes(side, dimensions)))
        if channel_axis is not None:
            shape.insert(
                channel_axis if channel_axis >= 0 else len(shape) + 1 + channel_axis,
                draw(st.integers(*channels)),
            )
        return draw(
            _phantoms(
                tuple(shape),
                kinds,
                contents,
                layouts,
                value_range=value_range,
                channel_axis=channel_axis,
            )
        )

    return drawn()


def shapes(
    side: tuple[int, int] = (1, 40), dimensions: int | Sequence[int] = 2
) -> SearchStrategy[tuple[int, ...]]:
    """Spatial shapes, as `images` draws them.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.shapes())
    ... def check(value):
    ...     assert len(value) == 2
    >>> check()
    """
    plane = st.integers(*side)
    volume = st.integers(side[0], max(side[0], min(side[1], _LARGEST_VOLUME_SIDE)))
    counts = dimensions if isinstance(dimensions, Sequence) else (dimensions,)
    return st.one_of([st.tuples(*[plane if n < 3 else volume] * n) for n in counts])


def masks(
    shape: tuple[int, ...] | SearchStrategy[tuple[int, ...]] | None = None,
) -> SearchStrategy[NDArray[np.bool_]]:
    """Masks: boxes, discs, rings, thin lines, ragged and scattered ones, many on the border; never
    empty, never all True.

    Parameters
    ----------
    shape : tuple of int or strategy, optional
        By default that of small images. An array of a single pixel is all True.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.masks((8, 9)))
    ... def check(value):
    ...     assert value.any()
    >>> check()
    """
    return _regions(shape, [kind for kind in MASK_KINDS if kind != "everywhere"])


def rois(
    shape: tuple[int, ...] | SearchStrategy[tuple[int, ...]] | None = None,
) -> SearchStrategy[NDArray[np.bool_]]:
    """Regions of interest: as `masks`, or everywhere; never empty.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.rois((8, 9)))
    ... def check(value):
    ...     assert value.shape == (8, 9)
    >>> check()
    """
    return _regions(shape, ["everywhere", *(kind for kind in MASK_KINDS if kind != "everywhere")])


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


def mask_generators(depth: int = 1) -> SearchStrategy[Generator]:
    """Masks with parameters drawn; `depth` overlays, or choices, deep.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.mask_generators())
    ... def check(value):
    ...     assert value.is_mask
    >>> check()
    """
    wide = st.sampled_from([(0.2, 0.6), (0.1, 0.6), (0.3, 0.8), (0.4, 0.4), (0.5, 1.0)])
    turn = st.sampled_from([(-90.0, 90.0), (0.0, 0.0), (30.0, 30.0), (-180.0, 180.0)])
    overlap = st.sampled_from([0.5, 0.0, 0.9])
    perlin = st.builds(
        PerlinMask,
        box=wide,
        cells=st.integers(1, 4),
        threshold=st.sampled_from([0.3, 0.0, -0.5]),
        least_cover=st.sampled_from([0.2, 0.0, 0.3]),
        rotation=turn,
        roi_overlap=overlap,
    )
    figures = [
        st.builds(
            figure,
            box=wide,
            shear=st.sampled_from([0.2, 0.0, 0.5]),
            rotation=turn,
            roi_overlap=overlap,
            side_scale=st.sampled_from([0.1, 0.3]),
        )
        for figure in (EllipseMask, RectangleMask)
    ]
    simple = st.one_of(
        st.sampled_from([PerlinMask(), EllipseMask(), RectangleMask()]), perlin, *figures
    )
    if depth == 0:
        return simple
    inner = mask_generators(depth - 1)
    return st.one_of(
        simple,
        *[st.builds(several, inner, inner) for several in (UnionMask, IntersectionMask, OneOf)],
    )


def anomalies(mask: SearchStrategy[Generator] | None = None) -> SearchStrategy[Generator]:
    """Single anomalies with parameters drawn, on any mask.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.anomalies())
    ... def check(value):
    ...     assert not value.is_mask
    >>> check()
    """
    mask = mask_generators() if mask is None else mask
    order = st.sampled_from([1, 3, 0])
    cut = st.builds(
        CutPaste,
        mask,
        blend=st.sampled_from(["direct", "poisson", "mixed"]),
        order=order,
        rotation=st.sampled_from([(-45.0, 45.0), (0.0, 0.0)]),
        scale=st.sampled_from([0.1, 0.0, 1.0]),
        source_share=st.sampled_from([0.8, 1.0, 0.3]),
        label=st.sampled_from(["mask", "changed"]),
    )
    textured = st.builds(
        GaussianIntensityChange,
        mask,
        sigmas=st.sampled_from([(4.0, 7.0), (0.0,)]),
        gamma=st.sampled_from([(0.4, 0.6), (0.0, 1.0)]),
        texture=st.sampled_from(["box", "image"]),
    )
    smooth = st.builds(SmoothIntensityChange, mask, least_step=st.sampled_from([15.0, 0.0, 255.0]))
    radial = [
        st.builds(r, mask, exponent=st.sampled_from([(0.5, 2.0), (0.0, 1.0)]), order=order)
        for r in (Source, Sink)
    ]
    return st.one_of(st.builds(SmoothIntensityChange), smooth, textured, cut, *radial)


def recipes() -> SearchStrategy[Generator]:
    """Anomalies and compositions of them: presets, one of several, several in order, one several
    times.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.recipes())
    ... def check(value):
    ...     assert not value.is_mask
    >>> check()
    """
    single = st.one_of(st.just(Identity()), anomalies())
    some = st.lists(single, min_size=1, max_size=3)
    return st.one_of(
        single,
        st.sampled_from(PRESETS).map(preset),
        some.map(lambda members: OneOf(*members)),
        some.map(lambda members: InSequence(*members)),
        st.builds(Repeat, single, times=st.sampled_from([(1, 2), (0, 1), (3,)])),
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
    kinds = _several(DTYPES if dtype is None else dtype)
    image = draw(_phantoms(tuple(full), kinds, tuple(CONTENTS), tuple(LAYOUTS), channel_axis=axis))
    donor = draw(
        st.none()
        | _phantoms(
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


def _phantoms(
    shape: tuple[int, ...],
    kinds: Sequence[str],
    contents: Sequence[str],
    layouts: Sequence[str],
    **more: Any,
) -> SearchStrategy[NDArray[Any]]:
    return st.builds(
        phantom,
        st.sampled_from(list(contents)),
        st.just(shape),
        st.sampled_from(list(kinds)),
        layout=st.sampled_from(list(layouts)),
        seed=st.integers(0, 999),
        **{k: st.just(v) for k, v in more.items()},
    )


def _regions(shape: Any, kinds: Sequence[str]) -> SearchStrategy[NDArray[np.bool_]]:
    where = (
        shapes()
        if shape is None
        else shape
        if isinstance(shape, SearchStrategy)
        else st.just(shape)
    )
    return st.builds(phantom_mask, st.sampled_from(kinds), where, seed=st.integers(0, 999))


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


def _several(dtype: Any) -> tuple[str, ...]:
    given = dtype if isinstance(dtype, list | tuple) else [dtype]
    return tuple(np.dtype(d).name for d in given)


__all__ = [
    "DTYPES",
    "anomalies",
    "images",
    "mask_generators",
    "masks",
    "recipes",
    "rngs",
    "rois",
    "shapes",
    "trials",
]
