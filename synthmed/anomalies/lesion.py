"""A focal lesion: other tissue with a texture of its own and a soft edge; or none, a cavity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.anomalies.profiles import erf_edge, mean_inside
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import BlobMask, LesionMask, StrokeMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class Lesion(Anomaly):
    """A brighter or darker lesion of blurred texture, with an error-function edge.

    With ``w`` growing by the error function from 0 at the mask's edge to 1, and ``m`` the image's
    mean in the mask, a value ``v`` (the value range scaled to [0, 1]) becomes ``v + w (opacity
    (m - v) + contrast + texture)``.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    contrast : Number
        How much brighter or darker it is, as a share of the value range.
    polarity : {"either", "brighter", "darker"}
        Which of the two; either, with probability one half each.
    opacity : Number
        How much of the tissue's own texture is lost, within [0, 1].
    texture : Number
        Standard deviation of the lesion's texture, as a share of the value range.
    grain : Number
        Standard deviation of the texture's blur, in pixels at an image side of 224.
    edge : Number
        Standard deviation of the edge's blur, in pixels at an image side of 224.
    channel_factors : tuple of float, optional
        What the contrast is multiplied by in each channel, for channels that are sequences: ``(1,
        -0.5)`` is bright in the first (FLAIR, say) and half as dark in the second (T1). By default
        1 in all of them.

    References
    ----------
    Q. Hu et al., "Label-free liver tumor segmentation", CVPR 2023, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Lesion
    >>> scan = np.random.default_rng(0).random((64, 64)) / 2
    >>> sample = Lesion(polarity="brighter")(scan, rng=7, value_range=(0, 1))
    >>> bool(sample.image[sample.mask].mean() > scan[sample.mask].mean())
    True
    >>> sample.record["anomalies"]
    ['Lesion']
    """

    mask: Generator = LesionMask()
    contrast: Number = (0.08, 0.3)
    polarity: Literal["either", "brighter", "darker"] = "either"
    opacity: Number = (0.3, 0.8)
    texture: Number = (0.005, 0.03)
    grain: Number = (1.0, 4.0)
    edge: Number = (1.0, 4.0)
    channel_factors: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require_number(self, "contrast", 0)
        validation.choice(self, "polarity", ("either", "brighter", "darker"))
        require_number(self, "opacity", 0, 1)
        for name in ("texture", "grain", "edge"):
            require_number(self, name, 0)
        if self.channel_factors is not None:
            validation.numbers(self, "channel_factors")

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the contrast with its sign, and the texture's seed, strength and grain."""
        contrast = draw_number(rng, self.contrast)
        if self.polarity == "darker" or (self.polarity == "either" and rng.random() < 0.5):
            contrast = -contrast
        return {
            "contrast": contrast,
            "opacity": draw_number(rng, self.opacity),
            "texture": draw_number(rng, self.texture),
            "grain": draw_number(rng, self.grain),
            "edge": draw_number(rng, self.edge),
            "seed": int(rng.integers(2**53)),
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Replace a share of the tissue, and add contrast and texture."""
        factors = np.ones(scene.image.shape[-1])
        if self.channel_factors is not None:
            factors = np.array(self.channel_factors)
            if len(factors) != scene.image.shape[-1]:
                raise ValueError(
                    f"{type(self).__name__}: channel_factors must hold one number for each of "
                    f"the image's {scene.image.shape[-1]} channels, got {self.channel_factors!r}"
                )
        values = scene.patch(region.box)
        weight = erf_edge(region, scene, parameters["edge"])[..., None]
        texture = parameters["texture"] * kernels.standard_noise(
            region.inside.shape, parameters["seed"], scene.pixels(parameters["grain"])
        )
        step = parameters["opacity"] * (mean_inside(values, region.inside) - values)
        step += parameters["contrast"] * factors + texture[..., None]
        return values + weight * step, region.inside


@dataclass(frozen=True, repr=False)
class Haemorrhage(Lesion):
    """Blobs of blood: a `Lesion` of several ragged pools, with little of the tissue's own texture
    left.

    Darker by default, as on fundus photographs and on T2* images; on CT acute blood is
    ``polarity="brighter"``. Parameters as of `Lesion`.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Haemorrhage
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Haemorrhage()(scan, rng=7)
    >>> bool((sample.image == scan)[~sample.mask].all()), sample.record["anomalies"]
    (True, ['Haemorrhage'])
    """

    mask: Generator = BlobMask()
    polarity: Literal["either", "brighter", "darker"] = "darker"
    opacity: Number = (0.6, 0.95)
    edge: Number = (0.5, 2.0)


@dataclass(frozen=True, repr=False)
class ThinStructure(Lesion):
    """A line that does not belong there: a `Lesion` along a stroke.

    A crack or a wire as it is; a scar, or a band of fibrosis, with a wider
    ``mask=StrokeMask(width=(5, 12))``. Parameters as of `Lesion`.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import ThinStructure
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = ThinStructure()(scan, rng=7)
    >>> bool((sample.image == scan)[~sample.mask].all()), sample.record["anomalies"]
    (True, ['ThinStructure'])
    """

    mask: Generator = StrokeMask()
    contrast: Number = (0.15, 0.45)
    edge: Number = (0.2, 0.8)


@dataclass(frozen=True, repr=False)
class Cavity(Anomaly):
    """Tissue taken out and the hole filled with fluid, as after a resection.

    With ``w`` growing by the error function from 0 at the mask's edge to 1, a value ``v`` (the
    value range scaled to [0, 1]) becomes ``(1 - w) v + w (level + texture)``.

    Parameters
    ----------
    mask : Mask
        Where it goes.
    level : Number
        The fluid's mean, as a share of the value range: dark on T1 and CT, bright on T2
        (``level=(0.8, 0.95)``).
    texture : Number
        Standard deviation of the fluid's noise, as a share of the value range.
    grain : Number
        Standard deviation of the noise's blur, in pixels at an image side of 224.
    edge : Number
        Standard deviation of the edge's blur, in pixels at an image side of 224.

    References
    ----------
    F. Perez-Garcia et al., "A self-supervised learning strategy for postoperative brain cavity
    segmentation simulating resections", IJCARS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Cavity
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> image, mask = Cavity(edge=0.0, texture=0.0, level=0.1)(scan, rng=7, value_range=(0, 1))
    >>> bool(np.allclose(image[mask], 0.1))
    True
    """

    mask: Generator = LesionMask(size=(0.12, 0.35))
    level: Number = (0.0, 0.15)
    texture: Number = (0.0, 0.03)
    grain: Number = (0.5, 1.5)
    edge: Number = (0.5, 2.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require_number(self, "level", 0, 1)
        for name in ("texture", "grain", "edge"):
            require_number(self, name, 0)

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the fluid's level and noise, and the edge's blur."""
        return {
            "level": draw_number(rng, self.level),
            "texture": draw_number(rng, self.texture),
            "grain": draw_number(rng, self.grain),
            "edge": draw_number(rng, self.edge),
            "seed": int(rng.integers(2**53)),
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Fill the hole."""
        weight = erf_edge(region, scene, parameters["edge"])
        noise = kernels.standard_noise(
            region.inside.shape, parameters["seed"], scene.pixels(parameters["grain"])
        )
        fluid = weight * (parameters["level"] + parameters["texture"] * noise)
        values = scene.patch(region.box)
        return values * (1 - weight)[..., None] + fluid[..., None], region.inside
