"""The image as a generator sees it, with all that comes with the call."""

from __future__ import annotations

import itertools
import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed import validation
from synthmed.sample import NothingToSee

Box = tuple[slice, ...]

_THIN = 7  # voxels


@dataclass(frozen=True, eq=False)
class Figure:
    """An ellipse or a parallelogram about the middle of its box (in 3-D, their likes)."""

    to_unit: NDArray[np.float64]
    """Maps offsets from the middle, in pixels, to the unit ball or to the cube [-1, 1]^n."""
    is_box: bool


@dataclass(frozen=True, eq=False)
class Region:
    """A mask at its place in the image.

    Attributes
    ----------
    corner : tuple of int
        Index of the first pixel of its box.
    inside : ndarray of bool
        The mask within its box.
    figure : Figure or None
        Its closed form, where it has one.
    roi_overlap : float
        The least share in the region of interest that its mask asks for, of itself and of a label
        within it.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Region
    >>> region = Region((2, 3), np.ones((4, 5), bool))
    >>> region.box
    (slice(2, 6, None), slice(3, 8, None))
    >>> grown = region.grown_box(3, shape=(10, 10))
    >>> grown
    (slice(0, 9, None), slice(0, 10, None))
    >>> region.core(grown)
    (slice(2, 6, None), slice(3, 8, None))
    >>> region.inside_of(grown).shape, region.inside_of(grown).sum()
    ((9, 10), np.int64(20))
    """

    corner: tuple[int, ...]
    inside: NDArray[np.bool_]
    figure: Figure | None = None
    roi_overlap: float = 0.5

    @property
    def box(self) -> Box:
        """Slices that cut the region's box out of an array of the image's spatial shape."""
        return tuple(slice(c, c + n) for c, n in zip(self.corner, self.inside.shape, strict=True))

    def grown_box(self, margin: int | Sequence[int], shape: Sequence[int]) -> Box:
        """The box, larger by a margin on every side, as far as the image goes on.

        Parameters
        ----------
        margin : int or sequence of int
            In pixels, one for all axes or one an axis.
        shape : sequence of int
            The image's spatial shape.

        Returns
        -------
        tuple of slice
        """
        margins = [margin] * len(self.corner) if isinstance(margin, int) else margin
        return tuple(
            slice(max(s.start - m, 0), min(s.stop + m, n))
            for s, m, n in zip(self.box, margins, shape, strict=True)
        )

    def core(self, grown: Box) -> Box:
        """Where the region's box lies in a larger one: slices that cut it out of an array of that
        one's shape.
        """
        return tuple(
            slice(s.start - g.start, s.stop - g.start) for s, g in zip(self.box, grown, strict=True)
        )

    def inside_of(self, grown: Box) -> NDArray[np.bool_]:
        """The mask within a larger box."""
        mask = np.zeros([g.stop - g.start for g in grown], bool)
        mask[self.core(grown)] = self.inside
        return mask


@dataclass(frozen=True, eq=False)
class Scene:
    """An image brought to one form, its value range, and what came with the call.

    Attributes
    ----------
    image : ndarray, shape (*spatial, channels)
        In its own dtype, channels last; never written to.
    low, high : int or float
        The value range.
    spacing : tuple of float
        Voxel size along each spatial axis.
    roi : ndarray of bool, shape `spatial`, or None
    donors : sequence of array_like or None
    channel_axis : int or None
        As given with the call, of the image and of the donors.
    is_own : bool
        False while `image` still is the caller's array.
    soft : bool
        Whether labels are wanted as floats.
    tilts : bool
        False where shapes turn within the slices of a thin volume alone.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Scene
    >>> scene = Scene.of(np.arange(12, dtype=np.uint8).reshape(3, 4), value_range=(0, 11))
    >>> scene.shape, scene.image.shape
    ((3, 4), (3, 4, 1))
    >>> scene.patch((slice(0, 1), slice(0, 2)))[..., 0].round(3).tolist()
    [[0.0, 0.091]]
    """

    image: NDArray[Any]
    low: float
    high: float
    spacing: tuple[float, ...]
    roi: NDArray[np.bool_] | None = None
    donors: Sequence[ArrayLike] | None = None
    channel_axis: int | None = None
    is_own: bool = False
    soft: bool = False
    tilts: bool = True

    @classmethod
    def of(
        cls,
        image: ArrayLike,
        *,
        roi: ArrayLike | None = None,
        donors: Sequence[ArrayLike] | None = None,
        value_range: tuple[float, float] | None = None,
        channel_axis: int | None = None,
        spacing: Sequence[float] | None = None,
        soft: bool = False,
    ) -> Scene:
        """Check everything that came with a call, and bring it to this form."""
        channel_axis = None if channel_axis is None else operator.index(channel_axis)
        array = channels_last(image, channel_axis, "image")
        shape = array.shape[:-1]
        low, high = _extremes(array, "image")
        if value_range is not None:
            low, high = _value_range(value_range, array.dtype)
        elif array.dtype == np.uint8:
            low, high = 0, 255
        if spacing is None:
            steps = (1.0,) * len(shape)
        else:
            steps = tuple(float(s) for s in spacing)
            if len(steps) != len(shape) or not all(0 < s < np.inf for s in steps):
                raise ValueError(
                    f"spacing must hold {len(shape)} positive numbers, one an axis, got {spacing!r}"
                )
        where = None
        if roi is not None:
            where = np.asarray(roi)
            if where.dtype != bool:
                raise TypeError(f"roi must be a bool array, got dtype {where.dtype}")
            if where.shape != shape:
                raise ValueError(
                    f"roi must have the image's spatial shape {shape}, got {where.shape}"
                )
            if not where.any():
                raise NothingToSee("roi is empty: there is no place for an anomaly")
        if donors is not None and len(donors) == 0:
            raise ValueError("donors is empty; leave it out to take patches from the image itself")
        if not isinstance(soft, bool | np.bool_):
            raise TypeError(f"soft must be True or False, got {soft!r}")
        return cls(array, low, high, steps, where, donors, channel_axis, soft=bool(soft))

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.image.shape[:-1]

    @cached_property
    def side(self) -> float:
        """The median side, in the unit of `spacing`."""
        return statistics.median(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    @cached_property
    def thin_axis(self) -> int | None:
        """Of a volume that has at most 7 voxels along an axis, the shortest axis: there a box may
        be one voxel wide.
        """
        axis = int(np.argmin(self.shape))
        return axis if len(self.shape) == 3 and self.shape[axis] <= _THIN else None

    def levelled(self, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        """Angles in the planes of two axes each, as `rotation_matrix` takes them, 0 in those planes
        that the thin axis lies in.
        """
        planes = itertools.combinations(range(len(self.shape)), 2)
        return np.where([self.thin_axis in plane for plane in planes], 0.0, degrees)

    @cached_property
    def roi_box(self) -> Box:
        """The bounding box of the region of interest."""
        assert self.roi is not None
        return scipy.ndimage.find_objects(self.roi.astype(np.uint8))[0]

    def pixels(self, length: float) -> tuple[float, ...]:
        """A length given in pixels at an image side of 224, as pixels of this image along each
        axis.
        """
        return tuple(length * self.side / 224 / s for s in self.spacing)

    @cached_property
    def _half_span(self) -> float:
        # Half the range: its double may not be representable.
        return self.high * 0.5 - self.low * 0.5

    @cached_property
    def is_constant(self) -> bool:
        """Whether the image has one value only within the value range, or a range too small to tell
        its ends apart.
        """
        if not self._half_span > 0:
            return True
        low, high = self._clipped_halves(np.array([self.image.min(), self.image.max()]))
        return bool(low == high)

    def patch(self, box: Box) -> NDArray[np.float64]:
        """Values within a box, channels last, clipped to the value range and this scaled to
        [0, 1].
        """
        return self.normalised(self.image[box])

    def normalised(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Values clipped to the value range, and this scaled to [0, 1]."""
        return (self._clipped_halves(values) - self.low * 0.5) / self._half_span

    def _clipped_halves(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Half of each value as it is seen, clipped to the value range; the range's ends may be too
        far apart for a double.
        """
        halves = np.multiply(values, 0.5, dtype=np.float64)
        return np.clip(halves, self.low * 0.5, self.high * 0.5, out=halves)

    def donor(self, index: int) -> NDArray[Any]:
        """A donor image, channels last, checked against the image."""
        assert self.donors is not None
        name = f"donors[{index}]"
        donor = channels_last(self.donors[index], self.channel_axis, name)
        native = self.image.dtype.newbyteorder("=")
        if (
            donor.ndim != self.image.ndim
            or donor.shape[-1] != self.image.shape[-1]
            or donor.dtype.newbyteorder("=") != native
        ):
            raise ValueError(
                f"{name} must have the image's axes, channels and dtype ({self.image.ndim - 1} "
                f"spatial axes, "
                f"{self.image.shape[-1]} channels, {self.image.dtype}), got {donor.ndim - 1} "
                f"spatial axes, "
                f"{donor.shape[-1]} channels, {donor.dtype}"
            )
        _extremes(donor, name)
        return donor

    def changed(
        self, region: Region, values: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> tuple[Scene, NDArray[np.bool_]] | None:
        """The scene with new values, scaled as by `patch`, at the pixels `inside` of the region's
        box, and its mask.

        None if no pixel of it changed visibly, by 1/255 of the value range.
        """
        before, where = self.image[region.box], inside[..., None]
        after = np.where(where, self._in_range(values), before)
        if not self._is_visible(before, after):
            return None
        image = np.array(self.image)
        image[region.box] = after
        mask = np.zeros(self.shape, bool)
        mask[region.box] = inside
        return replace(self, image=image, is_own=True), mask

    def is_in_roi(self, mask: NDArray[np.bool_], least: float) -> bool:
        """Whether at least this share of a mask lies in the region of interest, if there is one."""
        if self.roi is None:
            return True
        return bool(np.count_nonzero(mask & self.roi) >= least * np.count_nonzero(mask))

    def visibly_differs(self, other: Scene) -> bool:
        """Whether some pixel differs from another scene's by at least 1/255 of the value range."""
        return self._is_visible(self.image, other.image)

    def _is_visible(self, before: NDArray[Any], after: NDArray[Any]) -> bool:
        with np.errstate(over="ignore"):
            return bool(
                np.abs(self._clipped_halves(after) - self._clipped_halves(before)).max()
                >= self._half_span / 255
            )

    def _in_range(self, values: NDArray[np.float64]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            raw = (self.low * 0.5 + values * self._half_span) * 2
        if self.image.dtype.kind in "iu":
            raw = np.rint(raw)
        return np.clip(raw, *self._ends).astype(self.image.dtype)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return _ends_within(self.low, self.high, self.image.dtype)


def channels_last(image: ArrayLike, channel_axis: int | None, name: str) -> NDArray[Any]:
    """A view of an image with its channels, one if it has no channel axis, as the last axis."""
    array = np.asarray(image)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must have a real numeric dtype, got {array.dtype}")
    if channel_axis is None:
        array = array[..., None]
    else:
        axis = operator.index(channel_axis)
        if not -array.ndim <= axis < array.ndim:
            raise ValueError(f"channel_axis {axis} is out of range for {name} of {array.ndim} axes")
        array = np.moveaxis(array, axis, -1)
    if array.ndim not in (3, 4):
        raise ValueError(
            f"{name} must have 2 or 3 spatial axes, got shape {np.shape(image)} with "
            f"channel_axis={channel_axis}"
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {np.shape(image)}")
    return array


def _extremes(array: NDArray[Any], name: str) -> tuple[float, float]:
    number = float if array.dtype.kind == "f" else int
    low, high = number(array.min()), number(array.max())
    if number is float and not (np.isfinite(low) and np.isfinite(high)):
        count = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{name} must be finite, but {count} of its values are NaN or infinite")
    return low, high


def _value_range(value_range: tuple[float, float], dtype: np.dtype[Any]) -> tuple[float, float]:
    try:
        low, high = validation.plain(value_range)
        valid = bool(np.isfinite(low) and np.isfinite(high) and low < high)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"value_range must be a pair (low, high) of finite numbers, low < high, got "
            f"{value_range!r}"
        )
    if dtype.kind in "iu":
        fits = np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    else:
        with np.errstate(over="ignore"):
            fits = bool(np.isfinite(np.array([low, high]).astype(dtype)).all())
    if not fits:
        raise ValueError(f"value_range {value_range!r} does not fit the image's dtype {dtype}")
    least, most = _ends_within(low, high, dtype)
    if not least < most:
        values = "whole numbers" if dtype.kind in "iu" else "values"
        raise ValueError(
            f"value_range {value_range!r} must hold at least two {values} for the image's dtype "
            f"{dtype}"
        )
    return low, high


def _ends_within(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The outermost values within a range that the dtype and a double hold: what is clipped to
    them does not leave the range when it is rounded to the dtype.
    """
    kind = np.float64 if dtype.kind in "iu" else dtype.type
    least, most = (math.ceil(low), math.floor(high)) if dtype.kind in "iu" else (low, high)
    first, last = kind(least), kind(most)
    # As Python's floats: NumPy would round the bound to the dtype before it compares.
    first = first if float(first) >= least else np.nextafter(first, kind(np.inf))
    last = last if float(last) <= most else np.nextafter(last, kind(-np.inf))
    return float(first), float(last)
