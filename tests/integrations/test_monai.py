"""MONAI's dictionary transform: under its own compositions, loaders and inverses."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("monai", reason="needs MONAI")

import torch
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    ThreadDataLoader,
    decollate_batch,
)
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandFlipd,
    Rotate90d,
    ScaleIntensityd,
    Spacingd,
)

from synthmed import EllipseMask, Lesion, NothingToSee, Sink, preset, replay
from synthmed.integrations.monai import RandAnomalyd
from synthmed.testing import phantom

AFFINE = torch.tensor(
    [[0, 1.0, 0, -20], [-1.0, 0, 0, 30], [0, 0, 4.0, 5], [0, 0, 0, 1]], dtype=torch.float64
)


def volume(seed=0, shape=(2, 20, 24, 10)):
    array = phantom("smooth", shape, "float32", channel_axis=0, seed=seed)
    return MetaTensor(torch.from_numpy(array.copy()), affine=AFFINE, meta={"name": f"scan {seed}"})


def anomaly(**arguments):
    return RandAnomalyd("image", Lesion(), **({"mask_key": "mask", "prob": 1.0} | arguments))


def test_the_pair_is_the_generators_own():
    """The channels, the range and the voxel sizes reach the generator, and nothing else does."""
    given = volume()
    before = given.as_tensor().clone()
    item = anomaly(value_range=(0.0, 2.0)).set_random_state(3)({"image": given, "age": 61})
    record = json.loads(item["image"].applied_operations[-1]["extra_info"]["record"])
    assert (record["channel_axis"], record["spacing"]) == (0, [1.0, 1.0, 4.0])
    assert record["value_range"] == [0.0, 2.0] and item["age"] == 61
    again = replay(record, before.numpy())
    assert np.array_equal(again.image, item["image"].numpy())
    assert np.array_equal(again.mask, item["mask"][0].numpy()) and again.mask.any()
    assert torch.equal(given.as_tensor(), before) and given.applied_operations == []


def test_geometry_and_kind_are_kept():
    item = anomaly().set_random_state(3)({"image": volume()})
    for name, dtype in (("image", torch.float32), ("mask", torch.bool)):
        assert isinstance(item[name], MetaTensor) and item[name].dtype == dtype
        assert torch.equal(item[name].affine, AFFINE) and item[name].meta["name"] == "scan 0"
    assert item["image"].shape == (2, 20, 24, 10) and item["mask"].shape == (1, 20, 24, 10)


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.tensor, lambda a: torch.tensor(a, dtype=torch.int16)]
)
@pytest.mark.parametrize("shape", [(1, 24, 32), (3, 24, 32), (1, 8, 24, 32)])
def test_arrays_and_tensors_stay_what_they_are(kind, shape):
    given = kind(phantom("smooth", shape, "uint8", channel_axis=0))
    item = anomaly().set_random_state(1)({"image": given})
    assert type(item["image"]) is type(given) and item["image"].dtype == given.dtype
    assert type(item["mask"]) is type(given) and item["mask"].shape == (1, *shape[1:])
    changed = np.asarray(item["image"]) != np.asarray(given)
    assert changed.any() and not changed[:, ~np.asarray(item["mask"])[0]].any()


def test_random_state_is_the_transforms_own():
    def draws(transform):
        return [transform({"image": volume()})["image"].numpy().tobytes() for _ in range(3)]

    first = draws(anomaly().set_random_state(5))
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    assert (
        first
        == draws(anomaly().set_random_state(5))
        == draws(anomaly().set_random_state(state=np.random.RandomState(5)))
    )
    assert len({*first, *draws(anomaly().set_random_state(6))}) == 6
    moved = anomaly().set_random_state(5)
    draws(moved)
    assert draws(pickle.loads(pickle.dumps(moved))) == draws(moved)


def test_probability():
    transform = anomaly(prob=0.3).set_random_state(0)
    items = [transform({"image": volume()}) for _ in range(60)]
    shown = [bool(item["mask"].any()) for item in items]
    assert 8 <= sum(shown) <= 30
    for item, is_shown in zip(items, shown, strict=True):
        assert torch.equal(item["image"].as_tensor(), volume().as_tensor()) != is_shown
        record = item["image"].applied_operations[-1]["extra_info"]["record"]
        assert bool(record) == is_shown and item["mask"].dtype == torch.bool


def test_each_image_has_its_own_anomaly_and_mask():
    transform = RandAnomalyd(["t1", "t2"], Lesion(), ["t1_mask", "t2_mask"], 1.0)
    item = transform.set_random_state(2)({"t1": volume(), "t2": volume()})
    assert not torch.equal(item["t1_mask"], item["t2_mask"])
    few = RandAnomalyd(["t1", "t2"], Lesion(), ["a", "b"], 1.0, allow_missing_keys=True)
    item_of_one = few.set_random_state(2)({"t2": volume()})
    assert set(item_of_one) == {"t2", "b"}
    assert torch.equal(item_of_one["b"].as_tensor(), item["t2_mask"].as_tensor())


def test_region_of_interest_and_soft_masks():
    roi = torch.zeros(1, 20, 24, 10)
    roi[:, :10] = 3
    transform = anomaly(roi_key="roi", soft=True).set_random_state(0)
    for _ in range(5):
        mask = transform({"image": volume(), "roi": roi})["mask"]
        assert mask.dtype == torch.float32 and 0 < mask.max() <= 1
        inside = (mask > 0) & (roi > 0)
        assert 2 * inside.sum() >= (mask > 0).sum()
    with pytest.raises(ValueError, match="'roi' must be of shape"):
        transform({"image": volume(), "roi": roi[0]})


def test_compose_and_its_inverse():
    """The image goes back to the frame of before with its anomaly, and the mask with it."""
    pipeline = Compose(
        [
            Rotate90d("image", spatial_axes=(0, 1)),
            anomaly(),
            RandFlipd(["image", "mask"], prob=1.0, spatial_axis=1),
        ]
    ).set_random_state(4)
    given = volume()
    item = pipeline({"image": given})
    back = pipeline.inverse(item)
    assert back["image"].applied_operations == []
    assert torch.allclose(back["image"].affine, AFFINE, atol=1e-12)
    mask = Rotate90d("mask", k=3, spatial_axes=(0, 1))({"mask": back["mask"].as_tensor()})["mask"]
    changed = (back["image"] != given).as_tensor()
    assert changed.any() and not (changed & ~mask.bool()).any()


def test_lazy_resampling_comes_before():
    lazy, eager = (
        Compose(
            [Spacingd("image", pixdim=(1.0, 1.0, 2.0)), anomaly()], lazy=is_lazy
        ).set_random_state(4)({"image": volume()})
        for is_lazy in (True, False)
    )
    assert lazy["mask"].pixdim.tolist() == [1.0, 1.0, 2.0] and not lazy["mask"].pending_operations
    assert lazy["mask"].shape == eager["mask"].shape and lazy["mask"].any()


def items_of(loader):
    return [item for batch in loader for item in decollate_batch(batch)]


@pytest.mark.filterwarnings("ignore")  # of processes that fork
@pytest.mark.parametrize("kind", [CacheDataset, Dataset])
@pytest.mark.parametrize(("loader", "workers"), [(ThreadDataLoader, 0), (DataLoader, 2)])
def test_loaders(kind, loader, workers):
    data = [{"image": volume(k)} for k in range(6)]
    steps = Compose([ScaleIntensityd("image"), EnsureTyped("image"), anomaly()])

    def epochs():
        steps.set_random_state(9)
        torch.manual_seed(9)
        more = {"progress": False} if kind is CacheDataset else {}
        loaded = loader(kind(data, steps, **more), batch_size=2, num_workers=workers)
        return [items_of(loaded) for _ in range(2)]

    first, again = epochs(), epochs()
    drawn = [item["image"].numpy().tobytes() for items in first for item in items]
    assert drawn == [item["image"].numpy().tobytes() for items in again for item in items]
    assert len(set(drawn)) == 12  # neither workers nor epochs repeat each other
    for item in first[0]:
        assert item["mask"].any() and torch.equal(item["mask"].affine, AFFINE)
        assert steps.inverse(item)["image"].applied_operations == []


def test_bad_input():
    with pytest.raises(TypeError, match="generator must be a Generator, got str"):
        RandAnomalyd("image", "paper", "mask")
    for mask_key in ("image", ["a", "b"]):
        with pytest.raises(ValueError, match="mask_key must be one new key for each"):
            anomaly(mask_key=mask_key)
    with pytest.raises(ValueError, match="prob must be within"):
        anomaly(prob=1.5)
    with pytest.raises(ValueError, match="'mask' is in the data"):
        anomaly()({"image": volume(), "mask": volume()})
    with pytest.raises(KeyError, match="image"):
        anomaly()({"scan": volume()})
    with pytest.raises(ValueError, match=r"shape \(C, H, W\) or \(C, D, H, W\), got \(24, 32\)"):
        anomaly()({"image": np.zeros((24, 32))})
    with pytest.raises(NothingToSee):
        anomaly()({"image": np.zeros((1, 24, 32))})


def test_paper_preset_and_shapes_run():
    for generator in (preset("paper"), Sink(EllipseMask())):
        item = RandAnomalyd("image", generator, "mask", 1.0).set_random_state(0)(
            {"image": volume()}
        )
        assert item["mask"].any()
