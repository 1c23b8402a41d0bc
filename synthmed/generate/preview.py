"""Contact sheets: original, result and mask outline, kind by kind."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import scipy
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from synthmed.generate.producer import Producer, kind_of
from synthmed.io import Image, read_image

PER_KIND = 4
_SOFTWARE = "synthmed contact sheet"
MARK = b"Software\0" + _SOFTWARE.encode()  # by which the command knows its own files
_LOOKED_AT = 2**20  # values
_TILE, _GAP, _MARGIN, _HEAD = 192, 6, 24, 40
_PAPER, _INK, _FAINT, _LINE = (250, 250, 248), (24, 28, 32), (120, 124, 130), (255, 196, 0)


@dataclass(frozen=True, eq=False)
class Example:
    """One strip of the sheet: what there was, what was made of it, where; as tiles. Of a volume
    the plane across an axis.
    """

    kind: str
    tiles: tuple[PIL.Image.Image, ...]
    across: int | None = None


def examples_of(
    kind: str, original: Image, result: NDArray[Any], mask: NDArray[np.bool_]
) -> list[Example]:
    """An image as one example; a volume as three, the planes across each axis that show most of
    the mask.
    """
    limits = _limits(original)
    shown = (
        original,
        replace(original, array=result),
        Image(mask, spacing=original.spacing, affine=original.affine),
    )
    return [
        Example(kind, _tiles([cut_plane(image, axis, mask) for image in shown], limits), axis)
        for axis in ((None,) if mask.ndim == 2 else (0, 1, 2))
    ]


def cut_plane(
    image: Image, axis: int | None, mask: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[float, float]]:
    """The plane of a volume across an axis that shows most of a mask, or an image as it is.

    With an affine the plane is turned as radiologists look at it: up is superior, or anterior in a
    transverse plane; left is the patient's right, or anterior in a sagittal plane.

    Returns
    -------
    plane : ndarray, shape (H, W) or (H, W, channels)
    spacing : (float, float)
        Height and width of its pixels.
    """
    array = image.array
    if image.channel_axis is not None:
        array = np.moveaxis(array, image.channel_axis, -1)
    spacing = image.spacing or (1.0,) * mask.ndim
    if axis is None:
        return array, (spacing[0], spacing[1])
    others = [k for k in range(3) if k != axis]
    seen = mask.sum(axis=tuple(others))
    plane = np.take(array, int(np.argmax(seen)) if mask.any() else mask.shape[axis] // 2, axis)
    flips: tuple[int, ...] = ()
    if image.affine is not None:
        directions = image.affine[:3, :3]
        world = np.argmax(np.abs(directions), axis=0)  # right, anterior or superior
        if world[others[0]] < world[others[1]]:
            others, plane = others[::-1], plane.swapaxes(0, 1)
        flips = tuple(k for k in range(2) if directions[world[others[k]], others[k]] > 0)
    return np.flip(plane, flips), (spacing[others[0]], spacing[others[1]])


def _limits(image: Image) -> tuple[float, float]:
    """One scale for all tiles of an image: what the eye sees is what changed."""
    if image.value_range is not None:
        return image.value_range
    if image.array.dtype == np.uint8:
        return 0, 255
    values = image.array.reshape(-1)[:: max(image.array.size // _LOOKED_AT, 1)]
    low, high = np.quantile(values, (0.005, 0.995))
    return float(low), float(high)


def draw_dataset(producer: Producer, out: Path, lines: Iterable[dict[str, Any]]) -> bytes:
    """The contact sheet of a generated dataset: the first samples of each kind, from different
    inputs where there are.
    """
    picked: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_kind = picked.setdefault(line["kind"], [])
        if (
            "record" in line
            and len(of_kind) < PER_KIND
            and all(p["source"] != line["source"] for p in of_kind)
        ):
            of_kind.append(line)
    examples = []
    for kind, chosen in sorted(picked.items()):
        for line in chosen:
            mask = line["files"].get("mask")
            original = producer.cache[producer.source_of(line["index"])].image
            made = read_image(out / line["files"]["image"])
            result = made.array
            if made.channel_axis is not None and original.channel_axis is not None:
                result = np.moveaxis(result, made.channel_axis, original.channel_axis)
            inside = np.zeros(original.spatial_shape, bool)
            if mask:  # a soft label is outlined where it is above 0
                inside = read_image(out / mask).array > 0
            examples += examples_of(kind, original, result, inside)
    return draw(examples)


def draw_recipe(producer: Producer) -> bytes:
    """The contact sheet of a plan that is not run: samples drawn, input by input, until each kind
    has enough.

    Examples
    --------
    >>> from synthmed.generate import Producer, Settings, draw_recipe, make_plan
    >>> plan = make_plan(["sample:retina"], Settings(per_image=2))
    >>> draw_recipe(Producer(plan))[1:4]
    b'PNG'
    """
    per_image, inputs = producer.plan.settings.per_image, len(producer.plan.inputs)
    found: dict[str, list[Example]] = {}
    reasons = []
    for step in range(min(len(producer), 12 * per_image)):
        index = (step % inputs) * per_image + step // inputs  # every input once, then again
        try:
            sample = producer.sample(index)
        except Exception as error:  # as in a run, one sample ends nothing
            reasons.append(f"{producer.plan.inputs[producer.source_of(index)].name}: {error}")
            continue
        is_volume = sample.mask.ndim == 3
        if is_volume and step >= per_image:
            break
        kind = kind_of(sample.record)
        of_kind = found.setdefault(kind, [])
        if len(of_kind) < PER_KIND * (3 if is_volume else 1):
            original = producer.cache[producer.source_of(index)].image
            of_kind += examples_of(kind, original, sample.image, sample.mask > 0)
    if not found:
        raise ValueError(f"no sample could be drawn: {reasons[0]}")
    return draw([e for _, examples in sorted(found.items()) for e in examples])


def draw(examples: Sequence[Example]) -> bytes:
    """A contact sheet as PNG.

    Parameters
    ----------
    examples : sequence of Example
        In the order in which they are shown; those of one kind one after the other, two to a row,
        three where they are planes of volumes.

    Returns
    -------
    bytes
    """
    kinds: dict[str, list[Example]] = {}
    for example in examples:
        kinds.setdefault(example.kind, []).append(example)
    columns = 3 if any(e.across is not None for e in examples) else 2
    group = 3 * _TILE + 2 * _GAP
    rows = sum(-(-len(e) // columns) for e in kinds.values())
    width = 2 * _MARGIN + columns * group + (columns - 1) * _MARGIN
    height = _MARGIN + 24 + len(kinds) * _HEAD + rows * (_TILE + _GAP) + _MARGIN
    sheet = PIL.Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(20), ImageFont.load_default(13)
    for c in range(columns):
        for i, name in enumerate(("original", "result", "mask outline")):
            pen.text(
                (_MARGIN + c * (group + _MARGIN) + i * (_TILE + _GAP), 14), name, _FAINT, small
            )
    y = 36
    for kind, shown in kinds.items():
        pen.text((_MARGIN, y + 8), kind, _INK, title)
        y += _HEAD
        for first in range(0, len(shown), columns):
            for c, example in enumerate(shown[first : first + columns]):
                for i, tile in enumerate(example.tiles):
                    sheet.paste(tile, (_MARGIN + c * (group + _MARGIN) + i * (_TILE + _GAP), y))
            y += _TILE + _GAP
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", _SOFTWARE)
    sheet.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


Plane = tuple[NDArray[Any], tuple[float, float]]
"""Pixels, and the height and width of one."""


def _tiles(planes: Sequence[Plane], limits: tuple[float, float]) -> tuple[PIL.Image.Image, ...]:
    """Of the original, the result and the mask."""
    plain, changed = (_tile(*plane, *limits) for plane in planes[:2])
    inside, spacing = planes[2]
    picture = PIL.Image.fromarray(inside.astype(np.uint8) * 255)
    size = _fit(inside.shape, spacing)
    shape = np.array(picture.resize(size, PIL.Image.Resampling.BILINEAR)) > 127
    edge = scipy.ndimage.binary_dilation(shape) & ~scipy.ndimage.binary_erosion(shape)
    pixels = np.array(changed)
    top, left = (_TILE - shape.shape[0]) // 2, (_TILE - shape.shape[1]) // 2
    pixels[top : top + shape.shape[0], left : left + shape.shape[1]][edge] = _LINE
    return plain, changed, PIL.Image.fromarray(pixels)


def _tile(
    image: NDArray[Any], spacing: tuple[float, float], low: float, high: float
) -> PIL.Image.Image:
    scaled = (image.astype(np.float64) / 2 - low / 2) / max(
        high / 2 - low / 2, np.finfo(np.float64).tiny
    )
    picture = PIL.Image.fromarray((np.clip(scaled, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    picture = picture.resize(_fit(image.shape, spacing), PIL.Image.Resampling.BILINEAR)
    tile = PIL.Image.new("RGB", (_TILE, _TILE), _PAPER)
    tile.paste(picture, ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2))
    return tile


def _fit(shape: Sequence[int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Width and height of a tile's picture of an array of this shape, with pixels of this size."""
    height, width = shape[0] * spacing[0], shape[1] * spacing[1]
    scale = _TILE / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)
