"""A recipe of one's own, kept to a region of interest.

    python examples/custom_recipe.py [IMAGE]

Composed from parts, written to JSON, read back, and applied inside the foreground that
`synthmed.foreground` proposes.
"""

import json
import sys

import numpy as np

import synthmed
from synthmed import (
    Choice,
    CutPaste,
    EllipseMask,
    GaussianIntensityChange,
    IntersectionMask,
    PerlinMask,
    Repeat,
    Source,
)
from synthmed.io import find_inputs, grey, read_image

# An ellipse with a ragged outline that lies wholly in the region of interest.
ragged = IntersectionMask(
    EllipseMask(box=(0.2, 0.4)), PerlinMask(box=(0.3, 0.5), cells=2), roi_overlap=1.0
)
mass = Source(ragged, exponent=(0.5, 1.0)) + GaussianIntensityChange(ragged, gamma=(0.15, 0.3))
often = Choice((1, 2, 3), weights=(0.6, 0.3, 0.1))
recipe = Repeat(mass | CutPaste(ragged, blend="mixed"), times=often)


def main(path: str = "") -> None:
    image = grey(read_image(path) if path else find_inputs(["sample:retina"])[0].read()).array
    roi = synthmed.foreground(image)
    again = synthmed.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe

    for seed in range(5):
        sample = again(image, rng=seed, roi=roi)
        print(
            f"seed {seed}: {' + '.join(sample.record['anomalies']):60s} {sample.mask.sum():6d} "
            f"pixels, "
            f"{np.mean(roi[sample.mask]):.0%} of them in the region of interest"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
