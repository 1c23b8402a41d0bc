"""Where a detector comes from, as tables of names and values; of any method, by its own fields."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator
from datetime import datetime
from importlib import metadata

import synthmed
from synthmed import __version__
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.detector import Detector
from synthmed_clip.methods.base import Method
from synthmed_clip.training.history import History

Table = list[tuple[str, str]]
_PACKAGES = ("torch", "open_clip_torch", "timm", "numpy")


def fact_tables(detector: Detector) -> dict[str, Table]:
    """Return tables, by title: the method and what it is made of, the backbone, the fit."""
    return {
        **method_tables(detector.method),
        "Backbone": _backbone_table(detector.backbone),
        "Fit and evaluation": _fit_table(detector),
    }


def method_tables(method: Method, title: str = "Method") -> dict[str, Table]:
    """Return a table of a method's fields, and one of each method that is among their values.

    Parameters
    ----------
    method : Method
    title : str
        Of the first table; those of the others are made of the field's name.

    Examples
    --------
    >>> from synthmed_clip import GlobalNeighbour, Joined, ZeroShot
    >>> tables = method_tables(Joined((ZeroShot(), GlobalNeighbour())))
    >>> tables["Method"][:2]
    [('Name', 'joined'), ('parts', 'zero-shot, global-neighbour')]
    >>> tables["parts 2: global-neighbour"]
    [('channels', 'grey')]
    """
    values = _values(method)
    own = [("Name", method.name)] if title == "Method" else []
    tables = {title: [*own, *((name, _readable(value)) for name, value in values.items())]}
    for name, value in values.items():
        for index, part in enumerate(value if isinstance(value, tuple) else (value,), 1):
            if isinstance(part, Method):
                number = f" {index}" if isinstance(value, tuple) else ""
                path = name if title == "Method" else f"{title.partition(':')[0]}, {name}"
                tables |= method_tables(part, f"{path}{number}: {part.name}")
    return tables


def recipes(method: Method) -> list[str]:
    """Return every different recipe that a method has, as indented JSON."""
    found = [*_generators(method), *([method.training_recipe] if method.training_recipe else [])]
    return [json.dumps(recipe.to_dict(), indent=1) for recipe in dict.fromkeys(found)]


def is_imported(detector: Detector) -> bool:
    """Whether it was fitted elsewhere: its method needs images, but no image or log is known."""
    known = detector.provenance.support or detector.fitted.history is not None
    return not known and detector.method.least_support > 0


def _values(method: Method) -> dict[str, object]:
    fields = dataclasses.fields(method)  # type: ignore[arg-type]
    return {field.name: getattr(method, field.name) for field in fields}


def _generators(value: object) -> Iterator[synthmed.Generator]:
    if isinstance(value, synthmed.Generator):
        yield value
    elif isinstance(value, Method | tuple):
        for part in value if isinstance(value, tuple) else _values(value).values():
            yield from _generators(part)


def _readable(value: object) -> str:
    match value:
        case None | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            nested = any(isinstance(part, tuple) for part in value)
            return ("; " if nested else ", ").join(map(_readable, value))
        case Method():
            return value.name
        case synthmed.Generator():
            return f"{type(value).__name__}, in full below"
        case str() | int() | float():
            return str(value)
    return repr(value)


def _backbone_table(backbone: Backbone) -> Table:
    text = "random" if backbone.random_text or backbone.weights is None else "pretrained"
    return [
        ("Name", backbone.name),
        ("Weights", backbone.weights_name or "random"),
        ("SHA-256 of weights", backbone.digest),
        ("Text tower", "none" if backbone.text is None else text),
        ("Image size", f"{backbone.image_size} px"),
    ]


def _fit_table(detector: Detector) -> Table:
    history = detector.fitted.history
    precision = f"evaluated in {str(detector.backbone.dtype).removeprefix('torch.')}"
    if not is_imported(detector):
        precision = f"fitted in {detector.provenance.precision}, {precision}"
    return [
        *([("Fit", "imported from a checkpoint")] if is_imported(detector) else []),
        *([] if history is None else _history_rows(history)),
        *([] if detector.provenance.folds is None else [("Folds", str(detector.provenance.folds))]),
        *detector.provenance.settings,
        ("Values seen", str(detector.values)),
        ("Precision", precision),
        ("Device", str(detector.backbone.device)),
        ("synthmed", __version__),
        ("Python", platform.python_version()),
        *((name, metadata.version(name)) for name in _PACKAGES),
        ("Written", datetime.now().astimezone().isoformat(" ", "minutes")),
    ]


def _history_rows(history: History) -> Table:
    epochs = str(len(history.log))
    if history.log and history.validation is not None:
        kept = history.chosen
        epochs += (
            f"; epoch {kept.number} was kept, Image-AUROC {kept.validation:.4f} on the validation "
            f"set"
        )
    start = [] if history.start is None else [("Began with (SHA-256)", history.start)]
    return [("Epochs", epochs), *start, ("Seed (entropy)", ", ".join(map(str, history.entropy)))]
