"""Running a plan: in one process or several, interrupted and resumed, ending with the
same files.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from synthmed.generate.engines import require_importable, write_all
from synthmed.generate.plan import Examined, Plan, examine, make_plan
from synthmed.generate.preview import draw_dataset
from synthmed.generate.producer import Producer
from synthmed.generate.settings import Settings
from synthmed.generate.stored import (
    JOURNAL,
    MANIFEST,
    RECIPE_FILE,
    SKIPPED,
    read_lines,
    read_rejected,
    read_run,
    read_whole_lines,
)
from synthmed.generate.verify import unlike
from synthmed.io import Input, count_others, write_atomically
from synthmed.io.files import TEMPORARY, is_temporary, naming, remove_temporary

PREVIEW = "preview.png"
_SHOWN = 8  # names of inputs, in a message


class Refused(ValueError):
    """A run that would overwrite something or mix with something else.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate import Refused, generate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "thesis.txt").touch()
    ...     try:
    ...         _ = generate("sample:retina", folder)
    ...     except Refused as error:
    ...         print("not empty" in str(error))
    True
    """


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    out : Path
    samples : int
        Samples in the folder, originals of layout mvtec included.
    kinds : Counter
        Of them, of each kind.
    skipped : dict of str to str
        Inputs that were left out, and why.
    notes : dict of str to tuple of str
        Of inputs that are used, what people should know: a value range that does not fit the
        tissue, a ground that ``roi="auto"`` cannot tell.
    rejected : Counter
        Samples that were not made, because there was nothing to see or a generator failed, by
        input.
    others : Counter
        Files in the source's folders that are no images by their names, of each kind; see
        `synthmed.io.count_others`.
    reasons : dict of str to str
        For inputs with rejected samples, the first reason.
    resumed : int
        Samples that an earlier run had made.
    seconds : float
        Time that this run took.

    Examples
    --------
    >>> from pathlib import Path
    >>> from synthmed.generate import Summary
    >>> summary = Summary(Path("out"))
    >>> summary.count({"kind": "CutPaste", "files": {}})
    >>> summary.samples, dict(summary.kinds)
    (1, {'CutPaste': 1})
    """

    out: Path
    samples: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    resumed: int = 0
    seconds: float = 0.0

    def count(self, line: dict[str, Any]) -> None:
        """Count one line of the journal."""
        if "rejected" in line:
            self.rejected[line["source"]] += 1
            self.reasons.setdefault(line["source"], line["rejected"])
        else:
            self.samples += 1
            self.kinds[line["kind"]] += 1


def generate(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: Settings | None = None,
    *,
    workers: int = 1,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Generate a dataset, or end one that was interrupted.

    Sample *i* depends on the settings and the ordered list of usable inputs alone: the files are
    the same for any number of workers and after any interruption.

    Parameters
    ----------
    source : path or str, or a sequence of them
        Folders, files, globs, or ``sample:retina``; see `synthmed.io.find_inputs`.
    out : path
        A folder that is new, empty, or holds the same run, finished or not.
    settings : Settings, optional
    workers : int
        Processes; 1 works in this one.
    strict : bool
        End at the first input or sample that cannot be used.
    progress : callable, optional
        Called with the number of items done and of all items.

    Returns
    -------
    Summary

    Raises
    ------
    Refused
        If `out` is not empty and not this run, lies within the source, or the source within it.
    FileNotFoundError, ValueError
        If the source names no usable input; with `strict`, at the first that is not usable.
    OSError
        If a file cannot be written; what is there is whole, and the run can be resumed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate import Settings, generate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = generate("sample:retina", Path(folder) / "out", Settings(per_image=1))
    ...     sorted(p.name for p in (Path(folder) / "out").iterdir())
    ['images', 'manifest.jsonl', 'masks', 'preview.png', 'recipe.json']
    >>> summary.samples
    14
    """
    started = time.monotonic()
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    items = [str(source)] if isinstance(source, str | Path) else [str(s) for s in source]
    out = Path(out)
    _refuse_overlap(items, out)
    settings = settings or Settings()
    _require_opencv()
    if workers > 1:
        require_importable(settings.recipe)
    plan = make_plan(items, settings, partial(_examine_all, workers=workers))
    inside = [i.name for i in plan.inputs if i.path.resolve().is_relative_to(out.resolve())]
    if inside:  # through a link
        raise Refused(f"the input {inside[0]} lies in the output folder {out}")
    if strict and plan.skipped:
        raise ValueError(plan.skipped[0].problem)
    _begin(plan, out)
    summary = Summary(
        out,
        skipped={e.name: e.problem or "" for e in plan.skipped},
        notes={e.name: e.notes for e in plan.examined if e.notes},
        others=sum((count_others(i) for i in items if Path(i).is_dir()), Counter()),
    )
    producer = Producer(plan)
    if _is_complete(out):
        for line in read_lines(out / MANIFEST):
            _require_like(line, producer, out)
            summary.count(line)
        for sample in read_rejected(out / SKIPPED):
            summary.count(sample)
        summary.resumed = summary.samples
    else:
        _produce(producer, out, summary, workers, strict, progress)
        _finish(plan, producer, out)
    summary.seconds = time.monotonic() - started
    return summary


def _produce(
    producer: Producer,
    out: Path,
    summary: Summary,
    workers: int,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    journal = out / JOURNAL
    done, end = 0, 0
    if journal.exists():  # as far as it is whole and its files are there
        for line, position in read_whole_lines(journal):
            name = producer.plan.inputs[producer.source_of(done)].name
            if (line["index"], line["source"]) != (done, name) or not all(
                (out / f).is_file() for f in line.get("files", {}).values()
            ):
                break
            summary.count(line)
            done, end = done + 1, position
        os.truncate(journal, end)
    summary.resumed = summary.samples
    with journal.open("a", encoding="utf-8") as file:
        if progress:
            progress(done, len(producer))
        for lines in write_all(producer, out, done, workers):
            for text in lines:
                line = json.loads(text)
                if strict and "rejected" in line:
                    raise ValueError(
                        f"{line['source']}, sample {line['index']}: {line['rejected']}"
                    )
                summary.count(line)
            with naming(journal):
                file.writelines(lines)
                file.flush()
            done += len(lines)
            if progress:
                progress(done, len(producer))


def _begin(plan: Plan, out: Path) -> None:
    """Make the folder this run's, or see that it is."""
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; the output must be a folder")
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plan.to_dict(), indent=1) + "\n"
    if (out / RECIPE_FILE).exists():
        before, now = read_run(out / RECIPE_FILE), json.loads(text)
        changes = _changes(before, now)
        if changes:
            raise Refused(
                f"{out} holds another run ({'; '.join(changes)}). Choose another folder, or "
                f"remove this one"
            )
    else:
        others = sorted(path.name for path in out.iterdir() if not is_temporary(path))
        if others:
            raise Refused(
                f"{out} is not empty and holds no run of synthmed, but {others[0]}; choose another "
                f"folder"
            )
    remove_temporary(out)
    if not (out / RECIPE_FILE).exists():
        write_atomically(out / RECIPE_FILE, text.encode())


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two runs, for a message."""
    changes = []
    for key in sorted((before.keys() | now.keys()) - {"source", "inputs", "skipped"}):
        values = before.get(key), now.get(key)
        # Where something lies is not what it is: inputs, their regions and their groups are known
        # by name, digest and number, which stand with the inputs.
        if key in ("roi", "group_by"):
            values = (_without_path(values[0]), _without_path(values[1]))
        if values[0] != values[1]:
            changes.append(f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}")
    old, new = ({e["name"]: e for e in run["inputs"]} for run in (before, now))
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name]]
    for what, names in (
        ("added", new.keys() - old.keys()),
        ("removed", old.keys() - new.keys()),
        ("changed", changed),
    ):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            changes.append(f"inputs {what}: {shown}{more}")
    left_out = [{e["name"] for e in run["skipped"]} for run in (before, now)]
    unlike = (left_out[0] ^ left_out[1]) - old.keys() - new.keys()
    if unlike:
        changes.append(f"inputs that cannot be used differ: {', '.join(sorted(unlike)[:_SHOWN])}")
    return changes


def _without_path(value: str | None) -> str | None:
    if value is None or value in ("none", "auto", "folder"):
        return value
    return "table" if ".csv:" in value.lower() else "other"


def _finish(plan: Plan, producer: Producer, out: Path) -> None:
    """From the journal the manifest, ordered by index as the journal is; the preview; the list of
    what was skipped.
    """
    rejected = [line for line in read_lines(out / JOURNAL) if "rejected" in line]
    if rejected or plan.skipped:
        skipped = {
            "inputs": [{"name": e.name, "reason": e.problem} for e in plan.skipped],
            "samples": [
                {"index": r["index"], "source": r["source"], "reason": r["rejected"]}
                for r in rejected
            ],
        }
        write_atomically(out / SKIPPED, (json.dumps(skipped, indent=1) + "\n").encode())
    temporary = out / f"{TEMPORARY}{MANIFEST}"
    with naming(out / MANIFEST):
        with temporary.open("w", encoding="utf-8") as manifest:
            manifest.writelines(
                json.dumps(line, separators=(",", ":")) + "\n"
                for line in read_lines(out / JOURNAL)
                if "rejected" not in line
            )
        temporary.replace(out / MANIFEST)
    write_atomically(out / PREVIEW, draw_dataset(producer, out, read_lines(out / MANIFEST)))
    (out / JOURNAL).unlink()


def _require_like(line: dict[str, Any], producer: Producer, out: Path) -> None:
    """Refuse a manifest with a line that this run does not write."""
    problems = ["the run makes no such sample"]
    if line["index"] < len(producer):
        problems = list(unlike(line, producer))
    if problems:
        raise ValueError(f"{out / MANIFEST} is damaged: sample {line['index']}: {problems[0]}")


def _is_complete(out: Path) -> bool:
    if not (out / MANIFEST).exists() or (out / JOURNAL).exists() or not (out / PREVIEW).exists():
        return False
    return all(
        (out / f).is_file() for line in read_lines(out / MANIFEST) for f in line["files"].values()
    )


def _refuse_overlap(source: Sequence[str], out: Path) -> None:
    target = out.resolve()
    for item in source:
        where = Path(item).resolve()
        if where.is_dir() and target.is_relative_to(where):
            raise Refused(
                f"the output folder {out} lies in the source {item}: its images would become inputs"
            )
        if where.exists() and where.is_relative_to(target):
            raise Refused(f"the source {item} lies in the output folder {out}")


def _require_opencv() -> None:
    """See that OpenCV can be loaded, before anything is written.

    Raises
    ------
    ImportError
        If it cannot; the message says what to install.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"OpenCV, which writes PNG files, cannot be loaded ({error}). Without a display or its "
            f"libraries: pip uninstall opencv-python; pip install opencv-python-headless"
        ) from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _examine_all(inputs: Sequence[Input], settings: Settings, workers: int) -> list[Examined]:
    # Threads: decoding, resizing and hashing leave the interpreter's lock alone.
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(examine, inputs, repeat(settings)))
