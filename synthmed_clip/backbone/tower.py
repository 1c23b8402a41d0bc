"""A visual tower as a backbone needs it, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synthmed_clip.backbone.text import TextTower

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Tower:
    """A built model, float32 on the CPU, its weights loaded.

    Attributes
    ----------
    model : nn.Module
        All of it, a text tower included.
    visual : nn.Module
        The part that sees images; the model itself where there is no other.
    intermediates : callable
        From normalised images `(B, 3, S, S)` and the indices of some layers, ascending from 0 (None
        means all), to their maps `(B, channels, h, w)`, before any final norm.
    last_tokens : callable
        From normalised images to the last layer's class token `(B, C)`, None where there is none,
        and patch tokens `(B, L, C)`; see `Backbone.last_tokens`.
    image_size : int
        Side of the squares that it takes, S.
    mean, std : Tensor
        `(3,)` float32, of RGB in [0, 1].
    take_text : callable or None
        Makes the text tower, once the model is where it is to stay; None where there is none.
    text_dim : int or None
        Length of a text feature.
    """

    model: nn.Module
    visual: nn.Module
    intermediates: Callable[[Tensor, list[int] | None], list[Tensor]]
    last_tokens: Callable[[Tensor], tuple[Tensor | None, Tensor]]
    image_size: int
    mean: Tensor
    std: Tensor
    take_text: Callable[[], TextTower] | None = None
    text_dim: int | None = None


def inner(module: nn.Module) -> Any:
    """Let attributes be read whose types torch does not know: it declares Tensor or Module."""
    return module


def require_whole_patches(name: str, image_size: int, patch: int | None) -> None:
    """Refuse an input size, the model's own as well, that leaves a border which no patch sees.

    Raises
    ------
    ValueError
        That names the sizes beside it.

    Examples
    --------
    >>> require_whole_patches("DINOv2", 224, 14)
    >>> require_whole_patches("DINOv2", 256, 14)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: image_size must be a multiple of 14, the patch size of 'DINOv2', not 256: ...
    """
    if patch and image_size % patch:
        below = image_size // patch * patch
        beside = f"{below} or {below + patch}" if below else str(patch)
        raise ValueError(
            f"image_size must be a multiple of {patch}, the patch size of {name!r}, not "
            f"{image_size}: take {beside}"
        )
