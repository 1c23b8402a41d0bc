"""Poisson image editing: an exact solve on the mask's own pixels.

The unknown is the correction `w = result - source`. Conjugate gradients in double precision, preconditioned by one
multigrid V-cycle in single precision, solve the five-point (in 3-D, seven-point) Poisson equation on the bounding box of
the mask. Coarse grids are built from the mask itself by aggregating 2 x 2 (x 2) pixels, so masks with holes, gates one
pixel wide or borders on the image's edge cost no more iterations than a disc: five or six reach 1e-4.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthmed.kernels.compiled import compiled

# Aggregation by constants overestimates the energy of a smooth correction: coarse couplings are halved, and the
# couplings to fixed pixels, whose distance does not double, are scaled by a factor between 1/2 and 1.
_COUPLING, _FIXED = np.float32(0.5), np.float32(0.7)
# Roots of the Chebyshev polynomial of degree 2 on [0.4, 2], the upper part of the spectrum of D^-1 A.
_STEPS = np.array([1 / (1.2 + 0.8 * np.cos(np.pi / 4)), 1 / (1.2 - 0.8 * np.cos(np.pi / 4))], np.float32)
_MAX_ITERATIONS = 200


def poisson_blend(
    target: ArrayLike, source: ArrayLike, mask: ArrayLike, mixed: bool = False, *, tolerance: float = 1e-4
) -> NDArray[np.float64]:
    """Blend `source` into `target` inside `mask` by Poisson image editing [1]_.

    Solves, for every pixel ``p`` of the mask, the discrete Poisson equation (equation 7 of [1]_) ::

        sum over neighbours q of (f_p - f_q) = sum over neighbours q of v_pq,   f = target outside the mask

    over the neighbours along the axes that lie inside the image, so nothing flows through the image's own border.

    Parameters
    ----------
    target, source : array_like, shape (H, W), (D, H, W), or either with channels as the last axis
        Intensities in any common unit, finite. `source` is already aligned with `target`; it is read inside the mask
        and at the pixels next to it.
    mask : array_like of bool, the spatial shape
        Where to blend. It may touch the image's border, but at least one pixel must stay outside.
    mixed : bool
        False: ``v_pq = g_p - g_q``, the source's gradients. True: at each pair of neighbours the larger of the source's
        and the target's differences (mixed gradients, equation 12 of [1]_).
    tolerance : float
        Largest error, relative to the spread of the intensities in and next to the mask, at which the solver stops.

    Returns
    -------
    ndarray of float64, shape of `target`
        The blend, not clipped; equal to `target` to the bit outside the mask.

    Raises
    ------
    ValueError
        If shapes differ, an array is not finite, or the mask covers the whole image and so fixes no value.

    References
    ----------
    .. [1] P. Perez, M. Gangnet, A. Blake, "Poisson image editing", ACM Trans. Graph. 22(3), 313-318, 2003.
    """
    target, source, mask = np.asarray(target), np.asarray(source), np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be a bool array, got dtype {mask.dtype}")
    if target.shape != source.shape:
        raise ValueError(f"target and source must have one shape, got {target.shape} and {source.shape}")
    if mask.ndim not in (2, 3) or target.shape[: mask.ndim] != mask.shape or target.ndim > mask.ndim + 1:
        raise ValueError(
            f"target must have the mask's shape {mask.shape}, with channels at most as a last axis, got {target.shape}")
    result = target.astype(np.float64)
    if not mask.any():
        return result
    if mask.all():
        raise ValueError("mask covers the whole image: no pixel is left to fix the values at its edge")

    box = _grown_box(mask)
    inside = np.ascontiguousarray(mask[box])
    shape = (1,) * (3 - mask.ndim) + inside.shape
    near, texture = result[box], source[box].astype(np.float64)
    if not (np.isfinite(near).all() and np.isfinite(texture).all()):
        raise ValueError("target and source must be finite in and next to the mask")
    inside3 = inside.reshape(shape)
    near, texture = near.reshape(*shape, -1), texture.reshape(*shape, -1)
    blended = near.copy()
    hierarchy = _hierarchy(inside3)
    for channel in range(near.shape[-1]):
        t, s = np.ascontiguousarray(near[..., channel]), np.ascontiguousarray(texture[..., channel])
        spread = max(np.ptp(t), np.ptp(s))
        correction = _correction(t, s, inside3, hierarchy, mixed, tolerance * spread)
        blended[..., channel] = np.where(inside3, s + correction, t)
    result[box] = blended.reshape(result[box].shape)
    return result


def _grown_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The mask's bounding box and one pixel around it, where the image goes on."""
    box = []
    for axis in range(mask.ndim):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(max(line[0] - 1, 0), min(line[-1] + 2, mask.shape[axis])))
    return tuple(box)


@lru_cache(maxsize=256)
def _grids(shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Rows (depth, height, width, start, margin) of the grids from fine to one single cell, laid end to end."""
    rows, start = [], 0
    while True:
        margin = shape[1] * shape[2] if shape[0] > 1 else shape[2]
        rows.append((*shape, start + margin, margin))
        start += shape[0] * shape[1] * shape[2] + 2 * margin
        if max(shape) == 1:
            break
        shape = ((shape[0] + 1) // 2, (shape[1] + 1) // 2, (shape[2] + 1) // 2)
    rows.append((0, 0, 0, start, 0))
    return np.array(rows)


_Hierarchy = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


def _hierarchy(inside: NDArray[np.bool_]) -> _Hierarchy:
    """The operators of all grids: couplings along the three axes; the diagonal, its inverse, its share of fixed pixels."""
    grids = _grids(inside.shape)
    coupling = np.zeros((3, grids[-1, 3]), np.float32)
    diagonal = np.zeros((3, grids[-1, 3]), np.float32)
    _assemble(inside, grids, coupling, diagonal)
    return grids, coupling, diagonal


def _correction(
    target: NDArray[np.float64], source: NDArray[np.float64], inside: NDArray[np.bool_], hierarchy: _Hierarchy,
    mixed: bool, tolerance: float,
) -> NDArray[np.float64]:
    grids, coupling, diagonal = hierarchy
    size, margin = inside.size, grids[0, 4]
    x, r, ap = np.zeros((3, size))
    p = np.zeros(size + 2 * margin)
    work = np.zeros((3, grids[-1, 3]), np.float32)
    offset = _right_side(target, source, inside, diagonal[2, grids[0, 3]:], mixed, r)
    scale = np.abs(r).max()  # taken out, so that no intensity is out of single precision's range
    if scale == 0:
        return np.full(inside.shape, offset)
    r /= scale
    if not _conjugate_gradients(grids, coupling, diagonal, x, r, p, ap, work, tolerance / scale):
        raise RuntimeError("the Poisson solver did not converge; please report the mask")
    x *= scale
    return x.reshape(inside.shape) + offset


@compiled
def _right_side(target, source, inside, fixed, mixed, out):
    """Fill `out` with the right side of the equation for the correction less an offset, and return the offset."""
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
                        a, b, c = z + step * (axis == 0), y + step * (axis == 1), x + step * (axis == 2)
                        if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width:
                            continue
                        if not inside[a, b, c]:
                            value += target[a, b, c] - source[a, b, c] - offset
                        if mixed:
                            ours = target[z, y, x] - target[a, b, c]
                            theirs = source[z, y, x] - source[a, b, c]
                            if abs(ours) > abs(theirs):
                                value += ours - theirs
                out[i] = value
    return offset


@compiled
def _assemble(inside, grids, coupling, diagonal):
    depth, height, width, start, _ = grids[0]
    flat = inside.reshape(-1)
    for row in range(depth * height):
        z, y = row // height, row % height
        at = row * width
        wz, wy, wx = coupling[0, start + at:], coupling[1, start + at:], coupling[2, start + at:]
        d, here = diagonal[0, start + at:], flat[at:]
        around = np.float32((z > 0) + (z + 1 < depth) + (y > 0) + (y + 1 < height) + 2)
        for x in range(width):
            d[x] = around * here[x]
        d[0] -= here[0]
        d[width - 1] -= here[width - 1]
        for x in range(width - 1):
            wx[x] = here[x] * here[x + 1]
        if y + 1 < height:
            below = flat[at + width:]
            for x in range(width):
                wy[x] = here[x] * below[x]
        if z + 1 < depth:
            behind = flat[at + height * width:]
            for x in range(width):
                wz[x] = here[x] * behind[x]
    for level in range(len(grids) - 1):
        depth, height, width, start, _ = grids[level]
        size, plane = depth * height * width, height * width
        d, inverse, fixed = diagonal[0, start:], diagonal[1, start:], diagonal[2, start:]
        right, left = coupling[2, start:], coupling[2, start - 1:]
        down, up = coupling[1, start:], coupling[1, start - width:]
        # `inverse` holds the couplings to other cells for a moment.
        for i in range(size):
            inverse[i] = right[i] + left[i] + down[i] + up[i]
        if depth > 1:
            behind, before = coupling[0, start:], coupling[0, start - plane:]
            for i in range(size):
                inverse[i] += behind[i] + before[i]
        for i in range(size):
            if level == 0:
                fixed[i] = d[i] - inverse[i]
            else:
                d[i] = fixed[i] + inverse[i]
        for i in range(size):
            inverse[i] = np.float32(1) / d[i] if d[i] > 0 else np.float32(0)
        if level == len(grids) - 2:
            break
        _, coarse_height, coarse_width, coarse_start, _ = grids[level + 1]
        for row in range(depth * height):
            z, y = row // height, row % height
            at, to = row * width, coarse_start + ((z // 2) * coarse_height + y // 2) * coarse_width
            _add_pairs(fixed[at:], width, _FIXED, diagonal[2, to:])
            for x in range(width // 2):
                coupling[2, to + x] += _COUPLING * right[at + 2 * x + 1]
            if y % 2:
                _add_pairs(down[at:], width, _COUPLING, coupling[1, to:])
            if z % 2:
                _add_pairs(coupling[0, start + at:], width, _COUPLING, coupling[0, to:])


@compiled
def _add_pairs(row, width, factor, out):
    for x in range(width // 2):
        out[x] += factor * (row[2 * x] + row[2 * x + 1])
    if width % 2:
        out[width // 2] += factor * row[width - 1]


@compiled
def _times(grid, coupling, diagonal, u, out):
    """`out = A u` on one grid; `u` carries the grid's margins, `out` does not."""
    # Neighbours are views shifted by one step: with indices that cannot be negative the loops become vector code.
    depth, height, width, start, margin = grid
    size, plane = depth * height * width, height * width
    d, here = diagonal[0, start: start + size], u[margin: margin + size]
    right, left, down, up = u[margin + 1:], u[margin - 1:], u[margin + width:], u[margin - width:]
    to_right, to_left = coupling[2, start:], coupling[2, start - 1:]
    to_down, to_up = coupling[1, start:], coupling[1, start - width:]
    for i in range(size):
        out[i] = (d[i] * here[i] - to_right[i] * right[i] - to_left[i] * left[i]
                  - to_down[i] * down[i] - to_up[i] * up[i])
    if depth > 1:
        below, above = u[margin + plane:], u[margin - plane:]
        to_below, to_above = coupling[0, start:], coupling[0, start - plane:]
        for i in range(size):
            out[i] -= to_below[i] * below[i] + to_above[i] * above[i]


@compiled
def _sweep(grid, coupling, diagonal, u, b, step, out):
    """One relaxed Jacobi step, `out = u + step D^-1 (b - A u)`, in one pass; `u` and `out` carry the margins."""
    depth, height, width, start, margin = grid
    size, plane = depth * height * width, height * width
    inverse = diagonal[1, start: start + size]
    here, new = u[margin: margin + size], out[margin: margin + size]
    right, left, down, up = u[margin + 1:], u[margin - 1:], u[margin + width:], u[margin - width:]
    to_right, to_left = coupling[2, start:], coupling[2, start - 1:]
    to_down, to_up = coupling[1, start:], coupling[1, start - width:]
    if depth == 1:
        for i in range(size):
            new[i] = here[i] + step * (inverse[i] * (
                b[i] + to_right[i] * right[i] + to_left[i] * left[i] + to_down[i] * down[i] + to_up[i] * up[i]) - here[i])
        return
    below, above = u[margin + plane:], u[margin - plane:]
    to_below, to_above = coupling[0, start:], coupling[0, start - plane:]
    for i in range(size):
        new[i] = here[i] + step * (inverse[i] * (
            b[i] + to_right[i] * right[i] + to_left[i] * left[i] + to_down[i] * down[i] + to_up[i] * up[i]
            + to_below[i] * below[i] + to_above[i] * above[i]) - here[i])


@compiled
def _v_cycle(grids, coupling, diagonal, work):
    """One V-cycle in single precision: `work[0]` becomes about the inverse of the operator times `work[1]`.

    Two Chebyshev steps before and after the coarser grid, in the same order: both smoothers are one polynomial in
    D^-1 A, so the cycle is symmetric, as conjugate gradients need it.
    """
    last = len(grids) - 2
    for level in range(last):
        depth, height, width, start, margin = grids[level]
        size = depth * height * width
        u, b, other = work[0, start - margin:], work[1, start:], work[2, start - margin:]
        inverse, first = diagonal[1, start: start + size], other[margin: margin + size]
        for i in range(size):
            first[i] = _STEPS[0] * inverse[i] * b[i]
        _sweep(grids[level], coupling, diagonal, other, b, _STEPS[1], u)
        residual = first  # has served
        _times(grids[level], coupling, diagonal, u, residual)
        coarse_depth, coarse_height, coarse_width, coarse_start, _ = grids[level + 1]
        coarse = work[1, coarse_start: coarse_start + coarse_depth * coarse_height * coarse_width]
        coarse[:] = 0
        for row in range(depth * height):
            z, y = row // height, row % height
            to = coarse[((z // 2) * coarse_height + y // 2) * coarse_width:]
            b_row, au_row = b[row * width: (row + 1) * width], residual[row * width: (row + 1) * width]
            for x in range(width // 2):
                to[x] += (b_row[2 * x] - au_row[2 * x]) + (b_row[2 * x + 1] - au_row[2 * x + 1])
            if width % 2:
                to[width // 2] += b_row[width - 1] - au_row[width - 1]
    start = grids[last, 3]
    work[0, start] = diagonal[1, start] * work[1, start]
    for level in range(last - 1, -1, -1):
        depth, height, width, start, margin = grids[level]
        u, b, other = work[0, start - margin:], work[1, start:], work[2, start - margin:]
        _, coarse_height, coarse_width, coarse_start, _ = grids[level + 1]
        coarse, d = work[0, coarse_start:], diagonal[0, start:]
        for row in range(depth * height):
            z, y = row // height, row % height
            come = coarse[((z // 2) * coarse_height + y // 2) * coarse_width:]
            u_row, d_row = u[margin + row * width:], d[row * width:]
            for x in range(width):
                u_row[x] += come[x // 2] if d_row[x] > 0 else np.float32(0)
        _sweep(grids[level], coupling, diagonal, u, b, _STEPS[0], other)
        _sweep(grids[level], coupling, diagonal, other, b, _STEPS[1], u)


@compiled
def _conjugate_gradients(grids, coupling, diagonal, x, r, p, ap, work, tolerance):
    """Solve for `x` with the right side in `r`; `p` carries the finest grid's margins."""
    depth, height, width, start, margin = grids[0]
    size = depth * height * width
    z, rhs, direction = work[0, start: start + size], work[1, start:], p[margin: margin + size]
    rz_before = 1.0
    for i in range(size):
        rhs[i] = r[i]
    for iteration in range(_MAX_ITERATIONS):
        _v_cycle(grids, coupling, diagonal, work)
        rz = _dot(r, z)
        if rz == 0:  # solved to the last bit, as for a single pixel after one step
            return True
        beta = 0.0 if iteration == 0 else rz / rz_before
        for i in range(size):
            direction[i] = z[i] + beta * direction[i]
        rz_before = rz
        _times(grids[0], coupling, diagonal, p, ap)
        alpha = rz / _dot(direction, ap)
        for i in range(size):
            x[i] += alpha * direction[i]
            r[i] -= alpha * ap[i]
            rhs[i] = r[i]
        # The preconditioned residual is the error before this step within a small factor, and the step shrinks it.
        if _largest(z) <= tolerance:
            return True
    return False


@compiled
def _dot(a, b):
    # Eight sums side by side: one vector register, and one order of addition on every machine.
    total = np.zeros(8)
    whole = len(a) // 8
    for i in range(whole):
        for k in range(8):
            total[k] += a[8 * i + k] * b[8 * i + k]
    for i in range(8 * whole, len(a)):
        total[0] += a[i] * b[i]
    return total.sum()


@compiled
def _largest(a):
    top = np.zeros(8, np.float32)
    whole = len(a) // 8
    for i in range(whole):
        for k in range(8):
            top[k] = max(top[k], abs(a[8 * i + k]))
    for i in range(8 * whole, len(a)):
        top[0] = max(top[0], abs(a[i]))
    return top.max()
