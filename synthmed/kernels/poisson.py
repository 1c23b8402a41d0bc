"""Poisson image editing: an exact solve on the mask's own pixels.

The unknown is the correction `w = result - source`; work and memory are bounded by the mask's
bounding box.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed.kernels import multigrid
from synthmed.kernels.compiled import compiled


def poisson_blend(
    target: ArrayLike,
    source: ArrayLike,
    mask: ArrayLike,
    mixed: bool = False,
    *,
    target_weight: float = 1.0,
    tolerance: float = 1e-4,
) -> NDArray[np.float64]:
    """Blend `source` into `target` inside `mask` by Poisson image editing [1]_.

    Solves, for every pixel ``p`` of the mask, the discrete Poisson equation (equation 7 of [1]_) ::

        sum over neighbours q of (f_p - f_q) = sum over neighbours q of v_pq,   f = target outside
        the mask

    over the neighbours along the axes that lie inside the image, so nothing flows through the
    image's own border.

    Parameters
    ----------
    target, source : array_like, shape (H, W), (D, H, W), or either with channels as the last axis
        Intensities in any common unit, finite. `source` is already aligned with `target`; it is
        read inside the mask and at the pixels next to it.
    mask : array_like of bool, the spatial shape
        Where to blend. It may touch the image's border, but at least one pixel must stay outside.
    mixed : bool
        False: ``v_pq = g_p - g_q``, the source's gradients. True: at each pair of neighbours the
        larger of the source's and the target's differences (mixed gradients, equation 12 of [1]_).
    target_weight : float
        With mixed gradients, what the target's differences are multiplied by before they are
        compared and used.
    tolerance : float
        Largest error, relative to the spread of the intensities in and next to the mask, at which
        the solver stops.

    Returns
    -------
    ndarray of float64, shape of `target`
        The blend, not clipped; equal to `target` to the bit outside the mask.

    Raises
    ------
    ValueError
        If shapes differ, an array is not finite, or the mask covers the whole image and so fixes no
        value.

    References
    ----------
    .. [1] P. Perez, M. Gangnet, A. Blake, "Poisson image editing", ACM Trans. Graph. 22(3),
    313-318, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import poisson_blend
    >>> target, source = np.full((8, 8), 0.2), np.full((8, 8), 0.9)
    >>> mask = np.zeros((8, 8), bool)
    >>> mask[2:6, 2:6] = True
    >>> blended = poisson_blend(target, source, mask)  # it takes the level around it
    >>> bool(np.allclose(blended, 0.2))
    True
    """
    target, source, mask = np.asarray(target), np.asarray(source), np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be a bool array, got dtype {mask.dtype}")
    if target.shape != source.shape:
        raise ValueError(
            f"target and source must have one shape, got {target.shape} and {source.shape}"
        )
    if (
        mask.ndim not in (2, 3)
        or target.shape[: mask.ndim] != mask.shape
        or target.ndim > mask.ndim + 1
    ):
        raise ValueError(
            f"target must have the mask's shape {mask.shape}, with channels at most as a last "
            f"axis, got {target.shape}"
        )
    result = target.astype(np.float64)
    if not mask.any():
        return result
    if mask.all():
        raise ValueError(
            "mask covers the whole image: no pixel is left to fix the values at its edge"
        )

    box = _grown_box(mask)
    inside = np.ascontiguousarray(mask[box])
    near, texture = result[box], source[box].astype(np.float64)
    if not (np.isfinite(near).all() and np.isfinite(texture).all()):
        raise ValueError("target and source must be finite in and next to the mask")
    planes, channels = (None,) * (3 - mask.ndim), (None,) * (mask.ndim + 1 - target.ndim)
    inside, near, texture = (
        inside[planes],
        near[(*planes, ..., *channels)],
        texture[(*planes, ..., *channels)],
    )
    hierarchy = multigrid.assemble(inside)
    for channel in range(near.shape[-1]):
        t, s = np.ascontiguousarray(near[..., channel]), np.ascontiguousarray(texture[..., channel])
        # Between two flat patches the step from one to the other is all that there is to judge by.
        spread = max(np.ptp(t), np.ptp(s)) or abs(t.flat[0] - s.flat[0])
        blended = _correction(t, s, inside, hierarchy, mixed, target_weight, tolerance * spread)
        blended += s
        np.copyto(near[..., channel], blended, where=inside)
    return result


def _grown_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The mask's bounding box and one pixel around it, where the image goes on."""
    box = scipy.ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(box, mask.shape, strict=True)
    )


def _correction(
    target: NDArray[np.float64],
    source: NDArray[np.float64],
    inside: NDArray[np.bool_],
    hierarchy: multigrid.Hierarchy,
    mixed: bool,
    target_weight: float,
    tolerance: float,
) -> NDArray[np.float64]:
    right = np.zeros(inside.size)
    offset = _right_side(target, source, inside, hierarchy.fixed(), mixed, target_weight, right)
    scale = np.abs(
        right
    ).max()  # taken out, so that no intensity is out of single precision's range
    if scale == 0:
        return np.full(inside.shape, offset)
    right /= scale
    solution = multigrid.solve(hierarchy, right, tolerance / scale)
    solution *= scale
    solution += offset
    return solution.reshape(inside.shape)


@compiled
def _right_side(target, source, inside, fixed, mixed, target_weight, out):
    """Fill `out` with the right side of the equation for the correction less an offset, and return
    the offset.
    """
    depth, height, width = inside.shape
    total, count = 0.0, 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not inside[z, y, x]:
                    total += target[z, y, x] - source[z, y, x]
                    count += 1
    offset = total / count
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                i = (z * height + y) * width + x
                if not inside[z, y, x] or not (mixed or fixed[i] > 0):
                    continue
                value = 0.0
                for axis in range(3):
                    for step in (-1, 1):
                        a, b, c = (
                            z + step * (axis == 0),
                            y + step * (axis == 1),
                            x + step * (axis == 2),
                        )
                        if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width:
                            continue
                        if not inside[a, b, c]:
                            value += target[a, b, c] - source[a, b, c] - offset
                        if mixed:
                            ours = target_weight * (target[z, y, x] - target[a, b, c])
                            theirs = source[z, y, x] - source[a, b, c]
                            if abs(ours) > abs(theirs):
                                value += ours - theirs
                out[i] = value
    return offset
