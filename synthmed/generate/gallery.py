"""Every anomaly and every distractor on some images of each modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synthmed.distractors import (
    BurnedInText,
    Callipers,
    GainChange,
    Shift,
    SideMarker,
    Speckle,
)
from synthmed.generate.plan import make_plan
from synthmed.generate.preview import Example, draw, examples_of
from synthmed.generate.producer import Producer
from synthmed.generate.settings import Settings
from synthmed.generator import Generator
from synthmed.presets import preset
from synthmed.sample import NothingToSee

_DISTRACTORS: tuple[Generator, ...] = (
    Callipers(),
    BurnedInText(),
    SideMarker(),
    GainChange(),
    Speckle(),
    Shift(),
)


def draw_gallery(
    sources: Sequence[str], settings: Settings, *, per_source: int = 2
) -> tuple[bytes, dict[str, str]]:
    """Draw the anomalies of ``preset("all")`` and the distractors, one after the other.

    Parameters
    ----------
    sources : sequence of str
        Each a modality: a folder, a file or a glob of normal images, or ``sample:retina``.
    settings : Settings
        How images are read and from which seed is drawn; the recipe plays no part.
    per_source : int
        Images of each source, spread over its list.

    Returns
    -------
    sheet : bytes
        A PNG: original, result and mask outline.
    skipped : dict
        For each input that could not be read, and each anomaly that an image could not carry, why.

    Examples
    --------
    >>> from synthmed.generate import Settings, draw_gallery
    >>> sheet, skipped = draw_gallery(["sample:retina"], Settings(), per_source=1)
    >>> sheet[1:4], skipped
    (b'PNG', {})
    """
    examples: list[Example] = []
    skipped: dict[str, str] = {}
    producers = []
    for source in sources:
        plan = make_plan([source], replace(settings, per_image=1))
        skipped |= {e.name: e.problem or "" for e in plan.skipped}
        producers.append(Producer(plan))
    anomalies = {repr(g): g for g in (*preset("all").options, *_DISTRACTORS)}  # type: ignore[attr-defined]
    for name, generator in anomalies.items():
        for producer in producers:
            drawing = Producer(
                replace(producer.plan, settings=replace(producer.plan.settings, recipe=generator))
            )
            drawing.cache = producer.cache  # read once
            count = min(per_source, len(drawing))
            for index in (k * len(drawing) // count for k in range(count)):
                image = producer.cache[producer.source_of(index)].image
                try:
                    sample = drawing.sample(index)
                except NothingToSee as reason:
                    where = producer.plan.inputs[producer.source_of(index)].name
                    skipped[f"{name} on {where}"] = str(reason)
                    continue
                examples += examples_of(name, image, sample.image, sample.mask > 0)
    return draw(examples), skipped
