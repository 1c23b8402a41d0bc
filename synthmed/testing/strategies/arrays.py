"""Strategies for images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import DTypeLike, NDArray

from synthmed.testing.phantoms import CONTENTS, LAYOUTS, MASK_KINDS, phantom, phantom_mask

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
    kinds = dtype_names(DTYPES if dtype is None else dtype)
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
            drawn_phantoms(
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
    return _drawn_masks(shape, [kind for kind in MASK_KINDS if kind != "everywhere"])


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
    return _drawn_masks(
        shape, ["everywhere", *(kind for kind in MASK_KINDS if kind != "everywhere")]
    )


def drawn_phantoms(
    shape: tuple[int, ...],
    kinds: Sequence[str],
    contents: Sequence[str],
    layouts: Sequence[str],
    **more: Any,
) -> SearchStrategy[NDArray[Any]]:
    """Phantoms of one shape, whose other arguments are drawn."""
    return st.builds(
        phantom,
        st.sampled_from(list(contents)),
        st.just(shape),
        st.sampled_from(list(kinds)),
        layout=st.sampled_from(list(layouts)),
        seed=st.integers(0, 999),
        **{k: st.just(v) for k, v in more.items()},
    )


def _drawn_masks(shape: Any, kinds: Sequence[str]) -> SearchStrategy[NDArray[np.bool_]]:
    where = (
        shapes()
        if shape is None
        else shape
        if isinstance(shape, SearchStrategy)
        else st.just(shape)
    )
    return st.builds(phantom_mask, st.sampled_from(kinds), where, seed=st.integers(0, 999))


def dtype_names(dtype: Any) -> tuple[str, ...]:
    """The names of one dtype or of several."""
    given = dtype if isinstance(dtype, list | tuple) else [dtype]
    return tuple(np.dtype(d).name for d in given)
