"""Contact sheets: original, result and mask outline, kind by kind."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
_TILE, _GAP, _MARGIN, _HEAD = 192, 6, 24, 40
_PAPER, _INK, _FAINT, _LINE = (250, 250, 248), (24, 28, 32), (120, 124, 130), (255, 196, 0)


@dataclass(frozen=True, eq=False)
class Example:
    """One row's content: what there was, what was made of it, where."""

    kind: str
    original: Image
    result: NDArray[Any]
    mask: NDArray[np.bool_]


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
            result = read_image(out / line["files"]["image"]).array
            original = producer.cache[producer.source_of(line["index"])].image
            inside = np.zeros(original.spatial_shape, bool)
            if mask:  # a soft label is outlined where it is above 0
                inside = read_image(out / mask).array > 0
            examples.append(Example(kind, original, result, inside))
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
        of_kind = found.setdefault(kind_of(sample.record), [])
        if len(of_kind) < PER_KIND:
            original = producer.cache[producer.source_of(index)].image
            of_kind.append(Example(kind_of(sample.record), original, sample.image, sample.mask > 0))
    if not found:
        raise ValueError(f"no sample could be drawn: {reasons[0]}")
    return draw([e for _, examples in sorted(found.items()) for e in examples])


def draw(examples: Sequence[Example]) -> bytes:
    """A contact sheet as PNG.

    Parameters
    ----------
    examples : sequence of Example
        In the order in which they are shown; those of one kind one after the other, two to a row.

    Returns
    -------
    bytes
    """
    kinds: dict[str, list[Example]] = {}
    for example in examples:
        kinds.setdefault(example.kind, []).append(example)
    columns = 2
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
                for i, tile in enumerate(_tiles(example)):
                    sheet.paste(tile, (_MARGIN + c * (group + _MARGIN) + i * (_TILE + _GAP), y))
            y += _TILE + _GAP
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", _SOFTWARE)
    sheet.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def _tiles(example: Example) -> list[PIL.Image.Image]:
    original, result, mask = example.original.array, example.result, example.mask
    if mask.ndim == 3:  # of a volume the slice that shows most of the mask
        k = int(np.argmax(mask.sum(axis=(1, 2)))) if mask.any() else len(mask) // 2
        original, result, mask = original[k], result[k], mask[k]
    # One scale for both: what the eye sees is what changed.
    low, high = (0, 255) if original.dtype == np.uint8 else np.quantile(original, (0.005, 0.995))
    plain, changed = _tile(original, low, high), _tile(result, low, high)
    outlined = changed.copy()
    shape = (
        np.array(
            PIL.Image.fromarray(mask.astype(np.uint8) * 255).resize(
                _fit(mask.shape), PIL.Image.Resampling.BILINEAR
            )
        )
        > 127
    )
    edge = scipy.ndimage.binary_dilation(shape, iterations=1) & ~scipy.ndimage.binary_erosion(
        shape, iterations=1
    )
    pixels = np.array(outlined)
    top, left = (_TILE - shape.shape[0]) // 2, (_TILE - shape.shape[1]) // 2
    pixels[top : top + shape.shape[0], left : left + shape.shape[1]][edge] = _LINE
    return [plain, changed, PIL.Image.fromarray(pixels)]


def _tile(image: NDArray[Any], low: float, high: float) -> PIL.Image.Image:
    scaled = (image.astype(np.float64) / 2 - low / 2) / max(
        high / 2 - low / 2, np.finfo(np.float64).tiny
    )
    picture = PIL.Image.fromarray((np.clip(scaled, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    picture = picture.resize(_fit(picture.size[::-1]), PIL.Image.Resampling.BILINEAR)
    tile = PIL.Image.new("RGB", (_TILE, _TILE), _PAPER)
    tile.paste(picture, ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2))
    return tile


def _fit(shape: Sequence[int]) -> tuple[int, int]:
    """Width and height that fit an array of this shape into a tile."""
    scale = _TILE / max(shape)
    return max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1)
