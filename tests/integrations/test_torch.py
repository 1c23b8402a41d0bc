"""A PyTorch data set whose items do not depend on the workers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from synthmed import preset  # noqa: E402
from synthmed.integrations.torch import AnomalyDataset  # noqa: E402
from synthmed.testing import phantom  # noqa: E402

IMAGES = np.stack([phantom("smooth", (32, 40), "uint8", seed=k) for k in range(8)])


def items(workers, **arguments):
    data = AnomalyDataset(IMAGES, preset("paper"), 3, **arguments)
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    return [(i.numpy(), m.numpy()) for images, masks in loader for i, m in zip(images, masks)]  # noqa: B905


def test_the_same_items_for_any_number_of_workers():
    alone, several = items(0), items(2)
    for (image, mask), (image2, mask2) in zip(alone, several, strict=True):
        assert np.array_equal(image, image2) and np.array_equal(mask, mask2)
    assert len({image.tobytes() for image, _ in alone}) == 8
    for before, (image, mask) in zip(IMAGES, alone, strict=True):
        assert np.array_equal(image[~mask], before[~mask]) and mask.any()


def test_epochs_and_seeds_differ():
    assert any(
        not np.array_equal(a, b) for (_, a), (_, b) in zip(items(0), items(0, epoch=1), strict=True)
    )


def test_bad_arguments():
    with pytest.raises(TypeError, match="generator must be a Generator"):
        AnomalyDataset(IMAGES, "paper")
    with pytest.raises(TypeError, match="rng is not taken"):
        AnomalyDataset(IMAGES, preset("paper"), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="seed must be a whole number"):
        AnomalyDataset(IMAGES, preset("paper"), -1)
    with pytest.raises(IndexError):
        AnomalyDataset(IMAGES, preset("paper"))[8]
    assert AnomalyDataset(IMAGES, preset("paper"), np.int64(3)).seed == 3
