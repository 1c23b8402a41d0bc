"""From maps of patches to maps of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from synthmed_clip.methods.base import Scores


def mean_of(maps: Sequence[Tensor]) -> Tensor:
    """Average maps `(B, h, w)` of several layers, at the size of the largest one.

    Examples
    --------
    >>> mean_of([torch.zeros(2, 4, 4), torch.ones(2, 8, 8)]).unique().tolist()
    [0.5]
    """
    largest = max(((m.shape[1], m.shape[2]) for m in maps), key=math.prod)

    return torch.stack([resize(m, largest) for m in maps]).mean(0)


def upsample(maps: Tensor, size: int) -> Tensor:
    """Bring maps `(B, h, w)` to `(B, size, size)`, bilinear, pixels' centres half a pixel in."""
    shape = (size, size)
    return interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps `(B, S, S)` by a Gaussian, as SciPy does at its default borders."""
    rows = gaussian_filter1d(np.eye(maps.shape[1]), sigma, axis=0)
    columns = gaussian_filter1d(np.eye(maps.shape[2]), sigma, axis=0)
    return maps.new_tensor(rows) @ maps @ maps.new_tensor(columns).T


def largest_mean(values: Tensor, share: float) -> Tensor:
    """Average the largest share of each row of `(B, M)`, one value at least: `(B,)`."""
    return values.topk(max(1, round(share * values.shape[1])), dim=1).values.mean(1)


def score_inside(found: Scores, inside: Tensor, pool: Callable[[Tensor], Tensor]) -> Scores:
    """Pool scores over regions of interest alone; outside, a map has its lowest value.

    Parameters
    ----------
    found : Scores
        Of whole images.
    inside : Tensor
        `(N, S, S)` bool, of the maps' size; none empty. A patch counts that lies inside by half,
        or, where none does, the one that lies inside most.
    pool : callable
        The method's, `Fitted.pool`.

    Examples
    --------
    >>> from synthmed_clip.methods.base import Scores
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, 9.0]]])
    >>> inside = torch.tensor([[[True, True], [True, False]]])
    >>> within = score_inside(Scores(maps.amax((1, 2)), maps), inside, lambda v: v.amax(1))
    >>> within.scores.tolist(), within.maps.tolist()
    ([3.0], [[[1.0, 2.0], [3.0, 1.0]]])
    """
    inside = inside.to(found.maps.device)
    values, chosen = found.maps, inside
    if found.pooled is not None:
        values = found.pooled
        share = adaptive_avg_pool2d(inside.float()[:, None], (values.shape[1], values.shape[2]))[
            :, 0
        ]
        chosen = share >= share.amax((1, 2), keepdim=True).clamp_max(0.5)
    if values.shape != chosen.shape:  # no maps: no method can tell a place from another
        values, chosen = values.new_empty(len(inside), 0), inside.new_empty(len(inside), 0)
    scores = [pool(own[own_chosen][None]) for own, own_chosen in zip(values, chosen, strict=True)]
    return replace(found, scores=torch.cat(scores), maps=fill_outside(found.maps, inside))


def fill_outside(maps: Tensor, inside: Tensor) -> Tensor:
    """Let maps `(N, H, W)` have their lowest value outside regions."""
    lowest = maps.amin((1, 2), keepdim=True)
    return torch.where(inside, maps, lowest)


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
    rows = _interpolation(maps.shape[1], shape[0], maps.device)
    columns = _interpolation(maps.shape[2], shape[1], maps.device)
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
