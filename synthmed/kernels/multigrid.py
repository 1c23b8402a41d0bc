"""A solver for the Poisson equation on the pixels of a mask, the other pixels being fixed.

Conjugate gradients in double precision, preconditioned by one multigrid V-cycle in single
precision, on the five-point (in 3-D, seven-point) equation. Coarse grids are built from the mask
itself by aggregating 2 x 2 (x 2) pixels, so masks with holes, gates one pixel wide or borders on
the image's edge cost no more iterations than a disc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from synthmed.kernels.compiled import compiled

# Aggregation by constants overestimates the energy of a smooth correction: coarse couplings are
# halved, and the couplings to fixed pixels, whose distance does not double, are scaled by a factor
# between 1/2 and 1.
_COUPLING, _FIXED = np.float32(0.5), np.float32(0.7)
# Roots of the Chebyshev polynomial of degree 2 on [0.4, 2], the upper part of the spectrum of D^-1
# A.
_STEPS = np.array(
    [1 / (1.2 + 0.8 * np.cos(np.pi / 4)), 1 / (1.2 - 0.8 * np.cos(np.pi / 4))], np.float32
)
_MAX_ITERATIONS = 200


@lru_cache(maxsize=256)
def _grids(shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Rows (depth, height, width, start, margin) of the grids from fine to one single cell, laid
    end to end.
    """
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


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The operators of all grids, laid end to end.

    Attributes
    ----------
    grids : ndarray of int64, shape (grids + 1, 5)
        Rows (depth, height, width, start, margin) from the finest grid to one single cell; last,
        the total size.
    coupling : ndarray of float32, shape (3, size)
        Of each cell to the next along each axis.
    diagonal : ndarray of float32, shape (3, size)
        The operator's diagonal, its inverse, and the share of it that couples to fixed pixels.
    """

    grids: NDArray[np.int64]
    coupling: NDArray[np.float32]
    diagonal: NDArray[np.float32]

    def fixed(self) -> NDArray[np.float32]:
        """On the finest grid, the number of fixed neighbours."""
        return self.diagonal[2, self.grids[0, 3] :]


def assemble(inside: NDArray[np.bool_]) -> Hierarchy:
    """The hierarchy for the pixels `inside`, shape (D, H, W), whose neighbours in the array are
    either inside or fixed.
    """
    grids = _grids(inside.shape)
    coupling = np.zeros((3, grids[-1, 3]), np.float32)
    diagonal = np.zeros((3, grids[-1, 3]), np.float32)
    _assemble(inside, grids, coupling, diagonal)
    return Hierarchy(grids, coupling, diagonal)


def solve(
    hierarchy: Hierarchy, right: NDArray[np.float64], tolerance: float
) -> NDArray[np.float64]:
    """Solve for the correction; `right`, one value a pixel of the finest grid, 0 outside the mask,
    is used up.

    Stops when no pixel's error is estimated above `tolerance`.
    """
    grids = hierarchy.grids
    x, ap = np.zeros((2, right.size))
    p = np.zeros(right.size + 2 * grids[0, 4])
    work = np.zeros((3, grids[-1, 3]), np.float32)
    if not _conjugate_gradients(
        grids, hierarchy.coupling, hierarchy.diagonal, x, right, p, ap, work, tolerance
    ):
        raise RuntimeError("the Poisson solver did not converge; please report the mask")
    return x


@compiled
def _assemble(inside, grids, coupling, diagonal):
    depth, height, width, start, _ = grids[0]
    flat = inside.reshape(-1)
    for row in range(depth * height):
        z, y = row // height, row % height
        at = row * width
        wz, wy, wx = coupling[0, start + at :], coupling[1, start + at :], coupling[2, start + at :]
        d, here = diagonal[0, start + at :], flat[at:]
        # int: the sum of two bools of NumPy, which these are without the compiler, is a bool.
        around = np.float32(int(z > 0) + int(z + 1 < depth) + int(y > 0) + int(y + 1 < height) + 2)
        for x in range(width):
            d[x] = around * here[x]
        d[0] -= here[0]
        d[width - 1] -= here[width - 1]
        for x in range(width - 1):
            wx[x] = here[x] * here[x + 1]
        if y + 1 < height:
            below = flat[at + width :]
            for x in range(width):
                wy[x] = here[x] * below[x]
        if z + 1 < depth:
            behind = flat[at + height * width :]
            for x in range(width):
                wz[x] = here[x] * behind[x]
    for level in range(len(grids) - 1):
        depth, height, width, start, _ = grids[level]
        size, plane = depth * height * width, height * width
        d, inverse, fixed = diagonal[0, start:], diagonal[1, start:], diagonal[2, start:]
        right, left = coupling[2, start:], coupling[2, start - 1 :]
        down, up = coupling[1, start:], coupling[1, start - width :]
        # `inverse` holds the couplings to other cells for a moment.
        for i in range(size):
            inverse[i] = right[i] + left[i] + down[i] + up[i]
        if depth > 1:
            behind, before = coupling[0, start:], coupling[0, start - plane :]
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
                _add_pairs(coupling[0, start + at :], width, _COUPLING, coupling[0, to:])


@compiled
def _add_pairs(row, width, factor, out):
    for x in range(width // 2):
        out[x] += factor * (row[2 * x] + row[2 * x + 1])
    if width % 2:
        out[width // 2] += factor * row[width - 1]


@compiled
def _times(grid, coupling, diagonal, u, out):
    """`out = A u` on one grid; `u` carries the grid's margins, `out` does not."""
    # Neighbours are views shifted by one step: with indices that cannot be negative the loops
    # become vector code.
    depth, height, width, start, margin = grid
    size, plane = depth * height * width, height * width
    d, here = diagonal[0, start : start + size], u[margin : margin + size]
    right, left, down, up = (
        u[margin + 1 :],
        u[margin - 1 :],
        u[margin + width :],
        u[margin - width :],
    )
    to_right, to_left = coupling[2, start:], coupling[2, start - 1 :]
    to_down, to_up = coupling[1, start:], coupling[1, start - width :]
    for i in range(size):
        out[i] = (
            d[i] * here[i]
            - to_right[i] * right[i]
            - to_left[i] * left[i]
            - to_down[i] * down[i]
            - to_up[i] * up[i]
        )
    if depth > 1:
        below, above = u[margin + plane :], u[margin - plane :]
        to_below, to_above = coupling[0, start:], coupling[0, start - plane :]
        for i in range(size):
            out[i] -= to_below[i] * below[i] + to_above[i] * above[i]


@compiled
def _sweep(grid, coupling, diagonal, u, b, step, out):
    """One relaxed Jacobi step, `out = u + step D^-1 (b - A u)`, in one pass; `u` and `out` carry
    the margins.
    """
    depth, height, width, start, margin = grid
    size, plane = depth * height * width, height * width
    inverse = diagonal[1, start : start + size]
    here, new = u[margin : margin + size], out[margin : margin + size]
    right, left, down, up = (
        u[margin + 1 :],
        u[margin - 1 :],
        u[margin + width :],
        u[margin - width :],
    )
    to_right, to_left = coupling[2, start:], coupling[2, start - 1 :]
    to_down, to_up = coupling[1, start:], coupling[1, start - width :]
    if depth == 1:
        for i in range(size):
            new[i] = here[i] + step * (
                inverse[i]
                * (
                    b[i]
                    + to_right[i] * right[i]
                    + to_left[i] * left[i]
                    + to_down[i] * down[i]
                    + to_up[i] * up[i]
                )
                - here[i]
            )
        return
    below, above = u[margin + plane :], u[margin - plane :]
    to_below, to_above = coupling[0, start:], coupling[0, start - plane :]
    for i in range(size):
        new[i] = here[i] + step * (
            inverse[i]
            * (
                b[i]
                + to_right[i] * right[i]
                + to_left[i] * left[i]
                + to_down[i] * down[i]
                + to_up[i] * up[i]
                + to_below[i] * below[i]
                + to_above[i] * above[i]
            )
            - here[i]
        )


@compiled
def _v_cycle(grids, coupling, diagonal, work):
    """One V-cycle in single precision: `work[0]` becomes about the inverse of the operator times
    `work[1]`.

    Two Chebyshev steps before and after the coarser grid, in the same order: both smoothers are one
    polynomial in D^-1 A, so the cycle is symmetric, as conjugate gradients need it.
    """
    last = len(grids) - 2
    for level in range(last):
        depth, height, width, start, margin = grids[level]
        size = depth * height * width
        u, b, other = work[0, start - margin :], work[1, start:], work[2, start - margin :]
        inverse, first = diagonal[1, start : start + size], other[margin : margin + size]
        for i in range(size):
            first[i] = _STEPS[0] * inverse[i] * b[i]
        _sweep(grids[level], coupling, diagonal, other, b, _STEPS[1], u)
        residual = first  # has served
        _times(grids[level], coupling, diagonal, u, residual)
        coarse_depth, coarse_height, coarse_width, coarse_start, _ = grids[level + 1]
        coarse = work[1, coarse_start : coarse_start + coarse_depth * coarse_height * coarse_width]
        coarse[:] = 0
        for row in range(depth * height):
            z, y = row // height, row % height
            to = coarse[((z // 2) * coarse_height + y // 2) * coarse_width :]
            b_row, au_row = (
                b[row * width : (row + 1) * width],
                residual[row * width : (row + 1) * width],
            )
            for x in range(width // 2):
                to[x] += (b_row[2 * x] - au_row[2 * x]) + (b_row[2 * x + 1] - au_row[2 * x + 1])
            if width % 2:
                to[width // 2] += b_row[width - 1] - au_row[width - 1]
    start = grids[last, 3]
    work[0, start] = diagonal[1, start] * work[1, start]
    for level in range(last - 1, -1, -1):
        depth, height, width, start, margin = grids[level]
        u, b, other = work[0, start - margin :], work[1, start:], work[2, start - margin :]
        _, coarse_height, coarse_width, coarse_start, _ = grids[level + 1]
        coarse, d = work[0, coarse_start:], diagonal[0, start:]
        for row in range(depth * height):
            z, y = row // height, row % height
            come = coarse[((z // 2) * coarse_height + y // 2) * coarse_width :]
            u_row, d_row = u[margin + row * width :], d[row * width :]
            for x in range(width):
                u_row[x] += come[x // 2] if d_row[x] > 0 else np.float32(0)
        _sweep(grids[level], coupling, diagonal, u, b, _STEPS[0], other)
        _sweep(grids[level], coupling, diagonal, other, b, _STEPS[1], u)


@compiled
def _conjugate_gradients(grids, coupling, diagonal, x, r, p, ap, work, tolerance):
    """Solve for `x` with the right side in `r`; `p` carries the finest grid's margins."""
    depth, height, width, start, margin = grids[0]
    size = depth * height * width
    z, rhs, direction = work[0, start : start + size], work[1, start:], p[margin : margin + size]
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
        # The preconditioned residual is the error before this step within a small factor, and the
        # step shrinks it.
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
    result = 0.0  # not `sum`, whose order differs between NumPy and Numba
    for k in range(8):
        result += total[k]
    return result


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
