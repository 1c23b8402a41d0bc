"""Rotations by angles in the coordinate planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


def rotation_matrix(degrees: Sequence[float], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Rotate offsets in voxels by angles that hold in physical space.

    Parameters
    ----------
    degrees : sequence of float
        One angle in the plane; in 3-D three, for the planes of axes (0, 1), (0, 2) and (1, 2),
        applied in this order.
    spacing : sequence of 2 or 3 floats
        Voxel size along each axis.

    Returns
    -------
    ndarray of float64, shape (n, n)
        With equal spacing, an orthogonal matrix.

    Examples
    --------
    >>> from synthmed.kernels import rotation_matrix
    >>> rotation_matrix([90.0], (1.0, 1.0)).round(9).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    n = len(spacing)
    matrix = [[float(i == j) for j in range(n)] for i in range(n)]
    for (i, j), angle in zip(combinations(range(n), 2), degrees, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        a, b = matrix[i], matrix[j]
        matrix[i] = [c * p - s * q for p, q in zip(a, b, strict=True)]
        matrix[j] = [s * p + c * q for p, q in zip(a, b, strict=True)]
    return np.array(
        [[v * spacing[j] / spacing[i] for j, v in enumerate(row)] for i, row in enumerate(matrix)]
    )
