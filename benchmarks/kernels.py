"""Kernels against the libraries that do the same, single thread."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
import scipy
from perlin_numpy import generate_perlin_noise_2d, generate_perlin_noise_3d

from benchmarks.harness import Row, compare
from synthmed import kernels

SIDES = (224, 512, 1024, 2048)


def field(shape: tuple[int, ...], sigma: float, seed: int) -> np.ndarray:
    """A smooth random image in [0, 1]."""
    values = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (values - values.min()) / np.ptp(values)


def ellipse(side: int) -> np.ndarray:
    """A mask that has 8,000 pixels at 224."""
    y, x = np.ogrid[:side, :side]
    scale = side / 224
    return ((y - side / 2) / (46.3 * scale)) ** 2 + ((x - side / 2) / (55 * scale)) ** 2 < 1


def perlin() -> Iterator[Row]:
    """A one-cell Perlin mask over a box, rotated and thresholded."""
    turn = kernels.rotation_matrix([30.0], (1, 1))
    gradients = kernels.unit_gradients((1, 1), 0)
    for side in SIDES:
        box = (round(0.4 * side),) * 2

        def peer(box=box):
            noise = generate_perlin_noise_2d(box, (1, 1))
            return scipy.ndimage.rotate(noise, 30, reshape=False, order=1) > 0.3

        def ours(box=box):
            return kernels.gradient_noise(box, gradients, turn) > 0.3

        yield compare(
            "Perlin mask, 40 % box",
            str(side),
            ours,
            "perlin_numpy, scipy.ndimage.rotate, threshold",
            peer,
            "20" if side == 224 else "",
        )
    cube, gradients3 = (64, 96, 96), kernels.unit_gradients((1, 1, 1), 0)
    yield compare(
        "Perlin noise",
        "64 x 96 x 96",
        lambda: kernels.gradient_noise(cube, gradients3) > 0.3,
        "perlin_numpy, threshold",
        lambda: generate_perlin_noise_3d(cube, (1, 1, 1)) > 0.3,
    )


def poisson() -> Iterator[Row]:
    """Exact Poisson blending of an ellipse."""
    costs = {}
    for side in SIDES:
        mask = ellipse(side)
        target, source = field(mask.shape, side / 60, 0), field(mask.shape, side / 60, 1)
        ours = partial(kernels.poisson_blend, target, source, mask)
        size = f"{side}, {mask.sum()} pixels"
        colour = [
            cv2.cvtColor((v * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR) for v in (target, source)
        ]
        white = mask.astype(np.uint8) * 255
        rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
        centre = (int(columns[0] + columns[-1]) // 2, int(rows[0] + rows[-1]) // 2)

        def clone(colour=colour, white=white, centre=centre):  # it overwrites the mask it is given
            return cv2.seamlessClone(colour[1], colour[0], white.copy(), centre, cv2.NORMAL_CLONE)

        row = compare(
            "Poisson blend",
            size,
            ours,
            "cv2.seamlessClone (not exact, 3 channels)",
            clone,
            "3" if side == 224 else "",
        )
        costs[side] = row.ours / mask.sum()
        yield row
        if side <= 512:
            matrix, right = equation(target, source, mask)
            yield compare(
                "Poisson blend",
                size,
                ours,
                "scipy spsolve, matrix given",
                partial(scipy.sparse.linalg.spsolve, matrix, right),
                "15" if side == 224 else "",
            )
            yield compare(
                "Poisson blend",
                size,
                ours,
                "scipy cg to 1e-6, matrix given",
                partial(scipy.sparse.linalg.cg, matrix, right, rtol=1e-6),
            )
    yield Row(
        "Poisson blend, a pixel's cost",
        "2048",
        costs[2048],
        "the same at 224",
        costs[224],
        costs[224] / costs[2048],
        (costs[224] / costs[2048],) * 2,
        "0.67",
    )
    shape = (48, 96, 96)
    z, y, x = np.ogrid[-1:1:48j, -1:1:96j, -1:1:96j]
    mask = z**2 + y**2 + x**2 < 0.8
    target, source = field(shape, 3, 0), field(shape, 3, 1)
    matrix, right = equation(target, source, mask)
    ours = partial(kernels.poisson_blend, target, source, mask)
    yield compare(
        "Poisson blend",
        f"48 x 96 x 96, {mask.sum()} voxels",
        ours,
        "scipy cg to 1e-6, matrix given",
        partial(scipy.sparse.linalg.cg, matrix, right, rtol=1e-6),
    )


def equation(
    target: np.ndarray, source: np.ndarray, mask: np.ndarray
) -> tuple[scipy.sparse.csc_array, np.ndarray]:
    """The sparse system of the blend, for solvers that take one."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    rows, columns, values, right = [], [], [], np.zeros(mask.sum())
    degree = np.zeros(mask.shape)
    for axis in range(mask.ndim):
        ahead = tuple(slice(None, -1) if a == axis else slice(None) for a in range(mask.ndim))
        behind = tuple(slice(1, None) if a == axis else slice(None) for a in range(mask.ndim))
        for here, there in ((ahead, behind), (behind, ahead)):
            degree[here] += 1
            own = mask[here]
            p, q = number[here][own], number[there][own]
            right[p] += (source[here] - source[there])[own]
            right[p[q < 0]] += target[there][own][q < 0]
            rows.append(p[q >= 0])
            columns.append(q[q >= 0])
            values.append(np.full((q >= 0).sum(), -1.0))
    rows.append(number[mask])
    columns.append(number[mask])
    values.append(degree[mask])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csc_array(entries), right


def source() -> Iterator[Row]:
    """The radial deformation of a 40 % box, from the edge distance to the values."""
    alpha = 2.3
    for side in SIDES:
        n = round(0.4 * side)
        image = field((n, n), n / 20, 0)
        to_unit = np.diag([2 / n, 2.2 / n])
        centre = (0.6 * n, 0.45 * n)

        def ours(image=image, n=n, to_unit=to_unit, centre=centre):
            ratio = kernels.edge_ratio((n, n), centre, to_unit)
            return kernels.interpolate(
                image[..., None], kernels.radial_coordinates(ratio, centre, alpha)
            )

        def peer(image=image, n=n, to_unit=to_unit, centre=centre):
            offset = np.indices((n, n)) - np.array(centre)[:, None, None]
            unit = np.tensordot(to_unit, offset, 1)
            start = to_unit @ (np.array(centre) - (n - 1) / 2)
            along = np.tensordot(start, unit, 1)
            square = (unit**2).sum(axis=0)
            ratio = square / np.maximum(
                np.sqrt(np.maximum(along**2 - square * (start @ start - 1), 0)) - along, 1e-12
            )
            factor = np.where((ratio > 0) & (ratio < 1), ratio, 1.0) ** (alpha - 1)
            at = np.array(centre)[:, None, None] + factor * offset
            return scipy.ndimage.map_coordinates(image, at, order=1, mode="nearest")

        assert np.abs(ours()[..., 0] - peer()).max() < 1e-9
        yield compare(
            "Source, 40 % box",
            str(side),
            ours,
            "the map in NumPy, scipy map_coordinates order 1",
            peer,
            "3" if side == 224 else "",
        )


def gaussian() -> Iterator[Row]:
    """The textures of GaussianIntensityChange over a box of 50 %."""
    from synthmed import GaussianIntensityChange, Region, Scene

    for side in SIDES:
        image, n = field((side, side), side / 40, 0), side // 2
        scene = Scene.of(image)
        y, x = np.ogrid[-1 : 1 : 1j * n, -1 : 1 : 1j * n]
        region = Region((side // 5, side // 4), y**2 + x**2 < 0.8)
        anomaly = GaussianIntensityChange()
        drawn = {"seed": 3, "sigma": 7.0, "gamma": 0.5, "softness": 2.5}
        unit = side / 224

        def peer(scene=scene, region=region, drawn=drawn, unit=unit):
            noise = (
                np.random.default_rng(drawn["seed"]).normal(size=region.inside.shape) > 0
            ).astype(np.float64)
            texture = scipy.ndimage.gaussian_filter(noise, drawn["sigma"] * unit)
            texture = (texture - texture.min()) / np.ptp(texture)
            margin = int(4 * drawn["softness"] * unit) + 2
            soft = scipy.ndimage.gaussian_filter(
                np.pad(region.inside.astype(np.float64), margin), drawn["softness"] * unit
            )
            soft = soft[margin:-margin, margin:-margin] * region.inside
            return scene.patch(region.box)[..., 0] + drawn["gamma"] * texture * soft

        def ours(scene=scene, region=region, anomaly=anomaly, drawn=drawn):
            return anomaly.change(drawn, scene, region)[0]

        yield compare(
            "Gaussian intensity change, 50 % box",
            str(side),
            ours,
            "the formula with gaussian_filter in float64",
            peer,
            "5" if side == 224 else "",
        )
