"""A PyTorch Dataset of fresh anomalies, the same samples for any number of workers.

    python examples/torch_dataset.py

Nothing random lives in the workers: the sample of an epoch and an index is drawn from (seed, epoch,
index).
"""

import hashlib

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import synthmed
from synthmed.io import find_inputs, grey


class SyntheticLesions(Dataset):
    """Normal images with a fresh anomaly each, and the anomaly's mask."""

    def __init__(self, images: list[np.ndarray], recipe: synthmed.Generator, seed: int = 0) -> None:
        self.images, self.recipe, self.seed, self.epoch = images, recipe, seed, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        image, mask = self.recipe(self.images[index], rng=rng, donors=self.images)
        return torch.from_numpy(image)[None].float() / 255, torch.from_numpy(mask)


def digest(images: list[np.ndarray], workers: int) -> str:
    dataset = SyntheticLesions(images, synthmed.preset("paper"))
    total = hashlib.sha256()
    for epoch in range(2):
        dataset.epoch = epoch
        for batch, masks in DataLoader(dataset, batch_size=4, num_workers=workers):
            total.update(batch.numpy().tobytes() + masks.numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    images = [grey(tile.read()).array for tile in find_inputs(["sample:retina"])]
    digests = {workers: digest(images, workers) for workers in (0, 1, 2)}
    for workers, found in digests.items():
        print(f"{workers} workers: {found[:16]}")
    assert len(set(digests.values())) == 1


if __name__ == "__main__":
    main()
