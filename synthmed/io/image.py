"""An image or a volume as it comes from a file: the array, and what the file says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Unreadable(ValueError):
    """A file that holds no image that can be used, and why.

    Examples
    --------
    >>> from synthmed.io import Unreadable, read_image
    >>> try:
    ...     image = read_image(".")
    ... except Unreadable as error:
    ...     print(error)
    .: Is a directory, not an image, and holds no DICOM files
    """


class MissingFile(Unreadable, FileNotFoundError):
    """A file that is not there.

    Examples
    --------
    >>> from synthmed.io import read_image
    >>> try:
    ...     image = read_image("none.png")
    ... except FileNotFoundError as error:
    ...     print(error)
    none.png: No such file or directory
    """


class MissingExtra(Unreadable, ImportError):
    """A format for which an extra of the distribution must be installed; the message names it.

    Examples
    --------
    >>> from synthmed.io import MissingExtra
    >>> try:
    ...     raise MissingExtra('needs pydicom: pip install "synthmed[medical]"')
    ... except ValueError as error:
    ...     print(error)
    needs pydicom: pip install "synthmed[medical]"
    """


class ImageWarning(UserWarning):
    """What a file holds and its image does not, such as an alpha channel.

    Examples
    --------
    >>> import warnings
    >>> from synthmed.io import ImageWarning
    >>> warnings.simplefilter("error", ImageWarning)  # refuse such files
    >>> warnings.simplefilter("default", ImageWarning)
    """


@dataclass(frozen=True, eq=False)
class Image:
    """An array with its geometry.

    Attributes
    ----------
    array : ndarray
        Two or three spatial axes, (H, W) or (D, H, W), and channels where `channel_axis` says so.
    channel_axis : int or None
        The axis of channels; None where there is none.
    spacing : tuple of float or None
        Size of a pixel or voxel along each spatial axis, in millimetres; None where it is not
        known.
    value_range : (float, float) or None
        The range to which intensities are relative; None where it is not known.
    affine : ndarray of float64, shape (4, 4), or None
        From array indices to RAS+ millimetres, as nibabel has it; None where it is not known.

    Raises
    ------
    ValueError
        If an argument does not fit the array.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image
    >>> image = Image(np.zeros((20, 30, 3), np.uint8), channel_axis=-1)
    >>> image.spatial_shape
    (20, 30)
    >>> Image(np.zeros((20, 30, 3), np.uint8)).spatial_shape  # a volume
    (20, 30, 3)
    """

    array: NDArray[Any]
    channel_axis: int | None = None
    spacing: tuple[float, ...] | None = None
    value_range: tuple[float, float] | None = None
    affine: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check that the geometry fits the array."""
        n, axis = self.array.ndim, self.channel_axis
        if axis is not None and not -n <= axis < n:
            raise ValueError(f"channel_axis must be an axis of {n}, got {axis}")
        axes = len(self.spatial_shape)
        if axes not in (2, 3):
            raise ValueError(
                f"array must have 2 or 3 spatial axes, got shape {self.array.shape} with "
                f"channel_axis={axis}"
            )
        if self.spacing is not None and len(self.spacing) != axes:
            raise ValueError(f"spacing must hold {axes} numbers, got {self.spacing!r}")
        if self.affine is not None and self.affine.shape != (4, 4):
            raise ValueError(f"affine must have shape (4, 4), got {self.affine.shape}")

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The array's shape without its channels."""
        shape = self.array.shape
        if self.channel_axis is None:
            return shape
        axis = self.channel_axis % self.array.ndim
        return shape[:axis] + shape[axis + 1 :]
