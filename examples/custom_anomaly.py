"""An anomaly of one's own in twenty lines: spots of calcification.

    python examples/custom_anomaly.py

It draws in one method and applies in another; masks, placing, regions of interest, value ranges,
dtypes, volumes, channels, records and replay come with the base class.
"""

from dataclasses import dataclass

import numpy as np

import synthmed
from synthmed import Anomaly, Generator, PerlinMask
from synthmed.io import find_inputs, grey


@dataclass(frozen=True, repr=False)
class Calcification(Anomaly):
    """Bright single pixels, scattered over the mask."""

    mask: Generator = PerlinMask(box=(0.1, 0.3))
    density: tuple[float, float] = (0.05, 0.2)

    def draw(self, rng, scene, region):
        return {"density": float(rng.uniform(*self.density)), "seed": int(rng.integers(2**53))}

    def change(self, parameters, scene, region):
        values = scene.patch(region.box)
        spots = (
            np.random.default_rng(parameters["seed"]).random(region.inside.shape)
            < parameters["density"]
        )
        inside = region.inside & spots
        values[inside] = 1.0
        return values, inside


def main() -> None:
    image = grey(find_inputs(["sample:retina"])[0].read()).array
    sample = (Calcification() | Calcification(density=(0.5, 0.9)))(image, rng=7)
    print(f"{sample.mask.sum()} spots, brightest {sample.image[sample.mask].max()}")

    again = synthmed.replay(sample.record, image)
    assert np.array_equal(again.image, sample.image)
    volume = np.random.default_rng(0).normal(size=(16, 64, 64)).astype(np.float32)
    print(f"and in a volume: {Calcification()(volume, rng=7, spacing=(3, 1, 1)).mask.sum()} voxels")


if __name__ == "__main__":
    main()
