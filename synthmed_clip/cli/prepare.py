"""`synthmed-clip prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from synthmed_clip.cli.options import MaskLevel, Output
from synthmed_clip.data.prepare import PROTOCOLS, prepare


@dataclass
class Prepare:
    """Turn a download into the protocol's training and test images, in a layout that evaluate
    reads.
    """

    name: tyro.conf.Positional[Literal[tuple(PROTOCOLS)]]  # type: ignore[valid-type]
    """Which data set."""
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DOWNLOAD")]
    """The download, unpacked."""
    output: Output
    """Folder to write; missing or empty."""
    train: int | None = None
    """Normal images to train with; by default 32 (busi, chexpert) or 33 (brainmri)."""
    normal: int | None = None
    """Normal images to test with; by default 250 (chexpert) or all others."""
    abnormal: int | None = None
    """Abnormal images to test with; by default 250 (chexpert) or all."""
    mask_level: MaskLevel = None
    """Which levels of masks are inside, where they have others than 0 and one more: numbers, or any
    but 0."""
    seed: int = 0
    """Of the draw."""

    def run(self) -> int:
        """Write the data set and print its counts."""
        found = prepare(
            self.name,
            self.source,
            self.output,
            train=self.train,
            normal=self.normal,
            abnormal=self.abnormal,
            seed=self.seed,
            mask_level=self.mask_level,
        )
        print(f"{self.output}: {found}")
        return 0
