"""The command line: synthmed generate | preview | gallery | replay."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm
from tyro.conf import Positional, arg

import synthmed.generate as generation
from synthmed.generate.preview import MARK
from synthmed.generate.settings import Channels, LayoutName, Size
from synthmed.io import ValueRange, find_inputs, require_own, write_atomically
from synthmed.presets import read_recipe
from synthmed.version import __version__

_SHOWN = 8  # inputs that there are notes on
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SourceAndOut = Annotated[Positional[tuple[str, ...]], arg(metavar="SOURCE [SOURCE ...] OUT")]
_MaskLevel = tuple[int, ...] | Literal["any"] | None
_ValueRange = ValueRange | None
_Import = Annotated[tuple[str, ...], arg(name="import", metavar="MODULE")]
_GroupBy = Annotated[str | None, arg(metavar="folder|FILE.csv:COLUMN|REGEX")]
_Size = Annotated[str, arg(metavar="PIXELS|native")]


@dataclass
class Generate:
    """Generate a labelled dataset of synthetic anomalies from normal images.

    Started again after an interruption, it goes on where it was; the files are the same for any
    number of workers.
    """

    paths: _SourceAndOut
    """Source: folders (recursive), files or globs of normal images, or sample:retina. Out: a folder
    that is new, empty, or holds the same run.
    """
    recipe: str = "paper"
    """A preset (paper, release, small, diffuse, all, fpi, pii, nsa, draem, mtml), or a JSON or TOML
    file.
    """
    per_image: int = 10
    """Samples for each input."""
    seed: int = 0
    """Determines every sample."""
    size: _Size = "224"
    """Side to which images are resized, or native."""
    channels: Channels = "grey"
    """Make images grey, or keep their channels."""
    roi: str = "none"
    """Where anomalies may lie: none (anywhere), auto (the foreground, on a dark or an evenly
    white ground), or a folder of masks named as the inputs, each drawn on its image as stored.
    """
    mask_level: _MaskLevel = None
    """Which levels of these masks are inside, where they have others than 0 and one more: numbers,
    or any but 0.
    """
    value_range: _ValueRange = None
    """The intensities to which anomalies are relative: two numbers, window, dtype, or percentile
    A B of each image; by default the window that the file declares, else 0 to 255 of 8 bits, else
    the image's own minimum and maximum.
    """
    workers: int = os.cpu_count() or 1
    """Processes."""
    layout: LayoutName = "pairs"
    """images/ and masks/, or the folders of MVTec-AD."""
    soft: bool = False
    """Label by how much changed, in place of a mask: float TIFF, 0 to 1."""
    train_share: float = 0.5
    """Layout mvtec: share of the inputs for train/good."""
    group_by: _GroupBy = None
    """Layout mvtec: keep inputs of one patient on one side: by their folder, by a column of a table
    (whose first column names the files), or by a regular expression whose first group is the key.
    """
    imports: _Import = ()
    """Modules with generators of one's own that the recipe names."""
    strict: bool = False
    """End at the first input that cannot be used."""

    def run(self) -> int:
        """Run the command; return the exit status."""
        source, out = _source_and_out(self.paths)
        _import(self.imports)
        settings = generation.Settings(
            recipe=read_recipe(self.recipe),
            per_image=self.per_image,
            seed=self.seed,
            size=_size(self.size),
            channels=self.channels,
            roi=self.roi,
            mask_level=self.mask_level,
            value_range=self.value_range,
            layout=self.layout,
            soft=self.soft,
            train_share=self.train_share,
            group_by=self.group_by,
        )
        with tqdm(unit=" samples", disable=None, dynamic_ncols=True) as bar:

            def progress(done: int, total: int) -> None:
                if bar.total is None:
                    bar.reset(total)
                    bar.initial = done
                bar.n = done
                bar.refresh()

            summary = generation.generate(
                source, out, settings, workers=self.workers, strict=self.strict, progress=progress
            )
        _print_summary(summary)
        return 1 if summary.skipped or summary.rejected else 0


@dataclass
class Preview:
    """Draw a contact sheet of what a recipe makes of some images."""

    paths: _SourceAndOut
    """Source: folders (recursive), files or globs of normal images, or sample:retina. Out: the PNG
    file to write.
    """
    recipe: str = "paper"
    """A preset (paper, release, small, diffuse, all, fpi, pii, nsa, draem, mtml), or a JSON or TOML
    file.
    """
    seed: int = 0
    """Determines every sample."""
    size: _Size = "224"
    """Side to which images are resized, or native."""
    channels: Channels = "grey"
    """Make images grey, or keep their channels."""
    roi: str = "none"
    """Where anomalies may lie: none, auto, or a folder of masks named as the inputs."""
    mask_level: _MaskLevel = None
    """Which levels of these masks are inside, where they have others than 0 and one more: numbers,
    or any but 0.
    """
    value_range: _ValueRange = None
    """The intensities to which anomalies are relative: two numbers, window, dtype, or percentile
    A B of each image; by default as in generate.
    """
    imports: _Import = ()
    """Modules with generators of one's own that the recipe names."""
    force: bool = False
    """Replace a file of this name that is no contact sheet."""

    def run(self) -> int:
        """Run the command; return the exit status."""
        source, out = _source_and_out(self.paths)
        _check_sheet(out, self.force, source)
        _import(self.imports)
        settings = generation.Settings(
            recipe=read_recipe(self.recipe),
            per_image=20,
            seed=self.seed,
            size=_size(self.size),
            channels=self.channels,
            roi=self.roi,
            mask_level=self.mask_level,
            value_range=self.value_range,
        )
        plan = generation.make_plan(source, settings)
        write_atomically(out, generation.draw_recipe(generation.Producer(plan)))
        print(f"wrote {out}")
        _print_notes({e.name: e.notes for e in plan.examined if e.notes})
        _print_skipped({e.name: e.problem or "" for e in plan.skipped})
        return 1 if plan.skipped else 0


@dataclass
class Gallery:
    """Draw every anomaly and every distractor on images of each modality at hand."""

    out: Annotated[Positional[Path], arg(metavar="OUT.png")]
    """The PNG file to write."""
    source: tuple[str, ...] = ("sample:retina",)
    """Each a modality: a folder, a file or a glob of normal images, or sample:retina."""
    per_source: int = 2
    """Images of each."""
    seed: int = 0
    """Determines what is drawn."""
    size: _Size = "224"
    """Side to which images are resized, or native."""
    channels: Channels = "keep"
    """Make images grey, or keep their channels."""
    roi: Literal["none", "auto"] = "auto"
    """Where anomalies may lie: anywhere, or in the foreground."""
    force: bool = False
    """Replace a file of this name that is no contact sheet."""

    def run(self) -> int:
        """Run the command; return the exit status."""
        settings = generation.Settings(
            seed=self.seed, size=_size(self.size), channels=self.channels, roi=self.roi
        )
        if self.per_source < 1:
            raise ValueError(f"per-source must be at least 1, got {self.per_source}")
        _check_sheet(self.out, self.force, self.source)
        sheet, skipped = generation.draw_gallery(self.source, settings, per_source=self.per_source)
        write_atomically(self.out, sheet)
        print(f"wrote {self.out}")
        _print_skipped(skipped)
        return 1 if skipped else 0


@dataclass
class Replay:
    """Regenerate samples of a dataset from its manifest, and verify that they equal its files."""

    manifest: Annotated[Positional[Path], arg(metavar="MANIFEST")]
    """The manifest.jsonl of a run."""
    index: int | None = None
    """One sample."""
    all: bool = False
    """Every sample."""
    source: tuple[str, ...] = ()
    """Where the inputs are now, if not where they were."""
    imports: _Import = ()
    """Modules with generators of one's own that the run used."""

    def run(self) -> int:
        """Run the command; return the exit status."""
        if (self.index is None) == (not self.all):
            raise ValueError("give either --index or --all")
        _import(self.imports)
        started, count, different = time.monotonic(), 0, 0
        for found in tqdm(
            generation.verify(self.manifest, self.index, self.source), unit=" samples", disable=None
        ):
            count += 1
            if found.problems:
                different += 1
                print(f"sample {found.index} differs:", *found.problems, sep="\n  ")
        print(
            f"{count - different} of {count} samples identical to their files, "
            f"{time.monotonic() - started:.1f} s"
        )
        return 1 if different else 0


def _source_and_out(paths: tuple[str, ...]) -> tuple[tuple[str, ...], Path]:
    if len(paths) < 2:
        raise ValueError(f"expected SOURCE and OUT, got only {' '.join(paths) or 'nothing'}")
    return paths[:-1], Path(paths[-1])


def _check_sheet(out: Path, force: bool, source: Sequence[str]) -> None:
    """Refuse, before any work, what cannot become a contact sheet."""
    if out.suffix.lower() != ".png" or out.is_dir():
        what = ", which is a folder" if out.is_dir() else ""
        raise ValueError(f"OUT must be a PNG file, got {out}{what}")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"OUT {out} cannot be written: no folder {out.parent}")
    inputs = (found.path.resolve() for item in source for found in find_inputs([item]))
    if out.resolve() in inputs:
        raise ValueError(f"OUT {out} is one of the inputs; name another file")
    require_own(out, MARK, force=force)


def _import(modules: tuple[str, ...]) -> None:
    """Import modules, from the folder in which one is too."""
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        importlib.import_module(name)


def _size(text: str) -> Size:
    if text == "native":
        return "native"
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"size must be a number of pixels or 'native', got {text!r}") from None


def _print_summary(summary: generation.Summary) -> None:
    made = summary.samples - summary.resumed
    rate = f", {made / summary.seconds:.0f} a second" if made and summary.seconds > 0 else ""
    before = f" ({summary.resumed} of them made before)" if summary.resumed else ""
    print(f"{summary.samples} samples in {summary.out}{before}, {summary.seconds:.1f} s{rate}")
    for kind, count in sorted(summary.kinds.items()):
        print(f"  {count:6d}  {kind}")
    if summary.others:
        kinds = ", ".join(f"{n} {kind}" for kind, n in summary.others.most_common())
        print(f"not taken for images: {kinds}")
    _print_notes(summary.notes)
    _print_skipped(summary.skipped)
    for name, count in summary.rejected.items():
        print(f"rejected {count} samples of {name}: {summary.reasons[name]}", file=sys.stderr)


def _print_skipped(skipped: dict[str, str]) -> None:
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)


def _print_notes(notes: dict[str, tuple[str, ...]]) -> None:
    for name, said in list(notes.items())[:_SHOWN]:
        print(*(f"note on {name}: {text}" for text in said), sep="\n", file=sys.stderr)
    if len(notes) > _SHOWN:
        print(f"and notes on {len(notes) - _SHOWN} more inputs", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 if something was skipped or differs, 2 for
    an error.
    """
    if (sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"synthmed {__version__}")
        return 0
    command = tyro.extras.subcommand_cli_from_dict(
        {"generate": Generate, "preview": Preview, "gallery": Gallery, "replay": Replay},
        args=arguments,
        prog="synthmed",
        description="Seeded, composable synthetic anomalies for medical images. --version says "
        "which version it is.",
    )
    try:
        return command.run()
    except KeyboardInterrupt:
        print("synthmed: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        hint = (
            "; what is written is whole, the same command goes on from here"
            if error.errno in _NO_SPACE
            else ""
        )
        print(f"synthmed: {error}{hint}", file=sys.stderr)
        return 2
    except (ValueError, ImportError, RuntimeError) as error:
        print(f"synthmed: {error}", file=sys.stderr)
        return 2
