"""A patch from elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.donors import draw_donor, drawn_donor
from synthmed.distributions import Gamma, Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import PerlinMask
from synthmed.scene import Box, Region, Scene

_FLAT = 3  # voxels along an axis, too few to read a tilted patch from


@dataclass(frozen=True, repr=False)
class CutPaste(Anomaly):
    """A patch of normal tissue, rotated and scaled, at a place where it does not belong.

    The patch comes from one of the call's `donors`, or from the image itself.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    blend : {"poisson", "mixed", "direct"}
        Poisson image editing with the patch's gradients; with the larger of the patch's and the
        image's gradients at each pair of pixels; or the patch's values as they are.
    rotation : Number
        Of the patch, in degrees (in 3-D, one angle for each pair of axes).
    scale : Number
        A factor `s` by which the patch is scaled; by default 1 plus an exponential number of mean
        0.1.
    inverse : bool
        Scale by `s`, then at least 1, or by ``1 / s``, either with probability one half; otherwise
        by `s` alone.
    source_share : float
        Largest sides of the part of the donor that is read, as a fraction of the donor's; `s` is
        limited by it.
    order : int
        Order of the spline by which the patch is read: 1 linear, 3 cubic.
    label : {"mask", "changed"}
        The mask that is returned: the shape drawn, or the pixels that visibly changed, each
        connected component closed with a 3 x 3 square and its holes filled.
    logistic : (float, float), optional
        Steepness `k` and middle `m` of the label with ``soft=True``: where something changed, ``1 /
        (1 + exp(-k (d - m)))`` of the mean change `d` over the channels, on a scale of 0 to 255 for
        the value range (NSA). By default the label is the visible change.

    References
    ----------
    Zhang et al., "MediCLIP", MICCAI 2024, section 2.2; Perez et al., "Poisson image editing", 2003;
    H. M. Schlueter et al., "Natural synthetic anomalies for self-supervised anomaly detection and
    localization" (NSA), ECCV 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import CutPaste
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = CutPaste(blend="mixed")(scan, rng=7)
    >>> sample.image.shape, sample.image.dtype, sample.mask.dtype
    ((64, 64), dtype('float64'), dtype('bool'))
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    >>> sample.record["anomalies"]
    ['CutPaste']
    """

    mask: Generator = PerlinMask()
    blend: Literal["poisson", "mixed", "direct"] = "poisson"
    rotation: Number = (-45.0, 45.0)
    scale: Number = Gamma(1.0, 0.1, offset=1.0)
    inverse: bool = True
    source_share: float = 0.8
    order: int = 1
    label: Literal["mask", "changed"] = "mask"
    logistic: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.choice(self, "blend", ("poisson", "mixed", "direct"))
        require_number(self, "rotation", -180, 180)
        validation.choice(self, "inverse", (False, True))
        require_number(self, "scale", 1 if self.inverse else 1e-3)
        validation.number(self, "source_share", 0, 1)
        validation.choice(self, "order", range(6))
        validation.choice(self, "label", ("mask", "changed"))
        if self.logistic is not None:
            validation.numbers(self, "logistic", 0)
            if len(self.logistic) != 2:
                raise ValueError(
                    f"CutPaste: logistic must be a pair (steepness, middle), got {self.logistic!r}"
                )

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the donor, the patch's rotation and scale, and the middle of the part that is
        read.
        """
        drawn, donor = draw_donor(rng, scene)
        n = len(scene.shape)
        angles = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(n, 2))])
        thin = scene.thin_axis
        if thin is not None and scene.shape[thin] <= _FLAT and region.inside.shape[thin] == 1:
            angles = scene.levelled(angles)
        s = draw_number(rng, self.scale)
        if self.inverse:
            s = s if rng.random() < 0.5 else 1 / s
        turn = kernels.rotation_matrix(angles, scene.spacing) / s
        reach = np.abs(turn) @ [(b - 1) / 2 for b in region.inside.shape]
        shrink = min(
            1.0,
            *(
                (self.source_share * k - 1) / (2 * r) if r > 0 else 1.0
                for k, r in zip(donor.shape[:-1], reach, strict=True)
            ),
        )
        shrink = max(shrink, 1e-3)
        middle = [
            rng.uniform(r * shrink, max(k - 1 - r * shrink, r * shrink))
            for k, r in zip(donor.shape[:-1], reach, strict=True)
        ]
        return {
            "donor": drawn,
            "rotation": angles.tolist(),
            "scale": float(s / shrink),
            "middle": [float(m) for m in middle],
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read the patch and blend it in."""
        donor = drawn_donor(parameters["donor"], scene, "CutPaste")
        turn = kernels.rotation_matrix(parameters["rotation"], scene.spacing) / parameters["scale"]
        # Blending needs the patch's gradients across the mask's edge: one pixel more where the
        # image goes on.
        grown = region.grown_box(1, scene.shape)
        before = scene.patch(grown)
        values = self._patch(donor, scene, turn, parameters["middle"], region.box, grown)
        inside, core = region.inside_of(grown), region.core(grown)
        if self.blend != "direct":
            values = kernels.poisson_blend(before, values, inside, mixed=self.blend == "mixed")
        values, before, inside = values[core], before[core], inside[core]
        if self.label == "changed":
            seen = (np.abs(np.clip(values, 0, 1) - before) >= 1 / 255).any(axis=-1)
            inside = _closed(inside & seen)
        return np.where(region.inside[..., None], values, before), inside

    def soft_label(
        self, parameters: Parameters, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The visible change, or NSA's function of it."""
        change = np.abs(after - before)
        if self.logistic is None:
            return change.max(axis=-1)
        steepness, middle = self.logistic
        seen = change.max(axis=-1) >= (1 - 1e-9) / 255  # changes of one grey level among them
        return seen * scipy.special.expit(steepness * (255 * change.mean(axis=-1) - middle))

    def _patch(
        self,
        donor: NDArray[Any],
        scene: Scene,
        turn: NDArray[np.float64],
        middle: list[float],
        box: Box,
        grown: Box,
    ) -> NDArray[np.float64]:
        """The donor's values for the grown box: the middle of the mask's box reads at `middle`."""
        offsets = [g.start - (s.start + s.stop - 1) / 2 for g, s in zip(grown, box, strict=True)]
        coordinates = kernels.affine_coordinates(
            [g.stop - g.start for g in grown], turn, turn @ offsets + middle
        )
        # Only what is read is converted. A spline's coefficients reach further: 0.27 to the 12th is
        # nothing.
        margin = 1 if self.order < 2 else 12
        low = [max(int(c.min()) - margin, 0) for c in coordinates]
        high = [int(c.max()) + margin + 1 for c in coordinates]
        low = [min(a, n - 1) for a, n in zip(low, donor.shape, strict=False)]
        values = scene.normalised(
            donor[tuple(slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True))]
        )
        for c, a in zip(coordinates, low, strict=True):
            c -= a
        return kernels.interpolate(values, coordinates, self.order)


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each connected component closed with a square of side 3, its holes filled."""
    square = np.ones((3,) * mask.ndim)
    labels, _ = scipy.ndimage.label(mask, structure=square)
    out = np.zeros_like(mask)
    for i, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
        component = np.pad(labels[box] == i, 1)
        component = scipy.ndimage.binary_fill_holes(
            scipy.ndimage.binary_closing(component, structure=square)
        )
        out[box] |= component[(slice(1, -1),) * mask.ndim]
    return out
