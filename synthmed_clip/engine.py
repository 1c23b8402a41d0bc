"""Runs a protocol: fits, baselines, results; goes on where it was interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from synthmed_clip.auxiliary import pretrain
from synthmed_clip.backbone import Backbone
from synthmed_clip.baselines import Found, PatchMemory, join, zero_shot
from synthmed_clip.datasets import Dataset
from synthmed_clip.detector import Detector, precision_name
from synthmed_clip.duplicates import Duplicate, duplicates_between
from synthmed_clip.evaluation import evaluate_maps
from synthmed_clip.features import remembering, remembering_for_now
from synthmed_clip.files import write_text
from synthmed_clip.images import square
from synthmed_clip.methods import JOINED, PATCHES, ZERO_SHOT, Method
from synthmed_clip.protocol import Protocol
from synthmed_clip.results import Result, Run
from synthmed_clip.settings import VARIANTS
from synthmed_clip.training import fit

_BATCH = 16


class TestSet:
    """A data set's test images as the backbone sees them, and which of them nearly repeat training images."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.name, self.items = dataset.name, dataset.test
        self._size, self._train = size, dataset.train

    @cached_property
    def grey(self) -> Tensor:
        return self._read(True)

    @cached_property
    def colour(self) -> Tensor:
        return self._read(False)

    @cached_property
    def repeated(self) -> list[Duplicate]:
        """Pairs of a training image and a test image."""
        return duplicates_between(self._train, [item.image for item in self.items])

    @cached_property
    def apart(self) -> np.ndarray:
        """Which items repeat no training image, bool."""
        seen = {pair.second for pair in self.repeated}
        return np.array([item.image not in seen for item in self.items])

    def _read(self, grey: bool) -> Tensor:
        return torch.from_numpy(np.stack([square(item.image, self._size, grey)[0] for item in self.items]))


@dataclass(eq=False)
class Engine:
    """Runs a protocol into a folder, and goes on where an earlier call stopped.

    Attributes
    ----------
    protocol : Protocol
    backbone : Backbone
    output : Path
        Holds `protocol.json`, a folder per run with its detector and results, and the frozen features of test sets.
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

    def __post_init__(self) -> None:
        self._layers = self.protocol.layers or self.backbone.default_layers()
        self._reader = remembering(self.backbone, self.output / "features")
        self._tests = {dataset.name: TestSet(dataset, self.backbone.image_size) for dataset in self.protocol.datasets}

    def run(self) -> list[Result]:
        """Run whatever is not done yet, and return all results, old and new."""
        self._claim_output()
        results: list[Result] = []
        if self.protocol.baselines:
            for test in self._tests.values():
                run = Run(test.name, ZERO_SHOT, 0, 0)
                results += self._results(run, [test], lambda t: (zero_shot(self.backbone, t.grey), None))
        for dataset, shots, repeat, methods in self.protocol.groups():
            results += self._group(dataset, shots, repeat, methods)
        return results

    def notes(self, results: Sequence[Result]) -> list[str]:
        """Say what a reader of the table must know: training images repeated in tests, and the time it took."""
        sentences = []
        for test in self._tests.values():
            if test.repeated:
                names = ", ".join(f"{p.second.name} ({p.first.name}, {p.correlation:.3f})" for p in test.repeated)
                sentences.append(
                    f"{test.name}: {(~test.apart).sum()} of {len(test.items)} test images nearly repeat a training image "
                    f"(correlation at 48 x 48): {names}."
                )
        seconds = sum(result.seconds for result in results)
        sentences.append(f"All {len(results)} results took {seconds / 3600:.2f} hours.")
        return sentences

    def _claim_output(self) -> None:
        """Refuse a folder of another protocol: what is common to all its runs must agree."""
        common = {
            "weights": self.backbone.digest,
            "precision": precision_name(self.backbone),
            "device": self.backbone.device.type,
            "layers": list(self._layers),
            "seed": self.protocol.seed,
            "options": self.protocol.options,
        }
        names = {
            dataset.name: sha256(
                "\n".join(path.name for path in (*dataset.train, *(item.image for item in dataset.test))).encode()
            ).hexdigest()
            for dataset in self.protocol.datasets
        }
        path = self.output / "protocol.json"
        kept = json.loads(path.read_text()) if path.is_file() else {"common": common, "datasets": {}}
        common = json.loads(json.dumps(common))
        for key, value in common.items():
            if kept["common"].get(key) != value:
                raise ValueError(f"{path} is of another protocol: {key} was {kept['common'].get(key)!r}, now {value!r}")
        for name, digest in names.items():
            if kept["datasets"].get(name, digest) != digest:
                raise ValueError(f"{path}: the images of {name} are others than before; name another output")
        write_text(path, json.dumps({"common": common, "datasets": kept["datasets"] | names}, indent=1) + "\n")

    def _group(self, dataset: Dataset, shots: int, repeat: int, methods: list[Method]) -> list[Result]:
        support = self.protocol.support(dataset, repeat, shots)
        results: list[Result] = []
        with remembering_for_now(self.backbone, self.output / "features") as shared:
            backbone = shared if len(methods) > 1 else self.backbone
            for method in methods:
                run = Run(dataset.name, method.name, shots, repeat)
                results += self._fitted(run, method, dataset, support, backbone)
        if self.protocol.baselines and any(method.name == "paper" for method in methods):
            results += self._compared(dataset, shots, repeat, support)
        return results

    def _fitted(self, run: Run, method: Method, dataset: Dataset, support: list[Path], backbone: Backbone) -> list[Result]:
        tests = [self._tests[run.dataset]]
        if self.protocol.transfer and run.shots == self.protocol.ablation_shots and method in self.protocol.variants:
            tests += [test for name, test in self._tests.items() if name != run.dataset]

        def find(test: TestSet) -> tuple[Found, Detector]:
            detector = self._detector(run, method, dataset, support, backbone)
            return self._maps(detector, self._pixels(test, detector)), detector

        return self._results(run, tests, find)

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
        path = self.output / "auxiliary" / f"{method.options['variant']}.safetensors"
        if path.is_file():
            return Detector.load(path, backbone=self.backbone)
        options = self.protocol.options | method.options | {"epochs": self.protocol.auxiliary_epochs}
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

    def _compared(self, dataset: Dataset, shots: int, repeat: int, support: list[Path]) -> list[Result]:
        """The baselines that remember the support images, alone and joined with the fitted detector."""
        pixels = torch.from_numpy(np.stack([square(path, self.backbone.image_size)[0] for path in support]))
        layer = self._layers[len(self._layers) // 2]

        def memory() -> PatchMemory:
            return PatchMemory.of(self._reader, pixels, self._layers, layer)

        def joined(test: TestSet) -> tuple[Found, None]:
            path = self.output / Run(dataset.name, "paper", shots, repeat).folder / "detector.safetensors"
            detector, patches = Detector.load(path, backbone=self.backbone), memory()
            on_support = self._maps(detector, pixels), patches.find_left_out()
            return join(self._maps(detector, test.grey), patches.find(test.grey), on_support), None

        test = self._tests[dataset.name]
        results = self._results(Run(dataset.name, PATCHES, shots, repeat), [test], lambda t: (memory().find(t.grey), None))
        if shots > 1:
            results += self._results(Run(dataset.name, JOINED, shots, repeat), [test], joined)
        return results

    def _results(
        self, run: Run, tests: list[TestSet], find: Callable[[TestSet], tuple[Found, Detector | None]]
    ) -> list[Result]:
        """Read the results of a run, or find and write them."""
        results = []
        for test in tests:
            result = Result.read(self.output, run, test.name)
            if result is None:
                start = time.perf_counter()
                found, detector = find(test)
                result = judge(run, test, found, detector)
                result = replace(result, seconds=round(time.perf_counter() - start, 1))
                result.write(self.output)
                self.report(result)
            results.append(result)
        return results

    def _pixels(self, test: TestSet, detector: Detector) -> Tensor:
        return test.grey if VARIANTS[detector.settings.variant].grey_test else test.colour

    def _maps(self, detector: Detector, pixels: Tensor) -> Found:
        reader = replace(detector, backbone=self._reader)
        maps = torch.cat([reader.map_batch(batch).cpu() for batch in pixels.split(_BATCH)]).numpy()
        return Found(maps.max((1, 2)), maps)


def judge(run: Run, test: TestSet, found: Found, detector: Detector | None) -> Result:
    """Compute a result's figures, with all test images and without those that nearly repeat a training image."""
    threshold = detector.threshold if detector else 0.0
    whole = evaluate_maps(found.maps, found.scores, test.items, threshold, resamples=0)
    part = whole
    if not test.apart.all():
        items = [item for item, keep in zip(test.items, test.apart, strict=True) if keep]
        part = evaluate_maps(found.maps[test.apart], found.scores[test.apart], items, threshold, resamples=0)
    return Result(
        run=run,
        test=test.name,
        figures=whole.figures(),
        apart=part.figures(),
        threshold=whole.threshold if detector else None,
        sensitivity=whole.sensitivity if detector else None,
        specificity=whole.specificity if detector else None,
        seconds=0.0,
        scores=whole.scores,
    )
