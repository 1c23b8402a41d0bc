"""Letters that are burnt into the image."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed.distractors.base import Distractor, paint
from synthmed.distributions import Number, draw_number, draw_whole, require_number, require_whole
from synthmed.generator import Parameters
from synthmed.scene import Scene

_LETTERS = string.ascii_uppercase + string.digits + "-:. "


@dataclass(frozen=True, repr=False)
class BurnedInText(Distractor):
    """Lines of letters and digits at the border: annotations, machine settings.

    In the plane of the last two axes, on every slice of a volume.

    Parameters
    ----------
    lines : Number
        How many, at least 1.
    length : Number
        Characters in a line, at least 1.
    height : Number
        Of the letters, in pixels at an image side of 224, at least five pixels.
    level : Number
        Of the ink, as a share of the value range.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import BurnedInText
    >>> scan = np.random.default_rng(0).random((64, 64)) / 2
    >>> sample = BurnedInText()(scan, rng=7, value_range=(0, 1))
    >>> bool((sample.image != scan).any()), bool(sample.mask.any())
    (True, False)
    """

    lines: Number = (1, 3)
    length: Number = (4, 14)
    height: Number = (6.0, 11.0)
    level: Number = (0.8, 1.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_whole(self, "lines", 1)
        require_whole(self, "length", 1)
        require_number(self, "height", 0)
        require_number(self, "level", 0, 1)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the text, its corner and its ink."""
        texts = []
        for _ in range(draw_whole(rng, self.lines)):
            drawn = rng.integers(len(_LETTERS), size=draw_whole(rng, self.length))
            texts.append("".join(_LETTERS[i] for i in drawn))
        return {
            "texts": texts,
            "corner": [bool(rng.random() < 0.5), bool(rng.random() < 0.5)],
            "height": draw_number(rng, self.height),
            "level": draw_number(rng, self.level),
        }

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Write the lines."""
        height = max(round(parameters["height"] * min(scene.pixels(1.0)[-2:])), 5)
        lines = [_written(text, height) for text in parameters["texts"]]
        at_bottom, at_right = parameters["corner"]
        ink = np.zeros(scene.shape[-2:], bool)
        for i, line in enumerate(lines[::-1] if at_bottom else lines):
            place = (i * (height + max(height // 3, 1)) + height // 2, height // 2)
            _press(ink, line, place, (at_bottom, at_right))
        return paint(scene, ink, parameters["level"])


@dataclass(frozen=True, repr=False)
class SideMarker(Distractor):
    """The letter of a side, large, in an upper corner, as on radiographs.

    In the plane of the last two axes, on every slice of a volume.

    Parameters
    ----------
    height : Number
        Of the letter, in pixels at an image side of 224, at least five pixels.
    margin : Number
        To the image's border, as a fraction of the shorter side.
    level : Number
        Of the ink, as a share of the value range.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import SideMarker
    >>> scan = np.random.default_rng(0).random((64, 64)) / 2
    >>> sample = SideMarker()(scan, rng=7, value_range=(0, 1))
    >>> sample.record["parameters"]["letter"] in "LR", bool(sample.mask.any())
    (True, False)
    """

    height: Number = (10.0, 20.0)
    margin: Number = (0.02, 0.1)
    level: Number = (0.85, 1.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_number(self, "height", 0)
        require_number(self, "margin", 0, 1)
        require_number(self, "level", 0, 1)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the letter, its corner and its ink."""
        return {
            "letter": "LR"[int(rng.integers(2))],
            "at_right": bool(rng.random() < 0.5),
            "height": draw_number(rng, self.height),
            "margin": draw_number(rng, self.margin),
            "level": draw_number(rng, self.level),
        }

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Write the letter."""
        height = max(round(parameters["height"] * min(scene.pixels(1.0)[-2:])), 5)
        ink = np.zeros(scene.shape[-2:], bool)
        margin = round(parameters["margin"] * min(ink.shape))
        letter = _written(parameters["letter"], height)
        _press(ink, letter, (margin, margin), (False, parameters["at_right"]))
        return paint(scene, ink, parameters["level"])


def _written(text: str, height: int) -> NDArray[np.bool_]:
    """Text in Hershey's simplex letters, of a height in pixels."""
    import cv2

    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(round(height / 8), 1)
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    (width, _), below = cv2.getTextSize(text, font, scale, thick)
    page = np.zeros((height + 2 * thick + below, width + 2 * thick), np.uint8)
    cv2.putText(page, text, (thick, height + thick), font, scale, 255, thick, cv2.LINE_8)
    return page > 0


def _press(
    ink: NDArray[np.bool_],
    stamp: NDArray[np.bool_],
    place: tuple[int, int],
    from_end: tuple[bool, bool],
) -> None:
    """Press a stamp into a page, places counted from its start or its end; what does not fit on
    the page is cut.
    """
    page = ink[tuple(slice(None, None, -1 if end else 1) for end in from_end)]
    turned = stamp[tuple(slice(None, None, -1 if end else 1) for end in from_end)]
    part = page[place[0] : place[0] + stamp.shape[0], place[1] : place[1] + stamp.shape[1]]
    part |= turned[: part.shape[0], : part.shape[1]]
