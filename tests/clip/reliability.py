"""What the commands do when files are damaged, processes killed, and writes fail.

The tests run a little of it; the long run, whose figures stand in docs/reliability.md, is

    python tests/clip/reliability.py fuzz 2000
    python tests/clip/reliability.py kill 200
    python tests/clip/reliability.py faults

Commands run as they are on the command line, in a child process each time, forked once the modules
are imported and before anything is computed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked

import numpy as np
import PIL.Image
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

import synthmed.cli
import synthmed_clip.cli.main
from synthmed.io import read_image
from synthmed_clip.backbone.open_clip_internals.towers import build
from synthmed_clip.protocol.results import Result, Run

TOWER = {
    "embed_dim": 24,
    "quick_gelu": True,
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    "vision_cfg": {
        "image_size": 32,
        "layers": 4,
        "width": 16,
        "head_width": 8,
        "patch_size": 8,
    },
}
TIMED = ("seconds", "hours", "sha256")  # keys, and words of a line, that differ between two runs


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, None if it was killed, and what it said."""

    status: int | None
    said: str

    @property
    def is_told(self) -> bool:
        """Whether it refused by a message, without a traceback."""
        lines = self.said.splitlines() or [""]
        told = any(line.startswith(("synthmed: ", "synthmed-clip: ")) for line in lines)
        told |= " differs:" in self.said
        return self.status in (1, 2) and told and "Traceback" not in self.said


def run(
    program: str, *words: object, before: Callable[[], object] | None = None, kill: float = 0
) -> Ended:
    """Run a command in a child process.

    Parameters
    ----------
    program : str
        'synthmed' or 'synthmed-clip'.
    *words
        Its arguments.
    before : callable, optional
        What the child does first: a limit, or a fault to be injected.
    kill : float
        Seconds after which it is sent SIGKILL; 0 for never.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    said, end = os.pipe()  # not a file, whose size may be limited
    child = os.fork()
    if child == 0:  # nothing may leave this branch
        try:
            os.setsid()  # workers die with it
            os.dup2(end, 1)
            os.dup2(end, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
            warnings.resetwarnings()
            main = synthmed.cli.main if program == "synthmed" else synthmed_clip.cli.main.main
            if before is not None:
                before()
            try:
                status = main([str(word) for word in words])
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(99)
    os.close(end)
    if kill:
        time.sleep(kill)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(said, False)  # a worker that outlives its process keeps the other end open
    text = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(said, 65536):
            text += part
    os.close(said)
    return Ended(None if status == -signal.SIGKILL else status, text.decode(errors="replace"))


@dataclass(frozen=True)
class House:
    """A folder with images, a backbone, and what each command makes of them."""

    root: Path

    @classmethod
    def build(cls, root: Path) -> House:
        """Make images and a backbone."""
        rng = np.random.default_rng(0)
        for kind, count in (("masks", 0), ("train", 4), ("normal", 3), ("abnormal", 3)):
            (root / "data" / kind).mkdir(parents=True)
            for i in range(count):
                smooth = gaussian_filter(rng.random((48, 56)), 3)
                pixels = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
                if kind == "abnormal":
                    mask = np.zeros(pixels.shape, np.uint8)
                    mask[10 : 25 + i, 20:40] = 255
                    PIL.Image.fromarray(mask).save(root / "data" / "masks" / f"{i}.png")
                    pixels = np.where(mask, 255 - pixels, pixels)
                PIL.Image.fromarray(pixels).save(root / "data" / kind / f"{i}.png")
        (root / "tower.json").write_text(json.dumps(TOWER))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            save_file(build(TOWER, None).state_dict(), root / "weights.safetensors")
        return cls(root)

    def words(self, command: str, out: Path) -> list[str]:
        """A command with all its arguments, all outputs in one folder."""
        data, model = self.root / "data", self.root / "made" / "fit" / "m.safetensors"
        common = "--device cpu --precision float32"
        tower = f"--backbone {self.root}/tower.json --weights {self.root}/weights.safetensors"
        learning = "--batch-size 2 --layers 2 4 --epochs"
        return {
            "fit": f"fit {data}/train -o {out}/m.safetensors --checkpoint {out}/part --seed 1 "
            f"--workers 0 {tower} {common} mediclip {learning} 6",
            "predict": f"predict {model} {data}/abnormal -o {out} {common}",
            "evaluate": f"evaluate {model} {data} -o {out}/e.json --report {out}/e.html {common}",
            "protocol": f"protocol {data} -o {out} --shots 1 2 --ablation-shots 2 --repeats 1 "
            f"--methods paper nearest-patch --workers 0 {tower} {common} {learning} 2",
            "generate": f"generate {data}/train {out} --per-image 3 --size 48 --workers 1",
        }[command].split()

    def run(self, command: str, out: Path, more: Sequence[str] = (), **how) -> Ended:
        """Run one of them, with more arguments."""
        program = "synthmed" if command == "generate" else "synthmed-clip"
        return run(program, *self.words(command, out), *more, **how)

    def made(self, command: str) -> Path:
        """What an uninterrupted run leaves; made once."""
        out = self.root / "made" / command
        if not out.exists():
            if command in ("predict", "evaluate"):
                self.made("fit")
            ended = self.run(command, out)
            assert ended.status == 0, ended.said
        return out


def content(folder: Path) -> dict[str, object]:
    """What lies in a folder, less the times that runs took."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if name.startswith("runs/") and path.suffix == ".json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMED}
        elif name in ("runs.csv", "table.md"):
            lines = path.read_text().splitlines()
            # The last column is a run's seconds, the last note how long all took.
            found[name] = (
                [line.rpartition(",")[0] for line in lines] if "csv" in name else lines[:-1]
            )
        elif path.suffix == ".html":
            found[name] = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d[+-]\d\d:\d\d", "", path.read_text())
        else:
            found[name] = path.read_bytes()
    return found


# Damaged files


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip one bit, cut the end off, or write zeros over a part; never the same bytes."""
    kind = rng.choice(["bit", "bit", "bit", "cut", "zeros"])
    at = rng.randrange(len(data))
    if kind == "cut":
        return data[:at]
    damaged = bytearray(data)
    if kind == "bit":
        damaged[at] ^= 1 << rng.randrange(8)
    else:
        damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
    return bytes(damaged) if damaged != data else damage(data, rng)


def _detector(house: House, path: Path, out: Path) -> Ended:
    return run("synthmed-clip", "predict", path, house.root / "data/normal", "-o", out / "new")


def _checkpoint(house: House, path: Path, out: Path) -> Ended:
    words = [path if word == f"{out}/part" else word for word in house.words("fit", out)]
    return run("synthmed-clip", *words)


def _protocol(house: House, path: Path, out: Path) -> Ended:
    return house.run("protocol", path.parent)


def _result(house: House, path: Path, out: Path) -> Ended:
    """A damaged result is none, which a warning tells."""
    output = path.parents[4]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Result.read(output, Run("data", "paper", 1, 0), "data")
    said = "".join(f"synthmed-clip: {warning.message}" for warning in told)
    return Ended(0 if found is not None else 1, said)


def _run_again(house: House, path: Path, out: Path) -> Ended:
    return house.run("generate", path.parent)


def _replay(house: House, path: Path, out: Path) -> Ended:
    return run("synthmed", "replay", path, "--all")


def _image(house: House, path: Path, out: Path) -> Ended:
    model = house.made("fit") / "m.safetensors"
    return run("synthmed-clip", "predict", model, path, "-o", out / "new")


def _same_pixels(healthy: bytes, damaged: bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        arrays = []
        for name, data in (("a.png", healthy), ("b.png", damaged)):
            (Path(folder) / name).write_bytes(data)
            arrays.append(read_image(Path(folder) / name).array)
    return np.array_equal(*arrays)


KINDS: dict[str, tuple[str, str, Callable[[House, Path, Path], Ended]]] = {
    # What: of which command, the file, what is done with it.
    "detector": ("fit", "m.safetensors", _detector),
    "checkpoint": ("fit", "part", _checkpoint),
    "protocol": ("protocol", "protocol.json", _protocol),
    "result": ("protocol", "runs/data/paper/k1-r0/on-data.json", _result),
    "recipe, run again": ("generate", "recipe.json", _run_again),
    "recipe, replayed": ("generate", "recipe.json", _replay),
    "manifest, run again": ("generate", "manifest.jsonl", _run_again),
    "manifest, replayed": ("generate", "manifest.jsonl", _replay),
    "image": ("generate", "images/000003.png", _image),
}


def fuzz(house: House, count: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """Damage files, each kind in turn, and count how it ended: 'refused' by a message, or
    'harmless': taken, and the same end as of the healthy file. All else is an AssertionError.
    """
    rng, counts = random.Random(seed), Counter()
    copies = {
        command: house.root / "copies" / command for command in ("fit", "protocol", "generate")
    }
    for command, copy in copies.items():
        shutil.copytree(house.made(command), copy)
    house.made("predict")
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        command, name, use = KINDS[kind]
        healthy = (copies[command] / name).read_bytes()
        damaged = damage(healthy, rng)
        folder = copies[command]
        path, out = folder / name, house.root / "out"
        out.mkdir()
        path.write_bytes(damaged)
        before = content_bytes(folder)
        ended = use(house, path, out)
        said = f"{kind}, file {number} (seed {seed}): {ended}"
        after = content_bytes(folder)
        if ended.status == 0:
            assert _is_harmless(kind, healthy, damaged), f"silently wrong: {said}"
            counts[kind, "harmless"] += 1
        else:
            assert ended.is_told, said
            assert not list(out.rglob("*")), f"wrote {list(out.rglob('*'))}: {said}"
            assert after == before, f"the folder is another: {said}"
            counts[kind, "refused"] += 1
        path.write_bytes(healthy)
        shutil.rmtree(out)
    return counts


def content_bytes(folder: Path) -> dict[str, bytes]:
    """Every file as it is."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _is_harmless(kind: str, healthy: bytes, damaged: bytes) -> bool:
    if kind == "image":
        return _same_pixels(healthy, damaged)
    # Of these, what the run asks for, and what its images and masks hold, was found again.
    return kind.startswith(("recipe", "manifest"))


# Killed processes


def kill(
    house: House,
    count: int,
    commands: Sequence[str] = ("fit", "predict", "evaluate", "protocol", "generate"),
    seed: int = 0,
) -> Counter[str]:
    """Kill commands at random moments, each started again until it ends; see that the end is that
    of a run that nothing interrupted. Count the kills.
    """
    rng, kills = random.Random(seed), Counter()
    for command in commands:
        wanted, out = content(house.made(command)), house.root / "killed" / command
        start = time.perf_counter()
        assert house.run(command, house.root / "timed" / command).status == 0
        takes = time.perf_counter() - start
        share = -(-count // len(commands))
        while kills[command] < share:
            ended = house.run(command, out, kill=rng.uniform(0.02, 1) * takes)
            if ended.status is None:
                kills[command] += 1
                continue
            assert ended.status == 0, f"{command}: {ended}"
            _require_same(command, wanted, out)
            shutil.rmtree(out)
        ended = house.run(command, out)
        assert ended.status == 0, f"{command}: {ended}"
        _require_same(command, wanted, out)
    return kills


def _require_same(command: str, wanted: dict[str, object], out: Path) -> None:
    found = content(out)
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    assert not different, f"{command}: {different[:5]} differ from those of an uninterrupted run"


# Writes that fail


def failing(number: int) -> Callable[[], None]:
    """Let one write or rename of files fail, the one of that number, as on a full disk."""

    def inject() -> None:
        calls = 0

        def wrapped(original: Callable) -> Callable:
            def call(self: Path, *args: object) -> object:
                nonlocal calls
                calls += 1
                if calls == number + 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return original(self, *args)

            return call

        Path.write_bytes = wrapped(Path.write_bytes)  # type: ignore[method-assign]
        Path.replace = wrapped(Path.replace)  # type: ignore[method-assign]

    return inject


def limited(size: int) -> Callable[[], None]:
    """Let no file grow beyond a size, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def faults(
    house: House, command: str, befores: list[Callable[[], None]] | None = None, most: int = 10_000
) -> int:
    """Let every write and rename of a command fail once, by default: each must be told, leave
    nothing half-written, and the same command must then go on to the end of an undisturbed run.
    Return how many failed.
    """
    wanted, failed = content(house.made(command)), 0
    for before in befores or map(failing, range(most)):
        out = house.root / "failed"
        ended = house.run(command, out, before=before)
        if ended.status == 0 and befores is None:
            shutil.rmtree(out)
            return failed
        if ended.status != 0:
            failed += 1
            assert ended.is_told and str(out) in ended.said, f"{command}, fault {failed}: {ended}"
        for name, data in content(out).items():
            if name in wanted and not name.startswith(("part", "protocol", ".journal")):
                assert data == wanted[name], f"{command}, fault {failed}: {name} is not whole"
        ended = house.run(command, out)
        assert ended.status == 0, f"{command}, after fault {failed}: {ended}"
        _require_same(command, wanted, out)
        shutil.rmtree(out)
    return failed


def _main(what: str, count: str = "0") -> None:
    with tempfile.TemporaryDirectory() as folder:
        house, start = House.build(Path(folder)), time.perf_counter()
        if what == "fuzz":
            for (kind, how), number in sorted(fuzz(house, int(count)).items()):
                print(f"{kind:<20} {how:<9} {number:5}")
        elif what == "kill":
            for command, number in kill(house, int(count)).items():
                print(f"{command:<10} killed {number:4} times, the same end each time")
        else:
            for command in ("fit", "predict", "evaluate", "protocol", "generate"):
                limits = [limited(size) for size in (0, 100, 1000, 4000, 16000)]
                print(f"{command:<10} writes and renames that failed: {faults(house, command)}")
                print(f"{command:<10} limits that failed: {faults(house, command, limits)} of 5")
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    _main(*sys.argv[1:])
