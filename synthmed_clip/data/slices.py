"""Volumes as the stack of their slices along one axis, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synthmed import io
from synthmed_clip.data.images import name_of
from synthmed_clip.data.regions import Region, read_inside

PlaneName = Literal["axial", "coronal", "sagittal"]
Axis = int | PlaneName
"""An array axis, or the plane of the slices."""

# The world axis (R, A, S) along which a plane's slices, rows and columns lie. As radiology shows
# them, rows run from anterior or superior, columns from the patient's right or from anterior.
_WORLD: dict[PlaneName, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a volume; views of it, no copies.

    Attributes
    ----------
    volume : Image
        Of three spatial axes.
    order : (int, int, int)
        The spatial axes along which slices, rows and columns lie.
    reversed : (bool, bool, bool)
        Whether each of them is run through backwards.
    inside : ndarray of bool or None
        A region of interest, of the volume's spatial shape; not empty.

    Examples
    --------
    >>> volume = io.Image(np.arange(24).reshape(2, 3, 4))
    >>> slices = Slices.along(volume, 2)
    >>> len(slices), slices[0].array.shape
    (4, (2, 3))
    >>> back = np.zeros((2, 3, 4))
    >>> view = slices.view(back)
    >>> for number in range(4):
    ...     view[number] = slices[number].array
    >>> np.array_equal(back, volume.array)
    True
    """

    volume: io.Image
    order: tuple[int, int, int]
    reversed: tuple[bool, bool, bool] = (False, False, False)
    inside: NDArray[np.bool_] | None = None

    @classmethod
    def along(cls, volume: io.Image, axis: Axis) -> Slices:
        """Cut a volume into slices.

        Parameters
        ----------
        volume : Image
        axis : int, "axial", "coronal" or "sagittal"
            A spatial axis of the array, whose slices have the two others as rows and columns; or a
            plane: the axes nearest to it by the affine, turned as radiology shows them, so that
            slices of files of any orientation look alike.

        Raises
        ------
        ValueError
            If it is no volume, has no such axis, or no affine where a plane is asked for.

        Examples
        --------
        >>> affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # rows from the right, columns from anterior
        >>> volume = io.Image(np.zeros((4, 5, 6)), affine=affine)
        >>> slices = Slices.along(volume, "axial")
        >>> slices.order, slices.reversed
        ((2, 1, 0), (False, False, False))
        """
        if len(volume.spatial_shape) != 3:
            raise ValueError(f"expected a volume, not an image of shape {volume.array.shape}")
        axis = require_axis(axis)
        if isinstance(axis, int):
            rows, columns = (other for other in range(3) if other != axis)
            return cls(volume, (axis, rows, columns))
        if volume.affine is None:
            raise ValueError(
                f"axis={axis!r} needs an affine, which the volume lacks: name 0, 1 or 2"
            )
        directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
        world, array = linear_sum_assignment(-np.abs(directions))
        of = dict(zip(world.tolist(), array.tolist(), strict=True))
        through, rows, columns = (of[w] for w in _WORLD[axis])
        # Rows and columns lead away from R, A and S.
        backwards = [
            bool(directions[w, of[w]] > 0) and place > 0 for place, w in enumerate(_WORLD[axis])
        ]
        return cls(volume, (through, rows, columns), (backwards[0], backwards[1], backwards[2]))

    def __len__(self) -> int:
        return self.volume.spatial_shape[self.order[0]]

    def __getitem__(self, number: int) -> io.Image:
        """Return a slice as an image, with the volume's window."""
        array = self.volume.array
        if self.volume.channel_axis is not None:
            array = np.moveaxis(array, self.volume.channel_axis, -1)
        number = range(len(self))[number]
        return io.Image(
            self.view(array)[number],
            channel_axis=None if self.volume.channel_axis is None else -1,
            value_range=self.volume.value_range,
            affine=self._affine(number),
        )

    @property
    def numbers(self) -> list[int]:
        """Which slices are looked at: those that the region of interest reaches, or all."""
        if self.inside is None:
            return list(range(len(self)))
        reached: list[int] = np.flatnonzero(self.view(self.inside).any((1, 2))).tolist()
        return reached

    def regions(self, numbers: Sequence[int]) -> list[NDArray[np.bool_]] | None:
        """Return the region of interest in some slices, as copies; None where there is none."""
        if self.inside is None:
            return None
        view = self.view(self.inside)
        return [np.ascontiguousarray(view[number]) for number in numbers]

    def _affine(self, number: int) -> NDArray[np.float64] | None:
        """From a slice's rows and columns to where the volume's affine leads."""
        if self.volume.affine is None:
            return None
        to_volume = np.zeros((4, 4))
        to_volume[3, 3] = 1
        shape = self.volume.spatial_shape
        for place, axis in ((1, 0), (2, 1), (0, 2)):
            own, back = self.order[place], self.reversed[place]
            to_volume[own, axis] = -1 if back else 1
            to_volume[own, 3] = shape[own] - 1 if back else 0
        to_volume[self.order[0], 3] = number
        return self.volume.affine @ to_volume

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array of the volume's spatial shape, perhaps with channels behind, as
        `(slices, rows, columns)`; what is written to the one is in the other.
        """
        turned = array.transpose(*self.order, *range(3, array.ndim))
        steps = tuple(slice(None, None, -1 if back else 1) for back in self.reversed)
        return turned[steps]

    def spread(self, count: int) -> list[int]:
        """Return the numbers of `count` slices that are looked at, the middles of as many equal
        parts of them; all, if there are fewer.

        Examples
        --------
        >>> Slices.along(io.Image(np.zeros((8, 1, 1))), 0).spread(2)
        [2, 6]
        """
        numbers = self.numbers
        count = min(count, len(numbers))
        middles = ((2 * np.arange(count) + 1) * len(numbers)) // (2 * count)
        return [numbers[middle] for middle in middles.tolist()]


def require_axis(axis: Any) -> Axis:
    """Check an axis and bring it to one form.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> require_axis(-1), require_axis("axial")
    (2, 'axial')
    """
    if isinstance(axis, int) and not isinstance(axis, bool) and -3 <= axis < 3:
        return axis % 3
    if isinstance(axis, str) and axis in get_args(PlaneName):
        return axis  # type: ignore[return-value]  # one of the names
    raise ValueError(f"axis must be 0, 1, 2, 'axial', 'coronal' or 'sagittal', not {axis!r}")


def read_volume(
    item: Path | io.Image, axis: Axis, region: Region | None = None, level: io.MaskLevel = None
) -> Slices:
    """Read a volume where it is a file or a folder of slices, and its region of interest, and cut
    it.

    Parameters
    ----------
    item : Path or Image
    axis : int, "axial", "coronal" or "sagittal"
    region : "auto", Path or ndarray, optional
    level : int, sequence of int, "any" or None
        Which levels of a file with a region are inside; see `synthmed.io.read_mask`.

    Raises
    ------
    ValueError
        If it cannot be read, or as `Slices.along` and `read_inside`; the message names it.

    Examples
    --------
    >>> len(read_volume(io.Image(np.zeros((4, 5, 6))), 1))
    5
    """
    volume = io.read_image(item) if isinstance(item, Path) else item
    try:
        slices = Slices.along(volume, axis)
    except ValueError as error:
        raise ValueError(f"{name_of(item)}: {error}") from None
    return (
        slices
        if region is None
        else replace(slices, inside=read_inside(region, item, volume, level))
    )


@dataclass(frozen=True, eq=False)
class SupportSlices:
    """Slices of several volumes.

    Attributes
    ----------
    items : list of Image
        Copies, so that no volume is kept for its slices.
    owners : ndarray of int
        For each slice, the number of its volume.
    regions : list of ndarray of bool, or None
        For each slice, what lies in the region of interest; None where there are none.
    """

    items: list[Path | io.Image]
    owners: NDArray[np.int64]
    regions: list[Region] | None


def support_slices(
    volumes: Sequence[Path | io.Image],
    axis: Axis,
    count: int,
    regions: Sequence[Region] | None = None,
    level: io.MaskLevel = None,
) -> SupportSlices:
    """Take slices of several volumes; with regions of interest, of those that they reach.

    Raises
    ------
    ValueError
        If `count` is below 1, or as `read_volume`.

    Examples
    --------
    >>> taken = support_slices([io.Image(np.zeros((9, 5, 6)))] * 2, 0, 3)
    >>> len(taken.items), taken.owners.tolist()
    (6, [0, 0, 0, 1, 1, 1])
    """
    if count < 1:
        raise ValueError(f"slices must be at least 1, not {count}")
    items: list[Path | io.Image] = []
    owners: list[int] = []
    insides: list[Region] = []
    for number, volume in enumerate(volumes):
        slices = read_volume(volume, axis, None if regions is None else regions[number], level)
        taken = slices.spread(count)
        found = (slices[place] for place in taken)
        items += [replace(own, array=own.array.copy()) for own in found]
        owners += [number] * len(taken)
        insides += slices.regions(taken) or []
    return SupportSlices(items, np.array(owners, np.int64), insides if regions else None)
