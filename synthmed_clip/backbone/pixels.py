"""Images as towers and methods take them: float32 tensors `(N, C, S, S)`, 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def to_pixels(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Stack square images of one shape, `(S, S)` or `(S, S, 3)` uint8: `(N, C, S, S)` float32.

    Examples
    --------
    >>> to_pixels([np.zeros((8, 8), np.uint8)] * 2).shape
    torch.Size([2, 1, 8, 8])
    """
    stacked = torch.from_numpy(np.stack(images))
    return (stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)).float()


def as_channels(pixels: Tensor, channels: Literal["grey", "colour"]) -> Tensor:
    """Reduce colour to its luma where grey is asked for; all else stays as it is."""
    if channels == "colour" or pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
