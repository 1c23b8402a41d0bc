"""Where a detector comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from synthmed_clip.data.levels import Levels, read_levels
from synthmed_clip.evaluation.operating_point import Calibration


@dataclass(frozen=True)
class Provenance:
    """Where a detector comes from.

    Attributes
    ----------
    support : tuple of str
        Digest of each support image as the backbone sees it: which they were, without showing
        them; empty for one that was imported.
    precision : str
        In which it was fitted, 'float32' or 'bfloat16'.
    folds : int or None
        Of the refits that judged the support images, where there were any.
    calibration : Calibration or None
        How the threshold was set from further images, where it was.
    levels : tuple of tuple of float
        Of each support image, as `synthmed_clip.data.levels.levels_of` gives them.
    settings : tuple of (str, str)
        Names and values of what else was not by default when it was fitted.
    """

    support: tuple[str, ...]
    precision: str
    folds: int | None = None
    calibration: Calibration | None = None
    levels: tuple[Levels, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make one of what `dataclasses.asdict` gave, read back from JSON."""
        found = data["calibration"]
        return cls(
            support=tuple(data["support"]),
            precision=data["precision"],
            folds=data["folds"],
            calibration=None if found is None else Calibration.from_dict(found),
            levels=read_levels(data["levels"]),
            settings=tuple((str(name), str(value)) for name, value in data["settings"]),
        )
