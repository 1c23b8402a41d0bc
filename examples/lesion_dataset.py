"""A labelled lesion dataset from a folder of normal images, and a check that it can be regenerated.

    python examples/lesion_dataset.py [SOURCE [OUT]]

SOURCE is a folder, a glob or a file; without it, the tiles of a fundus photograph that scikit-image
carries.
"""

import sys
import tempfile
from pathlib import Path

import synthmed
from synthmed.generate import Settings, generate, verify


def main(source: str = "sample:retina", out: str = "") -> None:
    folder = Path(out or tempfile.mkdtemp(prefix="lesions-"))
    summary = generate(source, folder, Settings(synthmed.preset("paper"), per_image=5, seed=0))
    print(f"{summary.samples} samples in {folder}: {dict(summary.kinds)}")

    differing = [d for d in verify(folder / "manifest.jsonl") if d.problems]
    print(
        f"regenerated from the manifest: {summary.samples - len(differing)} of {summary.samples} "
        f"identical"
    )
    print(f"look at {folder / 'preview.png'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
