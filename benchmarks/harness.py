"""Measuring two things side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison: medians in seconds, the ratio peer / ours of each pair of runs with its
    quartiles.
    """

    name: str
    size: str
    ours: float
    peer_name: str
    peer: float
    ratio: float
    quartiles: tuple[float, float]
    target: str = ""

    def cells(self) -> list[str]:
        low, high = self.quartiles
        return [
            self.name,
            self.size,
            _time(self.ours),
            self.peer_name,
            _time(self.peer),
            f"{self.ratio:.3g} ({low:.3g} to {high:.3g})",
            self.target,
        ]


HEAD = ["what", "size", "ours", "peer or limit", "its time", "peer / ours (quartiles)", "to reach"]


def compare(
    name: str,
    size: str,
    ours: Callable[[], object],
    peer_name: str,
    peer: Callable[[], object],
    target: str = "",
    seconds: float = 1.0,
) -> Row:
    """Run both in turn, after a warm-up of each, for about `seconds`, at least five times each."""
    ours(), peer()
    once = _timed(ours, 1) + _timed(peer, 1)
    repeats = max(5, min(200, round(seconds / once)))
    inner = max(1, round(2e-3 / max(once, 1e-9)))  # long enough for the clock
    times = [(_timed(ours, inner), _timed(peer, inner)) for _ in range(repeats)]
    ratios = [p / o for o, p in times]
    quartiles = statistics.quantiles(ratios, n=4)
    return Row(
        name,
        size,
        statistics.median(o for o, _ in times),
        peer_name,
        statistics.median(p for _, p in times),
        statistics.median(ratios),
        (quartiles[0], quartiles[2]),
        target,
    )


def _timed(function: Callable[[], object], inner: int) -> float:
    started = time.perf_counter()
    for _ in range(inner):
        function()
    return (time.perf_counter() - started) / inner


def _time(seconds: float) -> str:
    if seconds < 1e-6:
        return f"{seconds * 1e9:.0f} ns"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *(r.cells() for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
