"""TorchIO's transform: its history, its randomness, its loaders and compositions."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

pytest.importorskip("torchio", reason="needs TorchIO")

import torch
import torchio as tio

from synthmed import Lesion, NothingToSee, replay
from synthmed.integrations.torchio import Anomaly, AnomalyReplay
from synthmed.testing import phantom

AFFINE = np.array([[0, 1.0, 0, -20], [-1.0, 0, 0, 30], [0, 0, 4.0, 5], [0, 0, 0, 1]])


def scan(seed=0, shape=(1, 20, 24, 10), dtype="float32"):
    array = phantom("smooth", shape, dtype, channel_axis=0, seed=seed)
    return tio.ScalarImage(tensor=torch.from_numpy(array.copy()), affine=AFFINE)


def subject(seed=0, **images):
    return tio.Subject({"t1": scan(seed), "age": 61} | images)


def record_of(result):
    return result.applied_transforms[-1][1]["record"]


def test_the_pair_is_the_generators_own():
    """The channels, the range and the voxel sizes reach the generator."""
    given = subject(t1=scan(shape=(2, 20, 24, 10)))
    torch.manual_seed(3)
    result = Anomaly(Lesion(), "t1", value_range=(0.0, 2.0))(given)
    record = json.loads(json.dumps(record_of(result)))
    assert (record["channel_axis"], record["spacing"]) == (0, [1.0, 1.0, 4.0])
    assert record["value_range"] == [0.0, 2.0] and result["age"] == 61
    again = replay(record, given.t1.numpy())
    assert np.array_equal(again.image, result.t1.numpy())
    assert np.array_equal(again.mask, result.anomaly.numpy()[0] == 1) and again.mask.any()
    assert isinstance(result.anomaly, tio.LabelMap) and result.anomaly.data.dtype == torch.uint8
    assert np.array_equal(result.anomaly.affine, AFFINE)
    assert "anomaly" not in given and torch.equal(given.t1.data, scan(shape=(2, 20, 24, 10)).data)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_a_slice_is_a_plane(dtype):
    torch.manual_seed(0)
    given = tio.Subject(xray=scan(shape=(1, 32, 24, 1), dtype=dtype))
    result = Anomaly(Lesion(), "xray", "lesion")(given)
    assert record_of(result)["shape"] == [1, 32, 24]
    assert record_of(result)["spacing"] == [1.0, 1.0]
    assert result.xray.data.dtype == given.xray.data.dtype
    assert result.xray.shape == result.lesion.shape == (1, 32, 24, 1)
    changed = (result.xray.data != given.xray.data).any(0)
    assert changed.any() and not changed[result.lesion.data[0] == 0].any()


def test_history_replays():
    pipeline = tio.Compose(
        [tio.RandomFlip(axes=(0, 1)), Anomaly(Lesion(), "t1", p=0.5), tio.RandomNoise()]
    )
    torch.manual_seed(0)
    results = [pipeline(subject()) for _ in range(8)]
    assert len({bool(r.anomaly.count_nonzero()) for r in results}) == 2
    torch.manual_seed(1)
    for result in results:
        again = result.get_composed_history()(subject())
        assert torch.equal(again.t1.data, result.t1.data)
        assert torch.equal(again.anomaly.data, result.anomaly.data)
        assert [t.name for t in again.history] == [t.name for t in result.history]
        third = copy.deepcopy(again).get_composed_history()(subject())
        assert torch.equal(third.t1.data, result.t1.data)


def test_randomness_is_torchs():
    def draws(seed):
        torch.manual_seed(seed)
        return [Anomaly(Lesion(), "t1")(subject()).t1.numpy().tobytes() for _ in range(3)]

    first = draws(5)
    np.random.seed(0)  # noqa: NPY002
    assert first == draws(5) and len({*first, *draws(6)}) == 6


def test_no_anomaly_is_an_empty_label():
    for soft, dtype in ((False, torch.uint8), (True, torch.float32)):
        result = Anomaly(Lesion(), "t1", p=0, soft=soft)(subject())
        assert result.anomaly.count_nonzero() == 0 and result.anomaly.data.dtype == dtype
        assert torch.equal(result.t1.data, subject().t1.data) and record_of(result) is None
        again = result.get_composed_history()(subject())
        assert again.anomaly.data.dtype == dtype


def test_region_of_interest_and_soft_masks():
    region = torch.zeros(1, 20, 24, 10)
    region[:, :10] = 3
    given = subject(brain=tio.LabelMap(tensor=region, affine=AFFINE))
    torch.manual_seed(0)
    for _ in range(5):
        result = Anomaly(Lesion(), "t1", roi="brain", soft=True)(given)
        mask = result.anomaly.data
        assert mask.dtype == torch.float32 and 0 < mask.max() <= 1
        assert 2 * ((mask > 0) & (region > 0)).sum() >= (mask > 0).sum()
    wrong = subject(brain=tio.LabelMap(tensor=region[:, 1:]))
    with pytest.raises(ValueError, match="roi 'brain' must be of shape"):
        Anomaly(Lesion(), "t1", roi="brain")(wrong)


def test_spatial_transforms_take_the_label_along():
    torch.manual_seed(0)
    steps = [Anomaly(Lesion(), "t1"), tio.Resample(2), tio.RandomAffine()]
    result = tio.Compose(steps)(subject())
    assert result.anomaly.spatial_shape == result.t1.spatial_shape
    assert set(result.anomaly.data.unique().tolist()) == {0, 1}


@pytest.mark.filterwarnings("ignore")  # of processes that fork
def test_loader():
    data = tio.SubjectsDataset([subject(k) for k in range(4)], Anomaly(Lesion(), "t1", p=0.5))
    torch.manual_seed(0)
    batches = list(tio.SubjectsLoader(data, batch_size=2, num_workers=2))
    masks = torch.cat([batch["anomaly"][tio.DATA] for batch in batches])
    assert masks.shape == (4, 1, 20, 24, 10) and masks.any()


def test_bad_input():
    with pytest.raises(TypeError, match="generator must be a Generator, got str"):
        Anomaly("paper", "t1")
    with pytest.raises(ValueError, match="Probability"):
        Anomaly(Lesion(), "t1", p=1.5)
    with pytest.raises(KeyError, match="'t2' is not in the subject, which has t1, age"):
        Anomaly(Lesion(), "t2")(subject())
    with pytest.raises(ValueError, match="label must be new, 'age' is in the subject"):
        Anomaly(Lesion(), "t1", "age")(subject())
    label = tio.LabelMap(tensor=torch.zeros(1, 20, 24, 10))
    with pytest.raises(TypeError, match="must be a ScalarImage, got LabelMap"):
        Anomaly(Lesion(), "t1")(subject(t1=label))
    with pytest.raises(NothingToSee):
        Anomaly(Lesion(), "t1")(subject(t1=tio.ScalarImage(tensor=torch.zeros(1, 20, 24, 10))))
    result = Anomaly(Lesion(), "t1")(subject())
    with pytest.raises(ValueError, match="the record is of an image of shape"):
        AnomalyReplay(record_of(result), "t1")(subject(t1=scan(shape=(1, 20, 24, 12))))
