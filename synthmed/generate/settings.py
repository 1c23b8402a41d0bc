"""How a dataset is generated: all that, with the inputs, decides what its files hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from synthmed import validation
from synthmed.generator import Generator
from synthmed.io import MaskLevel, ValueRange, require_mask_level, require_value_range
from synthmed.presets import preset

Size = int | Literal["native"]
Channels = Literal["grey", "keep"]
LayoutName = Literal["pairs", "mvtec"]


@dataclass(frozen=True)
class Settings:
    """How to generate a dataset.

    Attributes
    ----------
    recipe : Generator
    per_image : int
        Samples for each input.
    seed : int
    size : int or "native"
        Side of the square to which images are resized, or their own size.
    channels : {"grey", "keep"}
    roi : str
        ``"none"``, ``"auto"`` (`synthmed.foreground`), or a folder with one mask for each input, of
        the same relative name.
    mask_level : int, sequence of int, "any" or None
        Which levels of the masks in the folder `roi` are inside; see `synthmed.io.read_mask`.
    value_range : (low, high), "dtype", "window", ("percentile", low, high) or None
        The intensities to which anomalies are relative, found for each image by the rule of
        `synthmed.io.value_range_of`. None is the window that the file declares; without one,
        (0, 255) for uint8 and the image's own minimum and maximum otherwise.
    layout : {"pairs", "mvtec"}
    soft : bool
        Label by how much changed, float32 in [0, 1], in place of a mask; see `Generator.__call__`.
    train_share : float
        Layout mvtec: share of the inputs whose originals become ``train/good``; the others are for
        test.
    group_by : str or None
        Layout mvtec: what keeps inputs together on one side of the split; see
        `synthmed.generate.groups.group_keys`.

    Raises
    ------
    ValueError, TypeError
        If a value is not as described.

    Examples
    --------
    >>> from synthmed.generate import Settings
    >>> Settings(per_image=3, size="native").seed
    0
    >>> Settings(per_image=0)
    Traceback (most recent call last):
    ValueError: Settings: per_image must be a whole number at least 1, got 0
    """

    recipe: Generator = field(default_factory=lambda: preset("paper"))
    per_image: int = 10
    seed: int = 0
    size: Size = 224
    channels: Channels = "grey"
    roi: str = "none"
    mask_level: MaskLevel = None
    value_range: ValueRange | None = None
    layout: LayoutName = "pairs"
    soft: bool = False
    train_share: float = 0.5
    group_by: str | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.recipe.is_mask:
            raise ValueError(
                f"recipe must be an anomaly or a composition, got the mask {self.recipe!r}"
            )
        validation.whole(self, "per_image", 1)
        validation.whole(self, "seed", 0)
        if self.size != "native":
            validation.whole(self, "size", 1, otherwise="native")
        for name, options in (("channels", Channels), ("layout", LayoutName)):
            _require_one_of(name, getattr(self, name), get_args(options))
        validation.number(self, "train_share", 0, 1)
        if not 0 < self.train_share < 1:
            raise ValueError(
                f"Settings: train_share must lie between 0 and 1, got {self.train_share}"
            )
        if self.group_by is not None and self.layout != "mvtec":
            raise ValueError(
                f"group_by is for the split of layout mvtec, but layout is {self.layout!r}; got "
                f"{self.group_by!r}"
            )
        object.__setattr__(self, "mask_level", require_mask_level(self.mask_level))
        if self.value_range is not None:
            object.__setattr__(self, "value_range", require_value_range(self.value_range))
        if self.mask_level is not None and self.roi in ("none", "auto"):
            raise ValueError(
                f"mask_level is for a folder of masks, but roi is {self.roi!r}; got "
                f"{self.mask_level!r}"
            )
        if self.roi not in ("none", "auto") and not Path(self.roi).is_dir():
            raise ValueError(f"roi must be 'none', 'auto' or a folder of masks, got {self.roi!r}")


def _require_one_of(name: str, value: Any, options: tuple[str, ...]) -> None:
    if value not in options:
        known = " or ".join(map(repr, options))
        raise ValueError(f"{name} must be {known}, got {value!r}")
