"""How fast the detector is beside the frozen visual tower that it cannot do without.

    python -m benchmarks.clip [--model ViT-L-14-quickgelu] [--rounds 5] [--parts step predict
    precision memory metrics neighbours]
                            [--cpu-time]

Random weights (speed does not depend on them), the paper's variant, chest-like random images. Every
ratio is of medians over interleaved rounds in one process; memory is measured in a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from synthmed_clip import Detector, MediCLIP, NearestPatch, fit, load_backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.evaluation import pixel_metrics
from synthmed_clip.training.learner import Learner
from synthmed_clip.training.loop import train
from synthmed_clip.training.seeds import draw_entropy
from synthmed_clip.training.steps import SyntheticSteps, stream


def support_images(count: int, size: int) -> np.ndarray:
    """Smooth random images, `(count, size, size)` uint8."""
    import cv2

    noise = np.random.default_rng(0).random((count, size, size), np.float32)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), size / 20) for image in noise])
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def interleaved(rounds: int, **tasks: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of every task in every round; one round to warm up is not counted."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            start = CLOCK()
            task()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(CLOCK() - start)
    return times


def report(name: str, times: dict[str, list[float]], limit: str) -> None:
    """Print medians, spread, and their ratios to the first task."""
    base = median(next(iter(times.values())))
    for task, seconds in times.items():
        print(
            f"{name:<10} {task:<28} {median(seconds):8.3f} s  (min {min(seconds):.3f}, max "
            f"{max(seconds):.3f})"
            f"  {median(seconds) / base:6.3f} x"
        )
    print(f"{'':<10} limit: {limit}", flush=True)


def tower(backbone, images: np.ndarray) -> Callable[[], object]:
    """The bare visual tower on normalised images, all its layers and its own pooled output."""
    pixels = torch.from_numpy(images).to(backbone.device)[:, None].float()
    pixels = torch.addcmul(backbone.offset, pixels, backbone.scale).to(backbone.dtype)

    def run() -> None:
        with torch.inference_mode():
            backbone.visual(pixels)

    return run


def small_fit(backbone, images: np.ndarray, epochs: int) -> Detector:
    return fit(images, MediCLIP(epochs=epochs), backbone=backbone, rng=0, progress=False)


def step(model: str, rounds: int, batch: int = 8) -> None:
    """One training step, fresh synthetic images included, against the bare tower."""
    backbone = load_backbone(model, None)
    images = support_images(batch, backbone.image_size)
    method = MediCLIP(batch_size=batch).resolved(backbone)
    steps = SyntheticSteps(method.training_recipe, images, batch, draw_entropy(0))
    runs = {}
    for workers in (0, 1):
        model = method.model(backbone)
        learner = Learner.begin(model.head, method.lr, method.betas, method.average)
        runs[f"step, workers={workers}"] = train(
            learner,
            steps,
            lambda pixels, m=model: m.maps_of(m.features(pixels), m.class_features()),
            epochs=10**6,
            workers=workers,
        )
    tasks = {name: (lambda epochs=epochs: next(epochs)) for name, epochs in runs.items()}
    made = stream(steps, 0, 10**6, 0)

    def text() -> None:
        model.head.zero_grad()
        model.class_features().square().mean().backward()

    times = interleaved(
        rounds,
        **{"bare tower": tower(backbone, images)},
        **tasks,
        **{"text tower, both ways": text, "8 synthetic images": lambda: next(made)},
    )
    report("step", times, "step 1.25 x; text tower 10 % of a step")


def predict(model: str, rounds: int) -> None:
    """`predict` on arrays of the backbone's size, against the bare tower in one batch."""
    backbone = load_backbone(model, None)
    for count in COUNTS:
        images = support_images(count, backbone.image_size)
        detector = small_fit(backbone, images[:1], 1)
        report(
            f"predict {count}",
            interleaved(
                rounds,
                **{
                    "bare tower": tower(backbone, images),
                    "predict": lambda d=detector, i=images: d.predict(i),
                },
            ),
            "1.1 x",
        )


def precision(model: str, rounds: int) -> None:
    """Strict float32 against the default precision: predict and the bare tower."""
    towers = {p: load_backbone(model, None, precision=p) for p in ("auto", "float32")}
    images = support_images(8, towers["auto"].image_size)
    detectors = {p: small_fit(b, images[:1], 1) for p, b in towers.items()}
    report(
        "precision",
        interleaved(
            rounds,
            **{
                f"predict 8, {p} ({b.dtype})": lambda p=p: detectors[p].predict(images)
                for p, b in towers.items()
            },
        ),
        "float32 at least 3.5 x the default",
    )


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def memory_child(model: str) -> None:
    """Peak of `fit` above what is resident once the backbone is loaded; prints JSON."""
    backbone = load_backbone(model, None)
    parts = [
        *backbone.visual.parameters(),
        *backbone.text.transformer.parameters(),
        backbone.text.token_embedding.weight,
    ]
    weights = sum(p.numel() * p.element_size() for p in parts)
    images = support_images(16, backbone.image_size)
    loaded, peak, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, _resident())

    threading.Thread(target=watch, daemon=True).start()
    small_fit(backbone, images, 2)
    done.set()
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        json.dumps(
            {"weights": weights, "loaded": loaded, "peak": peak, "worker_peak_with_shared": used}
        )
    )


def memory(model: str, rounds: int) -> None:
    """Run `memory_child` in a process of its own."""
    child = f"from benchmarks.clip import memory_child; memory_child({model!r})"
    with tempfile.TemporaryFile("w+") as out:
        subprocess.run([sys.executable, "-c", child], check=True, stdout=out, env=os.environ)
        out.seek(0)
        found = json.loads(out.read().splitlines()[-1])
    giga = {key: value / 2**30 for key, value in found.items()}
    print(
        f"memory     weights {giga['weights']:.2f} GiB; resident after loading "
        f"{giga['loaded']:.2f} GiB; "
        f"peak of fit {giga['peak']:.2f} GiB = weights + {giga['peak'] - giga['weights']:.2f} GiB "
        f"(loaded + {giga['peak'] - giga['loaded']:.2f} GiB)\n{'':<10} limit: weights + 1.5 GB",
        flush=True,
    )


def metrics(model: str, rounds: int) -> None:
    """Every pixel metric at the size of BUSI's test set, against two of them by scikit-learn."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    maps, masks = maps_with_masks(748, 101, 224)
    abnormal = masks.any((1, 2))

    def peer() -> None:
        for score in (roc_auc_score, average_precision_score):
            score(masks.ravel(), maps.ravel())

    times = interleaved(
        rounds,
        **{"scikit-learn, AUROC and AP": peer},
        **{"AUROC, AP, AUPRO": lambda: pixel_metrics(maps, masks, abnormal, 0)},
        **{"the same with intervals": lambda: pixel_metrics(maps, masks, abnormal)},
    )
    report("metrics", times, "5 s with intervals; 748 maps of 224 x 224, 1000 resamples")


def neighbours(model: str, rounds: int) -> None:
    """NearestPatch on 8 images against 500 support images, beside 16: exact and approximate."""
    backbone = load_backbone(model, None)
    images = to_pixels(support_images(508, backbone.image_size))
    support, queries = images[:500], images[500:]
    kinds = {
        "16, exact": (16, "exact"),
        "500, approximate": (500, "approximate"),
        "500, exact": (500, "exact"),
    }
    fitted = {}
    for name, (count, search) in kinds.items():
        start = CLOCK()
        fitted[name] = NearestPatch(search=search).fit(support[:count], backbone)
        print(f"neighbours fit {name:<24} {CLOCK() - start:8.3f} s", flush=True)
    times = interleaved(
        rounds, **{name: lambda f=f: f.score(queries) for name, f in fitted.items()}
    )
    report("neighbours", times, "500 approximate: 2 x")
    exact, found = (fitted[f"500, {kind}"].score(queries) for kind in ("exact", "approximate"))
    error = (found.scores / exact.scores - 1).abs().max()
    same = ((found.maps - exact.maps).abs() < 1e-6).float().mean()
    print(f"{'':<10} largest error of a score {error:.2%}; of the maps {same:.1%} are equal")


def maps_with_masks(count: int, normal: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth float32 maps, a per cent of whose pixels is saturated, and masks of ellipses, in which
    they are higher.
    """
    import cv2

    rng = np.random.default_rng(0)
    masks = np.zeros((count, size, size), np.uint8)
    maps = np.empty(masks.shape, np.float32)
    for i, (out, mask) in enumerate(zip(maps, masks, strict=True)):
        noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), size / 20)
        if i >= normal:
            axes = rng.uniform(size / 18, size / 5, 2).astype(int).tolist()
            cv2.ellipse(
                mask, rng.integers(size // 4, size - size // 4, 2).tolist(), axes, 0, 0, 360, 1, -1
            )
        signal = noise / noise.std() + 1.5 * cv2.GaussianBlur(
            mask.astype(np.float32), (0, 0), size / 30
        )
        out[:] = 1 / (1 + np.exp(-8 * (signal + rng.normal(0, 0.3) - 0.5)))
    return maps, masks.astype(bool)


COUNTS = (8, 64)
CLOCK = time.perf_counter
PARTS = {
    "step": step,
    "predict": predict,
    "precision": precision,
    "memory": memory,
    "metrics": metrics,
    "neighbours": neighbours,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ViT-L-14-quickgelu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="for a machine that others use, with OMP_NUM_THREADS=1",
    )
    options = parser.parse_args()
    CLOCK = time.process_time if options.cpu_time else time.perf_counter
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, cuda "
        f"{torch.cuda.is_available()}"
    )
    for part in options.parts:
        PARTS[part](options.model, options.rounds)
