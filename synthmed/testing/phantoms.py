"""Phantoms: small images and masks that break code, each made by one readable call, so that a
failing example can be written down.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import DTypeLike, NDArray

Unit = NDArray[np.float64]

_made: dict[int, str] = {}


def origin(array: NDArray[Any]) -> str | None:
    """The call of `phantom` or `phantom_mask` that made this very array, as source code; None for
    any other array.
    """
    return _made.get(id(array))


def _remember(array: NDArray[Any], call: str) -> NDArray[Any]:
    _made[id(array)] = call
    weakref.finalize(array, _made.pop, id(array), None)
    return array


def phantom(
    content: str,
    shape: tuple[int, ...],
    dtype: DTypeLike = "uint8",
    *,
    value_range: tuple[float, float] | None = None,
    channel_axis: int | None = None,
    layout: str = "plain",
    seed: int = 0,
) -> NDArray[Any]:
    """Make a test image; the same arguments always make the same.

    Parameters
    ----------
    content : str
        One of `CONTENTS`.
    shape : tuple of int
        Of the whole array, channels included.
    dtype : dtype
        Any integer or floating dtype.
    value_range : (low, high), optional
        Within which values lie; by default what is usual: (0, 255) for uint8, (-1024, 3071) for
        int16 (CT), the whole range for other integers, (0, 1) for floats. The content "extreme"
        uses all that the dtype holds.
    channel_axis : int, optional
        Channels differ: every other one is mirrored.
    layout : str
        How the array lies in memory, one of `LAYOUTS`.
    seed : int
        Of what is random in the content.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from synthmed.testing import phantom
    >>> phantom("gradient", (1, 4)).tolist()
    [[0, 85, 170, 255]]
    >>> phantom("smooth", (3, 20, 30), "float32", channel_axis=0).shape
    (3, 20, 30)
    """
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if channel_axis is None:
        unit = CONTENTS[content](shape, rng)
    else:
        spatial = tuple(np.delete(shape, channel_axis).tolist())
        channels = [CONTENTS[content](spatial, rng) for _ in range(shape[channel_axis])]
        unit = np.stack(
            [np.flip(c) if i % 2 else c for i, c in enumerate(channels)], axis=channel_axis
        )
    low, high = _range(kind, content == "extreme") if value_range is None else value_range
    image = LAYOUTS[layout](_scaled(unit, low, high, kind))
    more = {
        "value_range": value_range,
        "channel_axis": channel_axis,
        "layout": layout,
        "seed": seed,
    }
    usual = {"value_range": None, "channel_axis": None, "layout": "plain", "seed": 0}
    words = [f"{k}={v!r}" for k, v in more.items() if v != usual[k]]
    return _remember(
        image, f"phantom({', '.join([repr(content), repr(shape), repr(kind.name), *words])})"
    )


def phantom_mask(kind: str, shape: tuple[int, ...], *, seed: int = 0) -> NDArray[np.bool_]:
    """Make a mask: never empty, and all True only for the kind "everywhere".

    Parameters
    ----------
    kind : str
        One of `MASK_KINDS`.
    shape : tuple of int
    seed : int
        Of what is random in it.

    Returns
    -------
    ndarray of bool

    Examples
    --------
    >>> from synthmed.testing import phantom_mask
    >>> mask = phantom_mask("disc", (20, 30))
    >>> mask.dtype, mask.shape, bool(mask.any()), bool(mask.all())
    (dtype('bool'), (20, 30), True, False)
    """
    rng = np.random.default_rng(seed)
    inside = MASK_KINDS[kind](shape, rng)
    if not inside.any():
        inside[tuple(n // 2 for n in shape)] = True
    if kind != "everywhere" and inside.all() and inside.size > 1:
        inside[(-1,) * inside.ndim] = False
    more = f", seed={seed}" if seed else ""
    return _remember(inside, f"phantom_mask({kind!r}, {shape!r}{more})")


def _range(dtype: np.dtype[Any], extreme: bool) -> tuple[float, float]:
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    if extreme:
        return limits.min, limits.max
    if dtype.kind == "f":
        return 0.0, 1.0
    return (-1024, 3071) if dtype.name == "int16" else (limits.min, limits.max)


def _scaled(unit: Unit, low: float, high: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    # The ends are set as they are: a double does not hold those of 64-bit integers.
    inner = low * (1 - unit) + high * unit
    if dtype.kind in "iu":
        inner = np.clip(
            np.rint(inner), np.nextafter(float(low), np.inf), np.nextafter(float(high), -np.inf)
        )
    image = inner.astype(dtype)
    image[unit == 0] = low
    image[unit == 1] = high
    return image


def _position(shape: tuple[int, ...]) -> NDArray[Any]:
    return np.indices(shape).sum(axis=0)


def _gradient(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    along = _position(shape)
    return along / max(int(along.max()), 1)


def _checkerboard(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    return _position(shape) % 2 * 1.0


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    return rng.random(shape)


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    """Like tissue: a smooth field with a little noise."""
    field = scipy.ndimage.gaussian_filter(rng.normal(size=shape), [n / 8 for n in shape])
    field += 0.05 * np.ptp(field) * rng.normal(size=shape)
    low, high = field.min(), field.max()
    return (field - low) / (high - low) if high > low else np.full(shape, 0.5)


def _saturated(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    return np.clip(2 * _smooth(shape, rng) - 0.5, 0, 1)


def _hot_pixel(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    image = np.zeros(shape)
    image[tuple(rng.integers(shape))] = 1
    return image


def _constant(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    return np.full(shape, rng.choice([0, 0.5, 1]))


def _extreme(shape: tuple[int, ...], rng: np.random.Generator) -> Unit:
    return rng.choice([0, 0.5, 1], size=shape)


def _strided(image: NDArray[Any]) -> NDArray[Any]:
    roomy = np.zeros(tuple(2 * n for n in image.shape), image.dtype)
    every_other = roomy[(slice(None, None, 2),) * image.ndim]
    every_other[...] = image
    return every_other


def _reversed(image: NDArray[Any]) -> NDArray[Any]:
    back = (slice(None, None, -1),) * image.ndim
    return image[back].copy()[back]


def _read_only(image: NDArray[Any]) -> NDArray[Any]:
    image.setflags(write=False)
    return image


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    first = [int(rng.integers(n)) for n in shape]
    inside[
        tuple(slice(a, int(rng.integers(a, n)) + 1) for a, n in zip(first, shape, strict=True))
    ] = True
    return inside


def _line(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    index: list[int | slice] = [int(rng.integers(n)) for n in shape]
    index[int(rng.integers(len(shape)))] = slice(None)
    inside[tuple(index)] = True
    return inside


def _disc(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    grid = np.indices(shape).reshape(len(shape), -1).T
    offset = (grid - rng.uniform(0.3, 0.7, len(shape)) * shape) / (
        rng.uniform(0.2, 0.5) * np.array(shape)
    )
    return ((offset**2).sum(axis=1) <= 1).reshape(shape)


def _ring(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    disc = _disc(shape, rng)
    return disc & ~scipy.ndimage.binary_erosion(disc, iterations=2)


CONTENTS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Unit]] = {
    "gradient": _gradient,
    "smooth": _smooth,
    "noise": _noise,
    "checkerboard": _checkerboard,
    "saturated": _saturated,
    "hot pixel": _hot_pixel,
    "constant": _constant,
    "extreme": _extreme,
}
"""What `phantom` can show, the simplest first."""

LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "plain": lambda image: image,
    "read-only": _read_only,
    "fortran": np.asfortranarray,
    "reversed": _reversed,
    "strided": _strided,
    "big-endian": lambda image: image.astype(image.dtype.newbyteorder(">")),
}
"""How a `phantom` can lie in memory."""

MASK_KINDS: dict[str, Callable[[tuple[int, ...], np.random.Generator], NDArray[np.bool_]]] = {
    "box": _box,
    "disc": _disc,
    "ring": _ring,
    "line": _line,
    "ragged": lambda shape, rng: _smooth(shape, rng) > 0.5,
    "scattered": lambda shape, rng: rng.random(shape) < 0.5,
    "everywhere": lambda shape, rng: np.ones(shape, bool),
}
"""What `phantom_mask` can make, the simplest first."""
