"""A foreign patch, mixed in by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.donors import draw_donor, drawn_donor
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import RectangleMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class Interpolation(Anomaly):
    """A convex mix of the image and a foreign patch, from barely there to all foreign.

    The patch comes from one of the call's `donors`, or from the image itself at another place; it
    is neither turned nor scaled, unless the donor is smaller than the mask's box.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    blend : {"linear", "poisson"}
        ``(1 - factor) * image + factor * patch`` (FPI [1]_); or Poisson image editing with, at each
        pair of pixels, the larger of the image's gradient times ``1 - factor`` and the patch's
        times ``factor`` (PII [2]_).
    factor : Number
        From what the factor is drawn, within [0, 1].
    place : {"same", "anywhere"}
        Where the donor is read: at the mask's own place (for a donor of another size, at the same
        relative one), or at a place that is drawn. The image itself is read anywhere.

    Notes
    -----
    With ``soft=True`` the label is the factor.

    References
    ----------
    .. [1] J. Tan, B. Hou, J. Batten, H. Qiu, B. Kainz, "Detecting outliers with foreign patch
       interpolation", arXiv 2011.04197, 2020.
    .. [2] J. Tan, B. Hou, T. Day, J. Simpson, D. Rueckert, B. Kainz, "Detecting outliers with
       Poisson image interpolation", MICCAI 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Interpolation
    >>> scan, other = np.random.default_rng(0).random((2, 64, 64))
    >>> sample = Interpolation(factor=0.5)(scan, rng=7, donors=[other])
    >>> inside = sample.mask
    >>> bool(np.allclose(sample.image[inside], (scan / 2 + other / 2)[inside]))
    True
    >>> bool((sample.image == scan)[~inside].all())
    True
    """

    mask: Generator = RectangleMask()
    blend: Literal["linear", "poisson"] = "linear"
    factor: Number = (0.05, 0.95)
    place: Literal["same", "anywhere"] = "same"

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.choice(self, "blend", ("linear", "poisson"))
        require_number(self, "factor", 0, 1)
        validation.choice(self, "place", ("same", "anywhere"))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the donor, the factor, and where the donor is read."""
        drawn, donor = draw_donor(rng, scene)
        free = [n - b for n, b in zip(donor.shape, region.inside.shape, strict=False)]
        if drawn is not None and self.place == "same":
            room = [n - b for n, b in zip(scene.shape, region.inside.shape, strict=True)]
            corner = [
                round(c * max(f, 0) / r) if r else 0
                for c, f, r in zip(region.corner, free, room, strict=True)
            ]
        else:
            corner = [int(rng.integers(max(f, 0) + 1)) for f in free]
        return {"donor": drawn, "corner": corner, "factor": draw_number(rng, self.factor)}

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Mix the patch in."""
        donor = drawn_donor(parameters["donor"], scene, type(self).__name__)
        factor, corner = parameters["factor"], parameters["corner"]
        if self.blend == "linear":
            patch = foreign_patch(donor, scene, region, corner, 0)
            return (1 - factor) * scene.patch(region.box) + factor * patch, region.inside
        grown = region.grown_box(1, scene.shape)
        values = kernels.poisson_blend(
            scene.patch(grown),
            factor * foreign_patch(donor, scene, region, corner, 1),
            region.inside_of(grown),
            mixed=True,
            target_weight=1 - factor,
        )
        return values[region.core(grown)], region.inside

    def soft_label(
        self, parameters: Parameters, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> float:
        """The factor, as both papers label it."""
        return parameters["factor"]


def foreign_patch(
    donor: NDArray[Any], scene: Scene, region: Region, corner: list[int], margin: int
) -> NDArray[np.float64]:
    """What a donor shows, scaled as by `Scene.patch`, for the region's box and a margin around it
    as far as the image goes on.

    The box's first pixel reads the donor at `corner`. Beyond its border the donor's border is read;
    a box larger than the donor reads all of it, scaled to the box.
    """
    box, grown = region.box, region.grown_box(margin, scene.shape)
    steps = [
        min(1.0, (n - 1) / (s.stop - s.start - 1)) if s.stop - s.start > 1 else 1.0
        for s, n in zip(box, donor.shape, strict=False)
    ]
    origin = [
        c + (g.start - s.start) * t for c, g, s, t in zip(corner, grown, box, steps, strict=True)
    ]
    coordinates = kernels.affine_coordinates(
        [g.stop - g.start for g in grown], np.diag(steps), origin
    )
    # Only what is read is converted.
    parts = []
    for axis, (n, values) in enumerate(zip(donor.shape, coordinates, strict=False)):
        low = max(int(values.min()), 0)
        parts.append(slice(low, min(int(values.max()) + 2, n)))
        coordinates[axis] -= low
    return kernels.interpolate(scene.normalised(donor[tuple(parts)]), coordinates)
