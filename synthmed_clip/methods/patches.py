"""Patch tokens of images, as the methods that compare them take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import in_batches

CHUNK = 16  # images through the backbone at a time


def tokens_of(
    backbone: Backbone, pixels: Tensor, layers: Sequence[int], final_norm: bool = False
) -> list[Tensor]:
    """Return patch tokens, `(N, L, C)` float32, for each layer: as they are, or of the last layer
    through the final norm.

    Examples
    --------
    `backbone` is a loaded one.

    >>> [tuple(t.shape) for t in tokens_of(backbone, torch.zeros(2, 1, 32, 32), (1, 3))]
    [(2, 16, 32), (2, 16, 32)]
    """
    with torch.inference_mode():
        batches = []
        for batch in in_batches(pixels, CHUNK):
            if final_norm:
                found = [backbone.last_tokens(batch)[1]]
            else:
                found = [f.flatten(2).transpose(1, 2) for f in backbone.features(batch, layers)]
            batches.append([tokens.float() for tokens in found])
    return [torch.cat(layer) for layer in zip(*batches, strict=True)]


def square_of(flat: Tensor) -> Tensor:
    """Bring values of patches `(B, L)` to the square that they lie on, `(B, sqrt(L), sqrt(L))`.

    Examples
    --------
    >>> square_of(torch.tensor([[0, 1, 2, 3]])).tolist()
    [[[0, 1], [2, 3]]]
    """
    side = int(flat.shape[1] ** 0.5)
    return flat.reshape(-1, side, side)


def rotated(images: Tensor, degrees: Sequence[float]) -> Tensor:
    """Turn images `(N, C, S, S)` counter-clockwise, each by an angle of its own; bilinear, 0 beyond
    their border.

    Examples
    --------
    >>> image = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
    >>> rotated(image, [90])[0, 0].tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """
    pairs = zip(images, degrees, strict=True)
    turned = [
        rotate(image, angle, InterpolationMode.BILINEAR) if angle % 360 else image
        for image, angle in pairs
    ]
    return torch.stack(turned).clamp(0, 255)  # which rounding may pass
