"""Radial deformation inside a region: how far out each pixel lies, and from where its value comes.

Everything is told by one number a pixel, the ratio ``d / D`` of its distance from the centre to the
distance of the region's edge on the same ray. It is the same in voxels as in millimetres, so voxel
sizes play no part here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthmed.kernels.compiled import compiled


def edge_ratio(
    shape: Sequence[int], centre: Sequence[float], to_unit: ArrayLike, box: bool = False
) -> NDArray[np.float64]:
    """Ratio ``d / D`` in closed form for an ellipse or a parallelogram, or their likes in 3-D.

    Parameters
    ----------
    shape : sequence of 2 or 3 ints
        The array over which to compute. The figure's middle is the array's middle.
    centre : sequence of float
        The point from which distances are taken, in pixels; inside the figure.
    to_unit : array_like, shape (n, n)
        Linear map that takes offsets from the figure's middle to the unit ball, or to the cube [-1,
        1]^n.
    box : bool
        False: the figure is the ball's preimage (an ellipse). True: the cube's (a rectangle).

    Returns
    -------
    ndarray of float64, shape `shape`
        0 at the centre, 1 on the edge, above 1 outside.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import edge_ratio
    >>> ratio = edge_ratio((5, 5), (2, 2), np.eye(2) / 2, box=False)
    >>> float(ratio[2, 2]), float(ratio[2, 3]), float(ratio[2, 4])
    (0.0, 0.5, 1.0)
    """
    n = len(shape)
    figure = np.zeros((3, 3))
    figure[3 - n :, 3 - n :] = to_unit
    point = np.zeros(3)
    point[3 - n :] = centre
    out = np.empty((*(1,) * (3 - n), *shape))
    _closed_form(figure, point, box, out)
    return out.reshape(tuple(shape))


def exit_ratio(inside: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.float64]:
    """Ratio ``d / D`` for any region, ``D`` the distance at which the ray from the centre first
    leaves it.

    Parameters
    ----------
    inside : ndarray of bool, shape (H, W) or (D, H, W)
        The region as a union of pixel squares (voxel cubes); the ray is followed through them
        exactly.
    centre : sequence of int
        A pixel of the region.

    Returns
    -------
    ndarray of float64, shape of `inside`
        0 at the centre; below 1 where the straight line from the centre stays inside; 1 or more in
        what the centre does not see.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import exit_ratio
    >>> ratio = exit_ratio(np.ones((5, 5), bool), (2, 2))
    >>> float(ratio[2, 2]), float(ratio[2, 4])
    (0.0, 0.8)
    """
    n = inside.ndim
    volume = np.ascontiguousarray(inside).reshape(*(1,) * (3 - n), *inside.shape)
    point = np.zeros(3, np.int64)
    point[3 - n :] = centre
    out = np.empty(volume.shape)
    _first_exit(volume, point, out)
    return out.reshape(inside.shape)


def radial_coordinates(
    ratio: NDArray[np.float64], centre: Sequence[float], alpha: float, sink: bool = False
) -> NDArray[np.float64]:
    """Where each pixel of a radially deformed region reads its value ([1]_, the Source and Sink
    deformations).

    A pixel at distance ``d`` reads at ``D (d / D)**alpha`` on its ray (Source: content moves
    outwards), or at ``D (1 - (1 - d / D)**alpha)`` (Sink: content moves inwards). Pixels with a
    ratio of 1 or more read themselves.

    Parameters
    ----------
    ratio : ndarray of float64, shape (H, W) or (D, H, W)
        From `edge_ratio` or `exit_ratio`.
    centre : sequence of float
        In pixels.
    alpha : float
        Strength; 1 moves nothing.
    sink : bool
        Sink instead of Source.

    Returns
    -------
    ndarray of float64, shape (n, *ratio.shape)

    References
    ----------
    .. [1] M. Baugh et al., "Many tasks make light work: learning to localise medical anomalies from
    multiple synthetic
       tasks", MICCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import edge_ratio, radial_coordinates
    >>> ratio = edge_ratio((5, 5), (2, 2), np.eye(2) / 2, box=False)
    >>> radial_coordinates(ratio, (2, 2), 2.0, False)[1][2].tolist()
    [0.0, 1.5, 2.0, 2.5, 4.0]
    """
    within = np.minimum(ratio, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (1 - (1 - within) ** alpha) / within if sink else within ** (alpha - 1)
    if sink:
        factor[within == 0] = 0  # the centre itself
    out = np.empty((ratio.ndim, *ratio.shape))
    for axis, (row, middle) in enumerate(zip(out, centre, strict=True)):
        steps = np.arange(ratio.shape[axis]) - middle
        np.multiply(
            factor, steps.reshape([-1 if a == axis else 1 for a in range(ratio.ndim)]), out=row
        )
        row += middle
    return out


@compiled
def _closed_form(figure, centre, box, out):
    depth, height, width = out.shape
    middle = np.array([(depth - 1) / 2, (height - 1) / 2, (width - 1) / 2])
    start = figure @ (centre - middle)
    short = start @ start - 1
    tiny = 1e-12
    for z in range(depth):
        for y in range(height):
            row = out[z, y]
            a = figure[0, 0] * (z - centre[0]) + figure[0, 1] * (y - centre[1])
            b = figure[1, 0] * (z - centre[0]) + figure[1, 1] * (y - centre[1])
            c = figure[2, 0] * (z - centre[0]) + figure[2, 1] * (y - centre[1])
            for x in range(width):
                u = a + figure[0, 2] * (x - centre[2])
                v = b + figure[1, 2] * (x - centre[2])
                w = c + figure[2, 2] * (x - centre[2])
                if box:
                    p = abs(u) / max(1 - (start[0] if u > 0 else -start[0]), tiny)
                    q = abs(v) / max(1 - (start[1] if v > 0 else -start[1]), tiny)
                    r = abs(w) / max(1 - (start[2] if w > 0 else -start[2]), tiny)
                    row[x] = max(p, max(q, r))
                else:
                    length = u * u + v * v + w * w
                    along = start[0] * u + start[1] * v + start[2] * w
                    row[x] = length / max(
                        np.sqrt(max(along * along - length * short, 0.0)) - along, tiny
                    )


@compiled
def _first_exit(inside, centre, out):
    shape = inside.shape
    direction, cell = np.zeros(3), np.zeros(3, np.int64)
    for z in range(shape[0]):
        for y in range(shape[1]):
            for x in range(shape[2]):
                direction[0], direction[1], direction[2] = (
                    z - centre[0],
                    y - centre[1],
                    x - centre[2],
                )
                if not inside[z, y, x]:
                    out[z, y, x] = np.inf
                    continue
                if z == centre[0] and y == centre[1] and x == centre[2]:
                    out[z, y, x] = 0
                    continue
                # t counts lengths of the vector from the centre to this pixel; the ray leaves at t
                # = D / d.
                cell[:] = centre
                while True:
                    leave, axis = np.inf, 0
                    for k in range(3):
                        if direction[k] != 0:
                            wall = cell[k] - centre[k] + (0.5 if direction[k] > 0 else -0.5)
                            t = wall / direction[k]
                            if t < leave:
                                leave, axis = t, k
                    cell[axis] += 1 if direction[axis] > 0 else -1
                    if not (0 <= cell[axis] < shape[axis]) or not inside[cell[0], cell[1], cell[2]]:
                        break
                out[z, y, x] = 1 / leave
