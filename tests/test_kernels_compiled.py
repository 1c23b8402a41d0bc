"""Compiled loops: the same without the compiler, and from a damaged cache."""

import os
import subprocess
import sys

CODE = """
import hashlib
import numpy as np
from synthmed import CutPaste, GaussianIntensityChange, PerlinMask, Sink, Source
digest = hashlib.sha256()
for shape in ((24, 24), (5, 14, 14)):
    image = np.random.default_rng(0).random(shape)
    for generator in (
        CutPaste(),
        CutPaste(blend="mixed"),
        GaussianIntensityChange(),
        Source(PerlinMask()),
        Sink(),
    ):
        sample = generator(image, rng=3)
        digest.update(sample.image.tobytes() + sample.mask.tobytes())
print(digest.hexdigest())
"""


def result(**environment):
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_same_without_the_compiler():
    assert result(NUMBA_DISABLE_JIT="1") == result()


def test_a_damaged_cache_is_a_miss(tmp_path):
    cache = tmp_path / "cache"
    expected = result(NUMBA_CACHE_DIR=str(cache))
    files = sorted(p for p in cache.rglob("*") if p.suffix in (".nbi", ".nbc"))
    assert {p.suffix for p in files} == {".nbi", ".nbc"}
    for k, path in enumerate(files):
        data = path.read_bytes()
        path.write_bytes((data[: len(data) // 2], b"", bytes(len(data)))[k % 3])
    assert result(NUMBA_CACHE_DIR=str(cache)) == expected
    indices = [path for path in files if path.suffix == ".nbi"]
    assert all(any(path.read_bytes()) for path in indices)  # written anew
    assert result(NUMBA_CACHE_DIR=str(cache)) == expected
