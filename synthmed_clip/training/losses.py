"""Focal and Dice loss of a two-class map, as the MediCLIP release computes them."""

from __future__ import annotations

from torch import Tensor

_SMOOTH = 1e-5


def focal_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017) with gamma 2 and no class weights.

    Parameters
    ----------
    probability : Tensor
        `(B, S, S)` float32, of being abnormal; that of being normal is the rest.
    mask : Tensor
        `(B, S, S)` bool.

    Returns
    -------
    Tensor
        Mean over pixels of `-(1 - p_t)^2 log p_t`, where `p_t` is the sum over both classes of
        target times probability plus 1e-5, and the targets are one-hot, clamped to [1e-5, 1 -
        1e-5].

    Examples
    --------
    >>> import torch
    >>> mask = torch.eye(8, dtype=torch.bool)[None]
    >>> right, wrong = focal_loss(mask.float(), mask), focal_loss((~mask).float(), mask)
    >>> abs(right.item()) < 1e-3, wrong.item() > 1
    (True, True)
    """
    target = mask.to(probability.dtype).clamp(_SMOOTH, 1 - _SMOOTH)
    p_t = target * probability + (1 - target) * (1 - probability) + _SMOOTH
    return -((1 - p_t).square() * p_t.log()).mean()


def dice_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """Dice loss (Milletari et al., 3DV 2016): `1 - (2 sum(p y) + 1) / (sum p + sum y + 1)`, mean
    over images.

    Parameters and shapes are those of `focal_loss`.

    Examples
    --------
    >>> import torch
    >>> mask = torch.eye(8, dtype=torch.bool)[None]
    >>> dice_loss(mask.float(), mask).item()
    0.0
    """
    target = mask.to(probability.dtype)
    overlap = (probability * target).sum((1, 2))
    total = probability.sum((1, 2)) + target.sum((1, 2))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
