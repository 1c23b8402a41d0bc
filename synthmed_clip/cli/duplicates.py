"""`synthmed-clip duplicates`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from synthmed_clip.data.duplicates import duplicates_between, duplicates_within
from synthmed_clip.data.layouts import read_dataset


@dataclass
class Duplicates:
    """List the images of a data set that are copies, or nearly, of one another."""

    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """A folder in one of the layouts that evaluate reads."""
    threshold: float = 0.99
    """Correlation, at 48 x 48 pixels in grey, from which two images count as the same."""

    def run(self) -> int:
        """Print the pairs between training and test images, then those within either."""
        found = read_dataset(self.dataset)
        test = [item.image for item in found.test]
        kinds = {path: "normal" for path in found.train}
        kinds |= {
            item.image: f"abnormal: {item.kind}" if item.abnormal else "normal"
            for item in found.test
        }
        for what, pairs in (
            (
                "between training and test images",
                duplicates_between(found.train, test, self.threshold),
            ),
            ("within training images", duplicates_within(found.train, self.threshold)),
            ("within test images", duplicates_within(test, self.threshold)),
        ):
            print(f"pairs {what}: {len(pairs)}")
            for pair in pairs:
                first, second = (
                    f"{path.relative_to(self.dataset).as_posix()} ({kinds[path]})"
                    for path in (pair.first, pair.second)
                )
                print(
                    f"  {'the same' if pair.exact else f'{pair.correlation:8.4f}'}  {first}  "
                    f"{second}"
                )
        return 0
