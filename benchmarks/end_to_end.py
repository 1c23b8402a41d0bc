"""Whole datasets and the start of the command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import Row
from benchmarks.kernels import field

INPUTS, PER_IMAGE, WORKERS = 64, 50, 2


def generate() -> Iterator[Row]:
    """64 inputs x 50 samples, PNG to PNG, start-up left out: the time for more samples over the
    time for fewer.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder / "in")
        pairs = []
        for _ in range(5):
            ours = _ours(folder, PER_IMAGE) - _ours(folder, 1)
            pairs.append((ours, _peer(folder)))
        ratios = sorted(p / o for o, p in pairs)
        yield Row(
            "synthmed generate, 64 x 49, 2 workers",
            "512 to 224",
            statistics.median(o for o, _ in pairs),
            "OpenCV: read and resize once, encode as many images and masks, 2 processes",
            statistics.median(p for _, p in pairs),
            ratios[2],
            (ratios[1], ratios[3]),
            "0.71 (1.4 x its time)",
        )


def _write_inputs(folder: Path) -> None:
    folder.mkdir()
    for k in range(INPUTS):
        image = field((512, 512), 3, k) * 255 + np.random.default_rng(k).normal(0, 6, (512, 512))
        cv2.imwrite(str(folder / f"{k:02d}.png"), np.clip(image, 0, 255).astype(np.uint8))


def _ours(folder: Path, per_image: int) -> float:
    out = folder / "out"
    command = [
        sys.executable,
        "-m",
        "synthmed",
        "generate",
        str(folder / "in"),
        str(out),
        "--per-image",
        str(per_image),
        "--workers",
        str(WORKERS),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elapsed = time.perf_counter() - started
    shutil.rmtree(out)
    return elapsed


def _peer(folder: Path) -> float:
    out = folder / "peer"
    out.mkdir()
    with get_context("spawn").Pool(WORKERS) as pool:
        pool.map(_nothing, range(WORKERS))
        started = time.perf_counter()
        pool.starmap(_peer_share, [(folder / "in", out, w) for w in range(WORKERS)], chunksize=1)
        elapsed = time.perf_counter() - started
    shutil.rmtree(out)
    return elapsed


def _nothing(_: int) -> None:
    cv2.setNumThreads(1)


def _peer_share(source: Path, out: Path, worker: int) -> None:
    mask = np.zeros((224, 224), np.uint8)
    mask[60:150, 70:140] = 255
    for path in sorted(source.iterdir())[worker::WORKERS]:
        image = cv2.resize(
            cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (224, 224), interpolation=cv2.INTER_AREA
        )
        for k in range(PER_IMAGE - 1):
            cv2.imwrite(str(out / f"{path.stem}-{k}.png"), image)
            cv2.imwrite(str(out / f"{path.stem}-{k}-mask.png"), mask)


def start() -> Iterator[Row]:
    """From the start of the command line to the first sample on disk, compiled before and compiled
    never.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder / "in")
        for label, fresh, limit in (
            ("compiled before", False, 1.5),
            ("nothing compiled yet", True, 5.0),
        ):
            times = [_first_sample(folder, fresh) for _ in range(5 if not fresh else 3)]
            middle = statistics.median(times)
            yield Row(
                f"start to first sample, {label}",
                "224",
                middle,
                "limit",
                limit,
                limit / middle,
                (limit / max(times), limit / min(times)),
                "1",
            )


def _first_sample(folder: Path, fresh: bool) -> float:
    out, cache = folder / "out", folder / "cache"
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(cache)} if fresh else {})
    command = [
        sys.executable,
        "-m",
        "synthmed",
        "generate",
        str(folder / "in"),
        str(out),
        "--workers",
        str(WORKERS),
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    while not _written(out):
        time.sleep(0.005)
    elapsed = time.perf_counter() - started
    process.kill()
    process.wait()
    time.sleep(1)  # its workers end themselves
    shutil.rmtree(out)
    shutil.rmtree(cache, ignore_errors=True)
    return elapsed


def _written(out: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(
            p.suffix == ".png" and not p.name.startswith(".") for p in (out / "masks").iterdir()
        )
    return False
