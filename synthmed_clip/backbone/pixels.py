"""The squared images that a backbone takes: made from 8-bit arrays, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthmed import io


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Turn a stack of 8-bit images into the tensor that `Backbone.features` takes.

    Parameters
    ----------
    images : ndarray
        `(B, S, S)` grey or `(B, S, S, 3)` colour, uint8.

    Returns
    -------
    Tensor
        `(B, 1, S, S)` or `(B, 3, S, S)` float32, 0 to 255.

    Raises
    ------
    TypeError
        If the images are not uint8.
    ValueError
        If they have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> to_pixels(np.zeros((2, 8, 8), np.uint8)).shape
    torch.Size([2, 1, 8, 8])
    >>> to_pixels(np.zeros((2, 8, 8, 3), np.uint8)).shape
    torch.Size([2, 3, 8, 8])
    """
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise ValueError(f"images must be (B, S, S) or (B, S, S, 3), not {images.shape}")
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channels_first, dtype=np.float32))


def in_batches(pixels: Tensor, size: int) -> Sequence[Tensor]:
    """Split images into batches of at most a size. A graph that is traced, which is to take any
    number, keeps them together.

    Examples
    --------
    >>> [len(batch) for batch in in_batches(torch.zeros(5, 1, 8, 8), 2)]
    [2, 2, 1]
    """
    return (pixels,) if torch.jit.is_tracing() else pixels.split(size)


def require_pixels(pixels: Tensor, size: int) -> None:
    """Refuse what is not `(B, 1 or 3, size, size)` float32 from 0 to 255.

    Raises
    ------
    TypeError
        If `pixels` is no float32 tensor.
    ValueError
        If it has another shape, no image, or a value outside 0 to 255 (NaN included).

    Examples
    --------
    >>> require_pixels(torch.full((1, 3, 8, 8), 255.0), 8)
    >>> require_pixels(torch.zeros(1, 8, 8, 3), 8)
    Traceback (most recent call last):
    ValueError: pixels must be (B, 1, 8, 8) or (B, 3, 8, 8), not (1, 8, 8, 3)
    """
    if torch.jit.is_tracing():  # a graph has no exceptions
        return
    if not isinstance(pixels, Tensor):
        raise TypeError(f"pixels must be a float32 tensor, not {type(pixels).__name__}")
    if pixels.dtype != torch.float32:
        raise TypeError(f"pixels must be float32, not {str(pixels.dtype).removeprefix('torch.')}")
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.shape[2:] != (size, size):
        raise ValueError(
            f"pixels must be (B, 1, {size}, {size}) or (B, 3, {size}, {size}), "
            f"not {tuple(pixels.shape)}"
        )
    if not len(pixels):
        raise ValueError("pixels must hold at least one image, not none")
    low, high = (float(value) for value in torch.aminmax(pixels))
    if not (low >= 0 and high <= 255):  # written so that NaN, which fails both, is refused
        raise ValueError(f"pixels must lie within 0 to 255, not {low:g} to {high:g}")


def as_channels(pixels: Tensor, channels: Literal["grey", "colour"]) -> Tensor:
    """Reduce colour to its luma (ITU-R BT.601), in whole levels as images have them, where grey is
    asked for; all else stays as it is.

    Parameters
    ----------
    pixels : Tensor
        `(B, 1, S, S)` or `(B, 3, S, S)` float32, 0 to 255.
    channels : {'grey', 'colour'}

    Examples
    --------
    >>> as_channels(torch.full((1, 3, 8, 8), 9.0), "grey").shape
    torch.Size([1, 1, 8, 8])
    """
    if channels == "colour" or pixels.shape[1] == 1:
        return pixels
    luma = (pixels * pixels.new_tensor(io.LUMA)[:, None, None]).sum(1, keepdim=True)
    return luma.round().clamp(0, 255)
