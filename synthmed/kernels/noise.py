"""Gradient noise on a rotated lattice, and the noises that a seed alone determines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthmed.kernels.compiled import compiled


def unit_gradients(cells: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Random unit vectors, one for each node of a lattice, uniform on the circle or the sphere.

    Parameters
    ----------
    cells : sequence of 2 or 3 ints
        Lattice cells along each axis; there is one node more than cells.
    seed : int
        Determines the vectors. They come from the raw stream of PCG64, which NumPy keeps unchanged
        between versions.

    Returns
    -------
    ndarray of float64, shape (cells[0] + 1, ..., n)

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import unit_gradients
    >>> gradients = unit_gradients((2, 3), 7)
    >>> gradients.shape, bool(np.allclose(np.linalg.norm(gradients, axis=-1), 1))
    ((3, 4, 2), True)
    """
    nodes = tuple(c + 1 for c in cells)
    raw = np.random.PCG64(seed).random_raw((len(cells) - 1) * math.prod(nodes))
    uniform = ((raw >> np.uint64(11)) * 2.0**-53).reshape(len(cells) - 1, *nodes)
    angle = 2 * np.pi * uniform[0]
    out = np.empty((*nodes, len(cells)))
    np.cos(angle, out=out[..., -2])
    np.sin(angle, out=out[..., -1])
    if len(cells) == 3:
        z = 2 * uniform[1] - 1
        out[..., 1:] *= np.sqrt(1 - z**2)[..., None]
        out[..., 0] = z
    return out


def sign_noise(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """The sign of white Gaussian noise as 0 or 1: independent fair bits, from the raw stream of
    PCG64(seed).

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import sign_noise
    >>> noise = sign_noise((20, 30), 7)
    >>> noise.shape, noise.dtype, np.unique(noise).tolist()
    ((20, 30), dtype('float32'), [0.0, 1.0])
    """
    size = math.prod(shape)
    words = np.random.PCG64(seed).random_raw((size + 63) // 64).astype("<u8", copy=False)
    bits = np.unpackbits(words.view(np.uint8), count=size, bitorder="little")
    return bits.reshape(shape).astype(np.float32)


def gradient_noise(
    shape: Sequence[int], gradients: ArrayLike, rotation: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Improved Perlin noise [1]_ over a box, scaled to [-1, 1], optionally rotated about the box's
    centre.

    Parameters
    ----------
    shape : sequence of 2 or 3 ints
        The box. The lattice spans it: pixel ``i`` of an axis of length ``n`` lies at ``i * cells /
        n``.
    gradients : array_like, shape (cells_0 + 1, ..., n)
        The gradient vector at each lattice node, components in the order of the axes.
    rotation : array_like, shape (n, n), optional
        Maps an offset from the box's centre, in pixels, to the offset at which the noise is
        evaluated. What comes from outside the box is 0. The noise is evaluated there exactly, not
        interpolated.

    Returns
    -------
    ndarray of float64, shape `shape`
        With unit gradients the factor 2 / sqrt(n) (sqrt 2 in the plane) makes [-1, 1] the range.

    References
    ----------
    .. [1] K. Perlin, "Improving noise", ACM Trans. Graph. 21(3), 681-682, 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import gradient_noise, unit_gradients
    >>> noise = gradient_noise((20, 30), unit_gradients((2, 2), 7), np.eye(2))
    >>> noise.shape, bool(np.abs(noise).max() <= 1)
    ((20, 30), True)
    """
    gradients = np.asarray(gradients, np.float64)
    n = len(shape)
    if (
        n not in (2, 3)
        or gradients.ndim != n + 1
        or gradients.shape[-1] != n
        or min(gradients.shape[:-1]) < 2
    ):
        raise ValueError(
            f"gradients must have shape (cells + 1, ..., n) for a box of {n} axes (2 or 3), got "
            f"{gradients.shape}"
        )
    lattice = np.zeros((*(1,) * (3 - n), *gradients.shape[:-1], 3))
    lattice[..., 3 - n :] = gradients
    turn = np.zeros((3, 3))
    turn[0, 0] = 1
    turn[3 - n :, 3 - n :] = np.eye(n) if rotation is None else rotation
    out = np.empty((*(1,) * (3 - n), *shape))
    _noise(lattice, turn, 2 / math.sqrt(n), out)
    return out.reshape(shape)


@compiled
def _noise(lattice, turn, factor, out):
    # A row of pixels crosses each cell of the lattice in one run: along a run the gradients are
    # constants, and the loop over it is vector code.
    depth, height, width = out.shape
    deep = lattice.shape[0] > 1
    cells_z, cells_y, cells_x = (
        max(lattice.shape[0] - 1, 1),
        lattice.shape[1] - 1,
        lattice.shape[2] - 1,
    )
    middle_z, middle_y, middle_x = (depth - 1) / 2, (height - 1) / 2, (width - 1) / 2
    step_z, step_y, step_x = (
        turn[0, 2] * cells_z / depth,
        turn[1, 2] * cells_y / height,
        turn[2, 2] * cells_x / width,
    )
    # Lattice coordinates of the box's last pixel, with a grace that keeps the box's border under a
    # turn by 0.
    grace = 1e-9
    last_z, last_y, last_x = (
        (depth - 1) * cells_z / depth + grace,
        (height - 1) * cells_y / height + grace,
        (width - 1) * cells_x / width + grace,
    )
    for k in range(depth):
        for i in range(height):
            start_z = (
                (
                    turn[0, 0] * (k - middle_z)
                    + turn[0, 1] * (i - middle_y)
                    - turn[0, 2] * middle_x
                    + middle_z
                )
                * cells_z
                / depth
            )
            start_y = (
                (
                    turn[1, 0] * (k - middle_z)
                    + turn[1, 1] * (i - middle_y)
                    - turn[1, 2] * middle_x
                    + middle_y
                )
                * cells_y
                / height
            )
            start_x = (
                (
                    turn[2, 0] * (k - middle_z)
                    + turn[2, 1] * (i - middle_y)
                    - turn[2, 2] * middle_x
                    + middle_x
                )
                * cells_x
                / width
            )
            row = out[k, i]
            j = 0
            while j < width:
                z, y, x = start_z + step_z * j, start_y + step_y * j, start_x + step_x * j
                if not (-grace <= z <= last_z and -grace <= y <= last_y and -grace <= x <= last_x):
                    row[j] = 0
                    j += 1
                    continue
                cell_z, cell_y, cell_x = max(int(z), 0), max(int(y), 0), max(int(x), 0)
                low_z, low_y, low_x = cell_z - grace, cell_y - grace, cell_x - grace
                high_z, high_y, high_x = (
                    min(cell_z + 1.0, last_z),
                    min(cell_y + 1.0, last_y),
                    min(cell_x + 1.0, last_x),
                )
                end = j + 1
                while (
                    end < width
                    and low_z <= start_z + step_z * end <= high_z
                    and low_y <= start_y + step_y * end <= high_y
                    and low_x <= start_x + step_x * end <= high_x
                ):
                    end += 1
                _run(
                    lattice,
                    cell_z,
                    cell_y,
                    cell_x,
                    deep,
                    start_z + step_z * j - cell_z,
                    start_y + step_y * j - cell_y,
                    start_x + step_x * j - cell_x,
                    step_z,
                    step_y,
                    step_x,
                    factor,
                    row[j:end],
                )
                j = end


@compiled
def _run(lattice, k, i, j, deep, z0, y0, x0, step_z, step_y, step_x, factor, out):
    """Noise along a straight run within one cell."""
    _, a1, a2 = lattice[k, i, j]
    _, b1, b2 = lattice[k, i, j + 1]
    _, c1, c2 = lattice[k, i + 1, j]
    _, d1, d2 = lattice[k, i + 1, j + 1]
    if not deep:
        for n in range(len(out)):
            y, x = y0 + step_y * n, x0 + step_x * n
            fade_y, fade_x = (
                y * y * y * (y * (y * 6 - 15) + 10),
                x * x * x * (x * (x * 6 - 15) + 10),
            )
            top = a1 * y + a2 * x
            top += fade_x * (b1 * y + b2 * (x - 1) - top)
            bottom = c1 * (y - 1) + c2 * x
            bottom += fade_x * (d1 * (y - 1) + d2 * (x - 1) - bottom)
            out[n] = factor * (top + fade_y * (bottom - top))
        return
    a0, b0, c0, d0 = (
        lattice[k, i, j, 0],
        lattice[k, i, j + 1, 0],
        lattice[k, i + 1, j, 0],
        lattice[k, i + 1, j + 1, 0],
    )
    e0, e1, e2 = lattice[k + 1, i, j]
    f0, f1, f2 = lattice[k + 1, i, j + 1]
    g0, g1, g2 = lattice[k + 1, i + 1, j]
    h0, h1, h2 = lattice[k + 1, i + 1, j + 1]
    for n in range(len(out)):
        z, y, x = z0 + step_z * n, y0 + step_y * n, x0 + step_x * n
        fade_z = z * z * z * (z * (z * 6 - 15) + 10)
        fade_y, fade_x = y * y * y * (y * (y * 6 - 15) + 10), x * x * x * (x * (x * 6 - 15) + 10)
        top = a0 * z + a1 * y + a2 * x
        top += fade_x * (b0 * z + b1 * y + b2 * (x - 1) - top)
        bottom = c0 * z + c1 * (y - 1) + c2 * x
        bottom += fade_x * (d0 * z + d1 * (y - 1) + d2 * (x - 1) - bottom)
        front = top + fade_y * (bottom - top)
        z -= 1
        top = e0 * z + e1 * y + e2 * x
        top += fade_x * (f0 * z + f1 * y + f2 * (x - 1) - top)
        bottom = g0 * z + g1 * (y - 1) + g2 * x
        bottom += fade_x * (h0 * z + h1 * (y - 1) + h2 * (x - 1) - bottom)
        out[n] = factor * (front + fade_z * (top + fade_y * (bottom - top) - front))
