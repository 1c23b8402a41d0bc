"""Run benchmarks by name: ``python -m benchmarks [NAME ...] [--json]``."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from dataclasses import dataclass
from typing import Literal

import cv2
import tyro
from tyro.conf import Positional

from benchmarks import end_to_end, generators, kernels
from benchmarks.harness import Row, table

BENCHMARKS = {
    "perlin": kernels.perlin,
    "poisson": kernels.poisson,
    "source": kernels.source,
    "gaussian": kernels.gaussian,
    "generators": generators.generators,
    "peers": generators.peers,
    "start": end_to_end.start,
    "generate": end_to_end.generate,
}


@dataclass
class Arguments:
    """Measure speed as ratios to named peers, in one process, interleaved."""

    names: Positional[tuple[Literal[tuple(BENCHMARKS)], ...]] = ()  # type: ignore[valid-type]
    """Which; all by default."""
    json: bool = False
    """Print JSON lines instead of a table."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks")
    cv2.setNumThreads(1)
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        for row in BENCHMARKS[name]():
            rows.append(row)
            print(
                json.dumps(dataclasses.asdict(row)) if arguments.json else " | ".join(row.cells()),
                flush=True,
                file=sys.stdout if arguments.json else sys.stderr,
            )
    if not arguments.json:
        print(
            f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
            f"one thread\n"
        )
        print(table(rows))


if __name__ == "__main__":
    main()
