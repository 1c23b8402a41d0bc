"""Runs a protocol: fits, baselines, results; goes on where it was interrupted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from synthmed_clip.auxiliary import pretrain, usable
from synthmed_clip.backbone import Backbone
from synthmed_clip.baselines import Found, PatchMemory, join, zero_shot
from synthmed_clip.datasets import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.duplicates import Duplicate, duplicates_between
from synthmed_clip.features import remembering, remembering_for_now
from synthmed_clip.files import write_text
from synthmed_clip.images import square
from synthmed_clip.judging import TestSet, content, judge
from synthmed_clip.methods import PATCHES, ZERO_SHOT, Method, joined
from synthmed_clip.optimisation import new_head, resolve
from synthmed_clip.protocol import Group, Protocol
from synthmed_clip.results import Result, Run, folder_name
from synthmed_clip.settings import VARIANTS
from synthmed_clip.training import fit

_BATCH = 16


@dataclass(eq=False)
class Engine:
    """Runs a protocol into a folder, and goes on where an earlier call stopped.

    Attributes
    ----------
    protocol : Protocol
    backbone : Backbone
    output : Path
        Holds `protocol.json`, a folder per run with its detector and results, and the frozen features of test and
        support images. While methods share synthetic images, their features lie there, too, and go when they are done:
        for ViT-L/14 and 16 shots some 5 GB.
    workers : int, optional
        As in `fit`.
    report : callable
        Called with every new result.
    results : list of Result
        Of the last call of `run`, as far as it has come.
    """

    protocol: Protocol
    backbone: Backbone
    output: Path
    workers: int | None = None
    report: Callable[[Result], object] = lambda result: None
    results: list[Result] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._layers = self.protocol.layers or self.backbone.default_layers()
        self._reader = remembering(self.backbone, self.output / "features")
        self._sets = {dataset.name: dataset for dataset in self.protocol.datasets}
        self._tests = {name: TestSet(dataset, self.backbone.image_size) for name, dataset in self._sets.items()}
        self.repeated = lru_cache(maxsize=None)(self._find_repeated)

    def run(self) -> list[Result]:
        """Run whatever is not done yet, and return all results, old and new."""
        self._check()
        self._claim_output()
        self.results.clear()
        if self.protocol.baselines:
            for test in self._tests.values():
                run = Run(test.name, ZERO_SHOT, 0, 0)
                self._add(run, [test], lambda t: (zero_shot(self.backbone, t.grey), None))
        for group in self.protocol.groups():
            self._run_group(group)
        return self.results

    def notes(self) -> list[str]:
        """Say what a reader of the table must know of the data, and how long it took."""
        sentences = []
        for name, test in self._tests.items():
            dataset, pairs = self._sets[name], self.repeated(name, name, False)
            if pairs:
                names = ", ".join(
                    f"{dataset.relative(p.second)} ({dataset.relative(p.first)}, {p.correlation:.3f})" for p in pairs
                )
                kinds = "training or validation image" if dataset.validation else "training image"
                sentences.append(
                    f"{name}: {(~test.apart(pairs)).sum()} of {len(test.items)} test images nearly repeat a {kinds} "
                    f"(correlation at 48 x 48): {names}."
                )
            count = len(dataset.train)
            if count in self.protocol.all_shots and self.protocol.repeats > 1:
                sentences.append(
                    f"{name} has {count} training images: at k = {count} all repeats share one support set, and the spread "
                    "is that of training alone."
                )
            if dataset.validation:
                sentences.append(f"{name}: epochs were chosen on its {len(dataset.validation)} validation images.")
        seconds = sum(result.seconds for result in self.results)
        sentences.append(f"These {len(self.results)} results took {seconds / 3600:.2f} hours.")
        return sentences

    def _find_repeated(self, source: str, test: str, auxiliary: bool) -> list[Duplicate]:
        """Pairs of an image that a run on `source` has seen and an image of the test set."""
        dataset = self._sets[source]
        seen = [*dataset.train, *(item.image for item in dataset.validation)]
        if auxiliary:
            seen += [item.image for item in self.protocol.auxiliary]
        return duplicates_between(seen, [item.image for item in self._tests[test].items])

    def _check(self) -> None:
        """Raise ValueError for what would fail only after hours."""
        for method in (*self.protocol.variants, *self.protocol.ablations):
            options = {"epochs": 1, **self.protocol.options, **method.options, "recipe": method.recipe.to_dict()}
            new_head(self.backbone, resolve(self.backbone, layers=self._layers, **options))
        if any(method.auxiliary for method in self.protocol.variants):
            usable(self.protocol.auxiliary)
        for name, dataset in self._sets.items():
            images = [item.image for item in dataset.validation]
            same = [p for p in duplicates_between(images, [i.image for i in dataset.test]) if p.exact] if images else []
            if same:
                raise ValueError(f"{name}: the validation image {same[0].first} is a test image, {same[0].second}")

    def _claim_output(self) -> None:
        """Refuse a folder of another protocol: what is common to all its runs must agree."""
        protocol = self.protocol
        ours = {
            "common": {
                "backbone": self.backbone.fingerprint,
                "layers": list(self._layers),
                "seed": protocol.seed,
                **protocol.options,
            },
            "data": {
                name: content(dataset.train, (*dataset.validation, *dataset.test)) for name, dataset in self._sets.items()
            },
        }
        if protocol.auxiliary:
            ours["data"]["auxiliary"] = content([], protocol.auxiliary)
            ours["common"]["auxiliary_epochs"] = protocol.auxiliary_epochs
        path = self.output / "protocol.json"
        try:
            kept = json.loads(path.read_text()) if path.is_file() else {}
            kept = {key: dict(kept.get(key, {})) for key in ours}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); name another output, or remove it") from None
        for part, values in json.loads(json.dumps(ours)).items():
            for key, value in values.items():
                if kept[part].setdefault(key, value) != value:
                    what = f"{key} was {kept[part][key]!r}, now {value!r}" if part == "common" else f"other images in {key}"
                    raise ValueError(f"{path} is of another protocol: {what}; name another output")
        write_text(path, json.dumps(kept, indent=1) + "\n")
        for stale in (self.output / "features").glob("tmp*"):
            shutil.rmtree(stale)

    def _run_group(self, group: Group) -> None:
        support = self.protocol.support(group.dataset, group.repeat, group.shots)
        with remembering_for_now(self.backbone, self.output / "features") as shared:
            backbone = shared if len(group.methods) > 1 else self.backbone
            for method in group.methods:
                self._fit(group, method, support, backbone)
        variants = [method for method in group.methods if method in self.protocol.variants]
        if self.protocol.baselines and variants:
            self._compare(group, variants, support)

    def _test_sets(self, group: Group, method: Method | None) -> list[TestSet]:
        """The data set's own, and the others where transfer is asked for; `method` is None for a baseline."""
        own = self._tests[group.dataset.name]
        wide = self.protocol.transfer and group.shots == self.protocol.ablation_shots
        if not wide or (method is not None and method not in self.protocol.variants):
            return [own]
        return [own, *(test for test in self._tests.values() if test is not own)]

    def _fit(self, group: Group, method: Method, support: list[Path], backbone: Backbone) -> None:
        run = Run(group.dataset.name, method.name, group.shots, group.repeat)

        def find(test: TestSet) -> tuple[Found, Detector]:
            detector = self._detector(run, method, group.dataset, support, backbone)
            return self._maps(detector, _pixels(test, detector)), detector

        self._add(run, self._test_sets(group, method), find, method.auxiliary)

    def _detector(self, run: Run, method: Method, dataset: Dataset, support: list[Path], backbone: Backbone) -> Detector:
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
        options = self.protocol.options | method.options | {"epochs": self.protocol.auxiliary_epochs}
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

    def _compare(self, group: Group, variants: list[Method], support: list[Path]) -> None:
        """The baselines that remember the support images, alone and joined with each variant."""
        pixels = torch.from_numpy(np.stack([square(path, self.backbone.image_size)[0] for path in support]))
        layer = self._layers[len(self._layers) // 2]
        name, tests = group.dataset.name, self._test_sets(group, None)

        def memory() -> PatchMemory:
            return PatchMemory.of(self._reader, pixels, self._layers, layer)

        self._add(Run(name, PATCHES, group.shots, group.repeat), tests, lambda test: (memory().find(test.grey), None))
        for method in variants if group.shots > 1 else ():
            path = self.output / Run(name, method.name, group.shots, group.repeat).folder / "detector.safetensors"

            def find(test: TestSet, path: Path = path) -> tuple[Found, None]:
                detector, patches = Detector.load(path, backbone=self.backbone), memory()
                maps = self._maps(detector, _pixels(test, detector)).maps
                on_support = self._maps(detector, pixels).maps, patches.find_left_out().maps
                return join(maps, patches.find(test.grey).maps, on_support), None

            run = Run(name, joined(method.name), group.shots, group.repeat)
            self._add(run, tests, find, method.auxiliary)

    def _add(
        self,
        run: Run,
        tests: list[TestSet],
        find: Callable[[TestSet], tuple[Found, Detector | None]],
        auxiliary: bool = False,
    ) -> None:
        """Read the results of a run, or find and write them."""
        for test in tests:
            result = Result.read(self.output, run, test.name)
            if result is None:
                start = time.perf_counter()
                apart = test.apart(self.repeated(run.dataset, test.name, auxiliary))
                result = judge(run, test, *find(test), apart)
                result = replace(result, seconds=round(time.perf_counter() - start, 1))
                result.write(self.output)
                self.report(result)
            self.results.append(result)

    def _maps(self, detector: Detector, pixels: Tensor) -> Found:
        reader = replace(detector, backbone=self._reader)
        maps = torch.cat([reader.map_batch(batch).cpu() for batch in pixels.split(_BATCH)]).numpy()
        return Found(maps.max((1, 2)), maps)


def _pixels(test: TestSet, detector: Detector) -> Tensor:
    return test.grey if VARIANTS[detector.settings.variant].grey_test else test.colour
