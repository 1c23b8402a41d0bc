"""Where planes of DICOM lie: their order along the normal, and the affine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Unreadable
from synthmed.io.readers.dicom_planes import Plane

# DICOM counts millimetres to the left, posterior and superior; nibabel to the right and anterior.
_RAS = np.diag([-1.0, -1.0, 1.0])
_UNEVEN = 0.1  # of the step: positions are often rounded
_EQUAL = 1e-3


def plane_affine(plane: Plane) -> NDArray[np.float64] | None:
    """Affine of one plane; its third axis is the normal, as long as the slice is thick.

    Returns
    -------
    ndarray of float64, shape (4, 4), or None
        None if the plane does not say where it lies. Without a thickness the third axis is 1 mm.
    """
    if plane.position is None or plane.orientation is None or plane.spacing is None:
        return None
    normal = np.cross(*plane.orientation) * (plane.thickness or 1.0)
    rows, columns = plane.orientation[1], plane.orientation[0]
    steps = (rows * plane.spacing[0], columns * plane.spacing[1], normal)
    return _affine(steps, plane.position)


def order_planes(
    planes: Sequence[Plane], name: Callable[[Plane], str]
) -> tuple[list[Plane], tuple[float, float, float], NDArray[np.float64]]:
    """Put planes in the order of their positions along the normal.

    Parameters
    ----------
    planes : sequence of Plane
        Two or more.
    name : callable
        What a plane is called in a message.

    Returns
    -------
    planes : list of Plane
    spacing : (float, float, float)
        Of slices, rows and columns, in millimetres.
    affine : ndarray of float64, shape (4, 4)
        From (slice, row, column) to right, anterior, superior in millimetres.

    Raises
    ------
    Unreadable
        If they are not the slices of one volume at equal distances; the message says why.
    """
    _require_equal(planes, name)
    orientation, (row, column) = planes[0].orientation, planes[0].spacing or (0.0, 0.0)
    assert orientation is not None
    normal = np.cross(*orientation)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    along, positions = along[order], positions[order]
    ordered = [planes[i] for i in order]
    _require_regular(ordered, along, name)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    _require_upright(positions, normal, along, min(row, column))
    steps = (step, orientation[1] * row, orientation[0] * column)
    spacing = (float(np.linalg.norm(step)), row, column)
    return ordered, spacing, _affine(steps, positions[0])


def _affine(steps: Sequence[NDArray], origin: NDArray) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = _RAS @ np.stack(steps, axis=1)
    affine[:3, 3] = _RAS @ origin
    return affine


def _require_equal(planes: Sequence[Plane], name: Callable[[Plane], str]) -> None:
    first = planes[0]
    unplaced = [plane for plane in planes if not plane.is_placed]
    if unplaced:
        raise Unreadable(
            f"{len(unplaced)} of {len(planes)} slices do not say where they lie, such as "
            f"{name(unplaced[0])}"
        )
    for plane in planes:
        if (plane.shape, plane.photometric) != (first.shape, first.photometric):
            raise Unreadable(
                f"mixed shapes or photometric interpretations: {name(first)} has "
                f"{first.shape[0]} x {first.shape[1]} ({first.photometric}), {name(plane)} "
                f"{plane.shape[0]} x {plane.shape[1]} ({plane.photometric})"
            )
        if plane.spacing is None:
            raise Unreadable(f"{name(plane)} has no pixel spacing")
        assert first.spacing is not None
        if not np.allclose(plane.spacing, first.spacing, rtol=_EQUAL, atol=0):
            raise Unreadable(
                f"mixed pixel spacings: {name(first)} has {first.spacing[0]:g} x "
                f"{first.spacing[1]:g} mm, {name(plane)} {plane.spacing[0]:g} x "
                f"{plane.spacing[1]:g} mm"
            )
        assert plane.orientation is not None and first.orientation is not None
        if not np.allclose(plane.orientation, first.orientation, rtol=0, atol=_EQUAL):
            raise Unreadable(
                f"mixed orientations: {name(first)} and {name(plane)} are not parallel"
            )


def _require_regular(
    planes: Sequence[Plane], along: NDArray[np.float64], name: Callable[[Plane], str]
) -> None:
    """Check that slices, in their order, lie at equal distances."""
    gaps = np.diff(along)
    typical = float(np.median(gaps))
    least = int(np.argmin(gaps))
    if gaps[least] < max(1e-3, _UNEVEN * typical):
        raise Unreadable(
            f"doubled slices: {name(planes[least])} and {name(planes[least + 1])} lie at the same "
            f"place ({along[least]:g} mm along the normal); are they several times, echoes or "
            f"segments?"
        )
    widest = int(np.argmax(gaps))
    if gaps[widest] > 1.5 * typical:
        missing = round(gaps[widest] / typical) - 1
        raise Unreadable(
            f"missing slices: about {missing} between {name(planes[widest])} and "
            f"{name(planes[widest + 1])}, {gaps[widest]:g} mm apart where {typical:g} mm are usual"
        )
    regular = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - regular).max() > _UNEVEN * typical:
        raise Unreadable(
            f"uneven slices: {gaps.min():g} to {gaps.max():g} mm apart; a volume has one distance"
        )


def _require_upright(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    along: NDArray[np.float64],
    pixel: float,
) -> None:
    """Check that slices lie above each other; half a pixel in all is taken for rounding."""
    shift = positions - positions[0] - np.outer(along - along[0], normal)
    far = np.linalg.norm(shift, axis=1)
    worst = int(np.argmax(far))
    if far[worst] > pixel / 2:
        angle = np.degrees(np.arctan2(far[worst], along[worst] - along[0]))
        raise Unreadable(
            f"gantry tilt: the slices are shifted against each other by {far[worst]:.3g} mm, "
            f"{angle:.3g} degrees from their normal; resample the series first"
        )
