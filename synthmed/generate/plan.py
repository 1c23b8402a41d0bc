"""What a run is: its settings and its inputs. They decide what every sample is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthmed.generate.groups import group_keys, join_groups
from synthmed.generate.layouts import LAYOUTS
from synthmed.generate.prepare import Form, prepare, roi_digest
from synthmed.generate.settings import Settings
from synthmed.generate.stored import RECIPE_FILE, read_run
from synthmed.generator import from_dict
from synthmed.io import Input, Unreadable, find_inputs
from synthmed.version import __version__


@dataclass(frozen=True)
class Examined:
    """What an input was found to be: what it shares with possible donors, or why it
    cannot be used.
    """

    name: str
    sha256: str
    roi_sha256: str | None = None
    form: Form | None = None
    problem: str | None = None
    group: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run: the settings, and the ordered inputs that can be used.

    Examples
    --------
    >>> from synthmed.generate import Settings, make_plan
    >>> plan = make_plan(["sample:retina"], Settings(layout="mvtec"))
    >>> len(plan.inputs), len(plan.train_inputs())
    (14, 7)
    >>> sorted(plan.to_dict())[:4]
    ['channels', 'inputs', 'layout', 'mask_level']
    """

    source: tuple[str, ...]
    settings: Settings
    inputs: tuple[Input, ...]
    examined: tuple[Examined, ...]
    skipped: tuple[Examined, ...]

    def train_inputs(self) -> list[int]:
        """The inputs whose originals are the training set, drawn by the seed, in a layout that has
        one.
        """
        if not LAYOUTS[self.settings.layout].has_originals:
            return []
        groups: dict[int | None, list[int]] = {}
        for k, e in enumerate(self.examined):
            groups.setdefault(e.group, []).append(k)
        members = list(groups.values())
        count = len(self.inputs)
        wanted = min(max(round(self.settings.train_share * count), 1), count - 1)
        order = np.random.default_rng(
            np.random.SeedSequence(self.settings.seed, spawn_key=(0, 0))
        ).permutation(len(members))
        train: list[int] = []
        for g in order[:-1]:  # whole groups, and one is left for test
            more = len(train) + len(members[g])
            if train and more - wanted > wanted - len(train):
                break  # it would lie further from the share that was asked for
            train += members[g]
        return sorted(train)

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON data: the content of ``recipe.json``."""
        settings = {k: v for k, v in vars(self.settings).items() if k != "recipe"}
        if not LAYOUTS[self.settings.layout].has_originals:
            del settings["train_share"]
        if not self.settings.soft:
            del settings["soft"]
        for name in ("group_by", "value_range"):
            if settings[name] is None:
                del settings[name]
        return {
            "synthmed": __version__,
            "source": list(self.source),
            "recipe": self.settings.recipe.to_dict(),
            **settings,
            "inputs": [
                {
                    k: v
                    for k, v in asdict(e).items()
                    if k in ("name", "sha256")
                    or (k == "roi_sha256" and v)
                    or (k == "group" and self.settings.group_by is not None)
                }
                for e in self.examined
            ],
            "skipped": [{"name": e.name, "reason": e.problem} for e in self.skipped],
        }


def make_plan(
    source: Sequence[str],
    settings: Settings,
    examine_all: Callable[[Sequence[Input], Settings], Iterable[Examined]] | None = None,
) -> Plan:
    """Find and examine the inputs.

    Raises
    ------
    FileNotFoundError
        If the source names nothing.
    ValueError
        If no input can be used; the message gives the first reasons.

    Examples
    --------
    >>> from synthmed.generate import Settings, make_plan
    >>> plan = make_plan(["sample:retina"], Settings(per_image=2))
    >>> len(plan.inputs), plan.inputs[0].name
    (14, 'retina-00')
    """
    inputs = find_inputs(source)
    examined = list(
        examine_all(inputs, settings) if examine_all else (examine(i, settings) for i in inputs)
    )
    good = [k for k, e in enumerate(examined) if e.problem is None]
    plan = Plan(
        # So that the run is found again from another folder.
        tuple(s if s.startswith("sample:") else str(Path(s).absolute()) for s in source),
        settings,
        tuple(inputs[k] for k in good),
        _grouped([examined[k] for k in good], settings),
        tuple(e for e in examined if e.problem is not None),
    )
    if not good:
        reasons = "\n  ".join(e.problem or "" for e in plan.skipped[:5])
        raise ValueError(f"none of the {len(inputs)} inputs can be used:\n  {reasons}")
    if LAYOUTS[settings.layout].has_originals and len(good) < 2:
        raise ValueError(
            f"layout {settings.layout} needs at least 2 inputs, one for each side of the split"
        )
    if LAYOUTS[settings.layout].has_originals and len({e.group for e in plan.examined}) < 2:
        raise ValueError(
            f"all {len(good)} inputs belong together (group_by {settings.group_by!r}, and "
            f"identical files), so that they cannot be split"
        )
    return plan


def _grouped(examined: Sequence[Examined], settings: Settings) -> tuple[Examined, ...]:
    """With the groups that a split keeps together."""
    if not LAYOUTS[settings.layout].has_originals:
        return tuple(examined)
    names = [e.name for e in examined]
    keys = names if settings.group_by is None else group_keys(names, settings.group_by)
    groups = join_groups(keys, [e.sha256 for e in examined])
    return tuple(replace(e, group=g) for e, g in zip(examined, groups, strict=True))


def examine(source: Input, settings: Settings) -> Examined:
    """Prepare an input once, to see whether it can be used and what it is."""
    try:
        prepared = prepare(source, settings)
        return Examined(
            source.name,
            source.digest(),
            roi_digest(source, settings),
            prepared.form,
            notes=prepared.notes,
        )
    except Exception as error:  # whatever is wrong with one input ends no run
        kind = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
        # Without the folder: the reason is the same wherever the input lies.
        reason = f"{kind}{error}".replace(str(source.path), source.name)
        return Examined(source.name, source.digest(), problem=reason)


def read_plan(folder: Path, source: Sequence[str] = ()) -> Plan:
    """The plan of a run that is in a folder, its inputs found again and checked against their
    digests.

    Parameters
    ----------
    folder : Path
        Where ``recipe.json`` is.
    source : sequence of str
        Where the inputs are now, if not where they were.

    Raises
    ------
    ValueError
        If an input is missing, or is not the file that it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate import Settings, generate, read_plan
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = generate("sample:retina", folder, Settings(per_image=1))
    ...     read_plan(Path(folder)).settings.per_image
    1
    """
    path = folder / RECIPE_FILE
    data = read_run(path)
    values = {f.name: data[f.name] for f in fields(Settings) if f.name in data}
    if values.get("roi") not in ("none", "auto"):
        # Where an anomaly lies is in its record: the regions are not needed, nor where they were.
        values |= {"roi": "none", "mask_level": None}
    try:
        settings = Settings(**values | {"recipe": from_dict(data["recipe"])})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    where = tuple(source) or tuple(data["source"])
    inputs = {i.name: i for i in find_inputs(where)}
    found = []
    for entry in data["inputs"]:
        if entry["name"] not in inputs:
            raise ValueError(f"input {entry['name']!r} of the run is not in {', '.join(where)}")
        if inputs[entry["name"]].digest() != entry["sha256"]:
            raise ValueError(
                f"input {entry['name']!r} in {', '.join(where)} is not the file that the run read"
            )
        found.append(examine(inputs[entry["name"]], settings))
    groups = [entry.get("group") for entry in data["inputs"]]
    if None in groups:
        found = list(_grouped(found, settings))
    else:
        found = [replace(e, group=g) for e, g in zip(found, groups, strict=True)]
    bad = [e.problem for e in found if e.problem]
    if bad:
        raise ValueError(bad[0])
    skipped = tuple(Examined(s["name"], "", problem=s["reason"]) for s in data["skipped"])
    return Plan(
        tuple(data["source"]), settings, tuple(inputs[e.name] for e in found), tuple(found), skipped
    )
