"""Runs a protocol: fits, tests, results; goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.random import SeedSequence

from synthmed_clip.backbone.cache import with_cache, with_temporary_cache
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.data.duplicates import Duplicate, duplicates_between
from synthmed_clip.detector import Detector
from synthmed_clip.fit import fit, pretrain
from synthmed_clip.methods import MediCLIP
from synthmed_clip.protocol import preflight
from synthmed_clip.protocol.held_out import HeldOut, result_of
from synthmed_clip.protocol.plan import Group, Protocol
from synthmed_clip.protocol.results import Result, Run, folder_name
from synthmed_clip.protocol.variants import Entry


@dataclass(eq=False)
class Engine:
    """Runs a protocol into a folder, and goes on where an earlier call stopped. One call at a time
    in a folder.

    Attributes
    ----------
    protocol : Protocol
    backbone : Backbone
    output : Path
        Holds `protocol.json`, a folder per run with its detector and results, and the frozen
        features of test images. While entries share synthetic images, their features lie there,
        too, and go when they are done: for ViT-L/14 and 16 shots some 5 GB.
    workers : int, optional
        As in `fit`.
    report : callable
        Called with every new result.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from synthmed_clip import NearestPatch
    >>> from synthmed_clip.data import read_dataset
    >>> with TemporaryDirectory() as folder:
    ...     for kind, pixels in zip(("train", "normal", "abnormal"), scans):
    ...         path = Path(folder, "brain", kind, "scan.png")
    ...         path.parent.mkdir(parents=True)
    ...         Image.fromarray(pixels).save(path)
    ...     brain = read_dataset(Path(folder, "brain"))
    ...     protocol = Protocol([brain], [Entry("nearest", NearestPatch())], shots=[1], repeats=1)
    ...     [str(result.run) for result in Engine(protocol, backbone, Path(folder, "out")).run()]
    ['brain, nearest, k = 1, repeat 0']
    """

    protocol: Protocol
    backbone: Backbone
    output: Path
    workers: int | None = None
    report: Callable[[Result], object] = lambda result: None
    _is_ours: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Prepare to read what is needed; nothing is written yet."""
        self._reader = with_cache(self.backbone, self.output / "features")
        self._sets = {dataset.name: dataset for dataset in self.protocol.datasets}
        size = self.backbone.image_size
        self._tests = {name: HeldOut(dataset, size) for name, dataset in self._sets.items()}
        self.repeated = lru_cache(maxsize=None)(self._find_repeated)

    def run(self) -> list[Result]:
        """Run whatever is not done yet, and return all results, old and new."""
        preflight.check(self.protocol, self.backbone)
        preflight.take_output(self.protocol, self.backbone, self.output)
        self._is_ours = True
        for group in self.protocol.groups():
            with with_temporary_cache(self.backbone, self.output / "features") as shared:
                learners = [e for e in group.entries if e.method.takes("checkpoint")]
                backbone = shared if len(learners) > 1 else self.backbone
                for entry in group.entries:
                    self._run(group, entry, backbone)
        return self.results()

    def results(self) -> list[Result]:
        """Return what the output holds of this protocol, in its order; nothing before it is known
        to be its output.
        """
        if not self._is_ours:
            return []
        read = (
            Result.read(self.output, _run_of(group, entry), test.name)
            for group in self.protocol.groups()
            for entry in group.entries
            for test in self._test_sets(group, entry)
        )
        return [result for result in read if result is not None]

    def notes(self) -> list[str]:
        """Say what a reader of the table must know of the data, and how long it took."""
        results, sentences = self.results(), []
        pretrained = {entry.name for entry in self.protocol.entries if entry.auxiliary}
        for source, test, auxiliary in dict.fromkeys(
            (r.run.dataset, r.test, r.run.method in pretrained) for r in results
        ):
            # What is known of the data set alone is not said again of its auxiliary images.
            known = self.repeated(source, test, False) if auxiliary else []
            pairs = [pair for pair in self.repeated(source, test, auxiliary) if pair not in known]
            if pairs:
                sentences.append(self._sentence(source, test, auxiliary, pairs))
        for entry in self.protocol.entries:
            few = [k for k in self.protocol.all_shots if k < entry.method.least_support]
            if few and not entry.ablation:
                least, shots = entry.method.least_support, ", ".join(map(str, few))
                sentences.append(f"{entry.name} needs {least} shots: not fitted at k = {shots}.")
        for name in dict.fromkeys(result.run.dataset for result in results):
            dataset, count = self._sets[name], len(self._sets[name].train)
            if count in self.protocol.all_shots and self.protocol.repeats > 1:
                sentences.append(
                    f"{name} has {count} training images: at k = {count} all repeats share one "
                    f"support set, and the spread "
                    "is that of training alone."
                )
            if dataset.validation:
                sentences.append(
                    f"{name}: epochs were chosen on its {len(dataset.validation)} validation "
                    f"images."
                )
        seconds = sum(result.seconds for result in results)
        sentences.append(f"These {len(results)} results took {seconds / 3600:.2f} hours.")
        return list(dict.fromkeys(sentences))  # of auxiliary images, every data set says the same

    def _sentence(self, source: str, name: str, auxiliary: bool, pairs: list[Duplicate]) -> str:
        """Name the test images that nearly repeat what runs on `source` have seen."""
        test, dataset = self._tests[name], self._sets[source]
        names = ", ".join(
            f"{self._sets[name].relative(p.second)} ({dataset.relative(p.first)}, "
            f"{p.correlation:.3f})"
            for p in pairs
        )
        kinds = "training or validation image" if dataset.validation else "training image"
        what = (
            "an auxiliary image"
            if auxiliary
            else f"a {kinds}" + (f" of {source}" if source != name else "")
        )
        return (
            f"{name}: {(~test.unseen(pairs)).sum()} of {len(test.items)} test images nearly "
            f"repeat {what} "
            f"(correlation at 48 x 48): {names}."
        )

    def _find_repeated(self, source: str, test: str, auxiliary: bool) -> list[Duplicate]:
        """Pairs of an image that a run on `source` has seen and an image of the test set."""
        dataset = self._sets[source]
        seen = [*dataset.train, *(item.image for item in dataset.validation)]
        if auxiliary:
            seen += [item.image for item in self.protocol.auxiliary]
        return duplicates_between(seen, [item.image for item in self._tests[test].items])

    def _run(self, group: Group, entry: Entry, backbone: Backbone) -> None:
        """Find and write the results of an entry that are not there."""
        run = _run_of(group, entry)
        for test in self._test_sets(group, entry):
            if Result.read(self.output, run, test.name) is None:
                start = time.perf_counter()
                unseen = test.unseen(self.repeated(run.dataset, test.name, entry.auxiliary))
                result = result_of(run, test, self._detector(group, entry, backbone), unseen)
                result = replace(result, seconds=round(time.perf_counter() - start, 1))
                result.write(self.output)
                self.report(result)

    def _test_sets(self, group: Group, entry: Entry) -> list[HeldOut]:
        """The data set's own, and the others where transfer is asked for."""
        own = self._tests[group.dataset.name]
        wide = self.protocol.transfer and group.shots == self.protocol.ablation_shots
        others = [test for test in self._tests.values() if test is not own]
        return [own, *(others if wide and not entry.ablation else [])]

    def _detector(self, group: Group, entry: Entry, backbone: Backbone) -> Detector:
        """The entry's detector, fitted now or before; its backbone remembers the test images."""
        folder = self.output / _run_of(group, entry).folder
        path, checkpoint = folder / "detector.safetensors", folder / "checkpoint.safetensors"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            options: dict[str, Any] = {
                "start": self._pretrained(entry) if entry.auxiliary else None,
                "validation": group.dataset.validation or None,
                "checkpoint": checkpoint,
            }
            detector = fit(
                self.protocol.support(group.dataset, group.repeat, group.shots),
                entry.method,
                backbone=backbone,
                rng=SeedSequence(self.protocol.seed, spawn_key=(group.repeat, group.shots)),
                value_range=self.protocol.value_range,
                workers=self.workers,
                progress=False,
                **{name: v for name, v in options.items() if v and entry.method.takes(name)},
            )
            detector.save(path)
            checkpoint.unlink(missing_ok=True)
        return Detector.load(path, backbone=self._reader)

    def _pretrained(self, entry: Entry) -> Detector:
        """The detector taught on auxiliary images alone, one for all runs of an entry."""
        path = self.output / "auxiliary" / f"{folder_name(entry.name)}.safetensors"
        if not path.is_file():
            if not isinstance(entry.method, MediCLIP):
                raise TypeError(f"{entry.name} cannot begin with auxiliary images")
            detector = pretrain(
                self.protocol.auxiliary,
                replace(entry.method, epochs=self.protocol.auxiliary_epochs),
                backbone=self.backbone,
                rng=self.protocol.seed,
                workers=self.workers,
                progress=False,
            )
            detector.save(path)
        return Detector.load(path, backbone=self.backbone)


def _run_of(group: Group, entry: Entry) -> Run:
    return Run(group.dataset.name, entry.name, group.shots, group.repeat)
