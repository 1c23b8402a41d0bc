"""Runs a protocol: fits, baselines, results; goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from synthmed_clip.backbone.cache import with_cache, with_temporary_cache
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.data.duplicates import Duplicate, duplicates_between
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.fit import fit
from synthmed_clip.methods.baselines import Found, PatchMemory, join, zero_shot
from synthmed_clip.methods.mediclip.pretrain import pretrain
from synthmed_clip.methods.mediclip.settings import VARIANTS
from synthmed_clip.protocol import preflight
from synthmed_clip.protocol.plan import Group, Protocol
from synthmed_clip.protocol.results import Result, Run, folder_name
from synthmed_clip.protocol.test_sets import TestSet, judge
from synthmed_clip.protocol.variants import PATCHES, ZERO_SHOT, Method, joined

_BATCH = 16


@dataclass(frozen=True)
class Job:
    """A run on its test sets: `find` gives a test set's scores and maps, and the detector where
    there is one.
    """

    run: Run
    tests: list[TestSet]
    find: Callable[[TestSet], tuple[Found, Detector | None]]
    auxiliary: bool = False


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
        features of test and support images. While methods share synthetic images, their features
        lie there, too, and go when they are done: for ViT-L/14 and 16 shots some 5 GB.
    workers : int, optional
        As in `fit`.
    report : callable
        Called with every new result.
    """

    protocol: Protocol
    backbone: Backbone
    output: Path
    workers: int | None = None
    report: Callable[[Result], object] = lambda result: None
    _claimed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._layers = self.protocol.layers or self.backbone.default_layers()
        self._reader = with_cache(self.backbone, self.output / "features")
        self._sets = {dataset.name: dataset for dataset in self.protocol.datasets}
        self._tests = {
            name: TestSet(dataset, self.backbone.image_size) for name, dataset in self._sets.items()
        }
        self.repeated = lru_cache(maxsize=None)(self._find_repeated)

    def run(self) -> list[Result]:
        """Run whatever is not done yet, and return all results, old and new."""
        preflight.check(self.protocol, self.backbone, self._layers)
        preflight.claim(self.protocol, self.backbone, self._layers, self.output)
        self._claimed = True
        for job in self._zero_shot():
            self._do(job)
        for group in self.protocol.groups():
            with with_temporary_cache(self.backbone, self.output / "features") as shared:
                for job in self._jobs(group, shared if len(group.methods) > 1 else self.backbone):
                    self._do(job)
        return self.results()

    def results(self) -> list[Result]:
        """Return what the output holds of this protocol, in its order; nothing before it is known
        to be its output.
        """
        if not self._claimed:
            return []
        jobs = [
            *self._zero_shot(),
            *(job for group in self.protocol.groups() for job in self._jobs(group, self.backbone)),
        ]
        read = (Result.read(self.output, job.run, test.name) for job in jobs for test in job.tests)
        return [result for result in read if result is not None]

    def notes(self) -> list[str]:
        """Say what a reader of the table must know of the data, and how long it took."""
        results, sentences = self.results(), []
        pretrained = {method.name for method in self.protocol.variants if method.auxiliary}
        for source, test, auxiliary in dict.fromkeys(
            (r.run.dataset, r.test, r.run.method in pretrained) for r in results
        ):
            # What is known of the data set alone is not told again of its auxiliary images.
            known = self.repeated(source, test, False) if auxiliary else []
            pairs = [pair for pair in self.repeated(source, test, auxiliary) if pair not in known]
            if pairs:
                sentences.append(self._told(source, test, auxiliary, pairs))
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

    def _told(self, source: str, name: str, auxiliary: bool, pairs: list[Duplicate]) -> str:
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
            f"{name}: {(~test.apart(pairs)).sum()} of {len(test.items)} test images nearly "
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

    def _do(self, job: Job) -> None:
        """Find and write the results of a job that are not there."""
        for test in job.tests:
            if Result.read(self.output, job.run, test.name) is None:
                start = time.perf_counter()
                apart = test.apart(self.repeated(job.run.dataset, test.name, job.auxiliary))
                result = judge(job.run, test, *job.find(test), apart)
                result = replace(result, seconds=round(time.perf_counter() - start, 1))
                result.write(self.output)
                self.report(result)

    def _zero_shot(self) -> Iterator[Job]:
        for test in self._tests.values() if self.protocol.baselines else ():
            yield Job(
                Run(test.name, ZERO_SHOT, 0, 0),
                [test],
                lambda t: (zero_shot(self.backbone, t.grey), None),
            )

    def _jobs(self, group: Group, backbone: Backbone) -> Iterator[Job]:
        """The group's fits, and the baselines that remember the support images, alone and joined
        with each variant.
        """
        support = self.protocol.support(group.dataset, group.repeat, group.shots)
        for method in group.methods:
            yield self._fitted(group, method, support, backbone)
        variants = [method for method in group.methods if method in self.protocol.variants]
        if self.protocol.baselines and variants:
            memory = lru_cache(maxsize=None)(lambda: self._memory(support))
            tests, run = (
                self._test_sets(group, None),
                Run(group.dataset.name, PATCHES, group.shots, group.repeat),
            )
            yield Job(run, tests, lambda test: (memory().find(test.grey), None))
            for method in variants if group.shots > 1 else ():
                yield self._joined(group, method, tests, memory)

    def _test_sets(self, group: Group, method: Method | None) -> list[TestSet]:
        """The data set's own, and the others where transfer is asked for; `method` is None for a
        baseline.
        """
        own = self._tests[group.dataset.name]
        wide = self.protocol.transfer and group.shots == self.protocol.ablation_shots
        if not wide or (method is not None and method not in self.protocol.variants):
            return [own]
        return [own, *(test for test in self._tests.values() if test is not own)]

    def _fitted(self, group: Group, method: Method, support: list[Path], backbone: Backbone) -> Job:
        run = Run(group.dataset.name, method.name, group.shots, group.repeat)

        def find(test: TestSet) -> tuple[Found, Detector]:
            detector = self._detector(run, method, group.dataset, support, backbone)
            return self._maps(detector, _pixels(test, detector)), detector

        return Job(run, self._test_sets(group, method), find, method.auxiliary)

    def _joined(
        self, group: Group, method: Method, tests: list[TestSet], memory: Callable[[], PatchMemory]
    ) -> Job:
        name = group.dataset.name
        path = (
            self.output
            / Run(name, method.name, group.shots, group.repeat).folder
            / "detector.safetensors"
        )

        def find(test: TestSet) -> tuple[Found, None]:
            detector, patches = Detector.load(path, backbone=self.backbone), memory()
            maps = self._maps(detector, _pixels(test, detector)).maps
            on_support = self._maps(detector, patches.pixels).maps, patches.find_left_out().maps
            return join(maps, patches.find(test.grey).maps, on_support), None

        return Job(
            Run(name, joined(method.name), group.shots, group.repeat), tests, find, method.auxiliary
        )

    def _memory(self, support: list[Path]) -> PatchMemory:
        pixels = to_pixels(
            np.stack([square(path, self.backbone.image_size)[0] for path in support])
        )
        return PatchMemory.of(
            self._reader, pixels, self._layers, self._layers[len(self._layers) // 2]
        )

    def _detector(
        self, run: Run, method: Method, dataset: Dataset, support: list[Path], backbone: Backbone
    ) -> Detector:
        """The run's detector: fitted now, or read back."""
        folder = self.output / run.folder
        path, checkpoint = folder / "detector.safetensors", folder / "checkpoint.safetensors"
        if path.is_file():
            return Detector.load(path, backbone=self.backbone)
        folder.mkdir(parents=True, exist_ok=True)
        detector = fit(
            support,
            backbone=backbone,
            layers=self._layers,
            rng=SeedSequence(self.protocol.seed, spawn_key=(run.repeat, run.shots)),
            workers=self.workers,
            start=self._pretrained(method) if method.auxiliary else None,
            validation=dataset.validation,
            checkpoint=checkpoint,
            progress=False,
            **self.protocol.options | method.options,
        )
        detector.save(path)
        checkpoint.unlink()
        return detector

    def _pretrained(self, method: Method) -> Detector:
        """The detector taught on auxiliary images alone, one for all runs of a method."""
        path = self.output / "auxiliary" / f"{folder_name(method.name)}.safetensors"
        if path.is_file():
            return Detector.load(path, backbone=self.backbone)
        options = (
            self.protocol.options | method.options | {"epochs": self.protocol.auxiliary_epochs}
        )
        options.pop("recipe", None)
        detector = pretrain(
            self.protocol.auxiliary,
            self.backbone,
            layers=self._layers,
            rng=self.protocol.seed,
            workers=self.workers,
            progress=False,
            **options,
        )
        detector.save(path)
        return detector

    def _maps(self, detector: Detector, pixels: Tensor) -> Found:
        reader = replace(detector, backbone=self._reader)
        maps = torch.cat([reader.map_batch(batch).cpu() for batch in pixels.split(_BATCH)]).numpy()
        return Found(maps.max((1, 2)), maps)


def _pixels(test: TestSet, detector: Detector) -> Tensor:
    return test.grey if VARIANTS[detector.settings.variant].grey_test else test.colour
