"""From maps of patches to maps of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate


def mean_of(maps: Sequence[Tensor]) -> Tensor:
    """Average maps `(B, h, w)` of several layers, at the size of the largest one.

    Examples
    --------
    >>> mean_of([torch.zeros(2, 4, 4), torch.ones(2, 8, 8)]).unique().tolist()
    [0.5]
    """
    largest = max(((int(m.shape[1]), int(m.shape[2])) for m in maps), key=math.prod)
    return torch.stack([resize(m, largest) for m in maps]).mean(0)


def upsample(maps: Tensor, size: int) -> Tensor:
    """Bring maps `(B, h, w)` to `(B, size, size)`, bilinear, pixels' centres half a pixel in."""
    shape = (size, size)
    return interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps `(B, S, S)` by a Gaussian, as SciPy does at its default borders."""
    rows = gaussian_filter1d(np.eye(int(maps.shape[1])), sigma, axis=0)
    columns = gaussian_filter1d(np.eye(int(maps.shape[2])), sigma, axis=0)
    return maps.new_tensor(rows) @ maps @ maps.new_tensor(columns).T


def largest_mean(values: Tensor, share: float) -> Tensor:
    """Average the largest share of each row of `(B, M)`, one value at least: `(B,)`."""
    return values.topk(max(1, round(share * int(values.shape[1]))), dim=1).values.mean(1)


def pool_inside(values: Tensor, inside: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """Pool values `(N, h, w)` of pixels or patches over regions of interest alone: `(N,)`.

    Parameters
    ----------
    values : Tensor
    inside : Tensor
        `(N, S, S)` bool, none empty, S at least h and w. A patch counts that lies inside by half,
        or, where none does, the one that lies inside most.
    pool : callable
        A method's, `Fitted.pool`.

    Examples
    --------
    >>> values = torch.tensor([[[1.0, 2.0], [3.0, 9.0]]])
    >>> inside = torch.tensor([[[True, True], [True, False]]])
    >>> pool_inside(values, inside, lambda own: own.amax(1))
    tensor([3.])
    """
    chosen = inside.to(values.device)
    if values.shape != chosen.shape:
        height, width = values.shape[1:]
        share = adaptive_avg_pool2d(chosen.float()[:, None], (height, width))[:, 0]
        chosen = share >= share.amax((1, 2), keepdim=True).clamp_max(0.5)
    return torch.cat([pool(own[place][None]) for own, place in zip(values, chosen, strict=True)])


def fill_outside(maps: Tensor, inside: Tensor) -> Tensor:
    """Let maps `(N, H, W)` have their lowest value outside regions `(N, H, W)`.

    Examples
    --------
    >>> fill_outside(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[True, False]]]))
    tensor([[[1., 1.]]])
    """
    return torch.where(inside.to(maps.device), maps, maps.amin((1, 2), keepdim=True))


def resize(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bilinear interpolation with aligned corners, `(B, h, w)` to `(B, *shape)`.

    Two matrix products rather than torch's interpolation: its gradient is not deterministic on
    CUDA.

    Examples
    --------
    >>> resize(torch.tensor([[[0.0, 1.0]]]), (1, 3)).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    if tuple(maps.shape[1:]) == tuple(shape):
        return maps
    rows = _interpolation(int(maps.shape[1]), shape[0], maps.device)
    columns = _interpolation(int(maps.shape[2]), shape[1], maps.device)
    return rows @ maps @ columns.T


@lru_cache(maxsize=32)
def _interpolation(n: int, m: int, device: torch.device) -> Tensor:
    """The matrix, `(m, n)` float32, that interpolates n samples linearly at m points,
    ends on ends.
    """
    with torch.inference_mode(False):  # what is cached in inference must serve training, too
        at = torch.linspace(0, n - 1, m, dtype=torch.float64)
        weight = (1 - (at[:, None] - torch.arange(n, dtype=torch.float64)).abs()).clamp_min(0)
        return weight.float().to(device)
