"""What can be known of a protocol before hours of fitting: faults in its data and options, and
whose its output is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import synthmed
from synthmed.io import remove_temporary
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.data.duplicates import duplicates_between
from synthmed_clip.data.images import read_plane, squares_of, values_in
from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.data.masks import read_mask_of
from synthmed_clip.files import read_json, write_json
from synthmed_clip.methods.mediclip.pretrain import usable
from synthmed_clip.protocol.held_out import content
from synthmed_clip.protocol.plan import Protocol
from synthmed_clip.training.steps import EmptyImage, SyntheticSteps, require_anomalies

_FORMAT = "synthmed-clip protocol 1"


def check(protocol: Protocol, backbone: Backbone) -> None:
    """Raise what would otherwise be raised in the middle of the run: every file is read once, every
    recipe tried.

    Raises
    ------
    ValueError
        For a method that does not fit the backbone, a file that cannot be read, a support image
        that carries no anomaly, test images of one kind, or validation images that are of one kind
        or among the test images.
    """
    for entry in protocol.entries:
        entry.method.resolved(backbone)
    if any(entry.auxiliary for entry in protocol.entries):
        _require_readable(usable(protocol.auxiliary))
    for dataset in protocol.datasets:
        if len({item.abnormal for item in dataset.test}) < 2:
            raise ValueError(
                f"{dataset.name}: the test images are all of one kind; normal and abnormal ones "
                f"are needed"
            )
        _require_readable((*dataset.test, *dataset.validation))
        _check_validation(dataset)
        _check_support(protocol, dataset, backbone.image_size)


def _require_readable(items: Sequence[Item]) -> None:
    for item in items:
        read_mask_of(item, 1, read_plane(item.image))


def _check_validation(dataset: Dataset) -> None:
    images, test = ([item.image for item in part] for part in (dataset.validation, dataset.test))
    if not images:
        return
    same = [pair for pair in duplicates_between(images, test) if pair.exact]
    if same:
        raise ValueError(
            f"{dataset.name}: the validation image {same[0].first} is a test image, "
            f"{same[0].second}"
        )
    if len({item.abnormal for item in dataset.validation}) < 2:
        raise ValueError(
            f"{dataset.name}: validation needs normal and abnormal images; all {len(images)} are "
            f"of one kind"
        )


def _check_support(protocol: Protocol, dataset: Dataset, size: int) -> None:
    largest = max(protocol.all_shots)
    paths = sorted(
        {
            path
            for turn in range(protocol.repeats)
            for path in protocol.support(dataset, turn, largest)
        }
    )
    if not paths:
        return
    values = values_in(paths, protocol.value_range)
    methods = [entry.method for entry in protocol.entries if entry.method.least_support]
    seen = ((m.training_recipe or synthmed.preset("paper"), m.support_channels) for m in methods)
    for recipe, channels in dict.fromkeys(seen):
        images = squares_of(paths, size, values, channels == "grey")
        try:
            require_anomalies(SyntheticSteps(recipe, images, 1, (0,)))
        except EmptyImage as error:
            raise synthmed.NothingToSee(f"{paths[error.index]}: {error}") from None


def take_output(protocol: Protocol, backbone: Backbone, output: Path) -> None:
    """Make an output this protocol's, or refuse one whose runs would not be comparable: what they
    share must agree.

    A data set of which the output has no run yet may have changed.

    Raises
    ------
    ValueError
        That names what differs.
    """
    ours: dict[str, dict[str, Any]] = {
        "common": {
            "backbone": backbone.fingerprint,
            "seed": protocol.seed,
            "value_range": protocol.value_range,
        },
        "methods": {e.name: e.method.resolved(backbone).to_dict() for e in protocol.entries},
        "data": {d.name: content(d.train, (*d.validation, *d.test)) for d in protocol.datasets},
        "auxiliary": {},
    }
    if protocol.auxiliary:
        images = content([], protocol.auxiliary)
        ours["auxiliary"] = {"images": images, "epochs": protocol.auxiliary_epochs}
    path = output / "protocol.json"
    try:
        kept = read_json(path, _FORMAT) if path.is_file() else {}
        kept = {key: dict(kept.get(key, {})) for key in ours}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error}; name another output, or remove it") from None
    if not path.is_file():
        _require_empty(output)
    used = {found.relative_to(output).parts[1] for found in output.glob("runs/*/*/*/*")}
    used |= {found.stem.removeprefix("on-") for found in output.glob("runs/*/*/*/on-*.json")}
    for part, values in json.loads(json.dumps(ours)).items():
        for key, value in values.items():
            if part == "data" and key not in used:
                kept[part][key] = value
            if kept[part].setdefault(key, value) != value:
                what = _difference(part, key, kept[part][key], value)
                raise ValueError(f"{path} is of another protocol: {what}; name another output")
    if path.is_file():  # what lies there is ours
        remove_temporary(output)
        for stale in (output / "features").glob("tmp*"):
            shutil.rmtree(stale)
    write_json(path, _FORMAT, kept)


def _require_empty(output: Path) -> None:
    """Refuse a folder of somebody else's; what is hidden, as half-written files, is nobody's."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; the output must be a folder")
    found = [path for path in output.glob("*") if not path.name.startswith(".")]
    if found:
        raise ValueError(
            f"{output} is not empty and holds no protocol, but {min(found).name}; name another "
            f"output"
        )


def _difference(part: str, key: str, before: Any, now: Any) -> str:
    if part == "data":
        return f"other images in {key}"
    if key == "images":
        return "other auxiliary images"
    if part == "methods":
        name = next(n for n in {**before, **now} if before.get(n) != now.get(n))
        return f"{name} of {key} was {before.get(name)!r}, now {now.get(name)!r}"
    return f"{'auxiliary ' if part == 'auxiliary' else ''}{key} was {before!r}, now {now!r}"
