"""The transform of albumentations, in whichever of its two distributions is installed."""

from __future__ import annotations

import io
import json
import pickle
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for newer versions of itself
    pytest.importorskip("albumentations", reason="needs albumentations")
    import albumentations as A

from synthmed import Lesion, NothingToSee, preset, replay
from synthmed.integrations.albumentations import Anomaly
from synthmed.testing import phantom


def scan(shape=(32, 40, 1), dtype="uint8", seed=0):
    axis = None if len(shape) == 2 else -1
    return phantom("smooth", shape, dtype, channel_axis=axis, seed=seed).copy()


def normal(image, dtype=np.uint8):
    return {"image": image, "mask": np.zeros(image.shape[:2], dtype)}


@pytest.mark.parametrize("shape", [(32, 40), (32, 40, 1), (32, 40, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int32])
def test_image_and_mask(shape, dtype, kind):
    image = scan(shape, dtype)
    pipeline = A.Compose([Anomaly(Lesion(), p=1.0)], seed=3)
    result = pipeline(**normal(image, kind))
    assert result["image"].shape == shape and result["image"].dtype == image.dtype
    assert result["mask"].shape == shape[:2] and result["mask"].dtype == kind
    assert set(np.unique(result["mask"])) == {0, 1}
    changed = (result["image"] != image).reshape(32, 40, -1).any(-1)
    assert changed.any() and not changed[result["mask"] == 0].any()
    assert np.array_equal(image, scan(shape, dtype))


def test_seeded_as_the_pipeline():
    def draws(seed):
        steps = [A.HorizontalFlip(p=0.5), Anomaly(Lesion(), p=1.0)]
        pipeline = A.Compose(steps, seed=seed)
        return [pipeline(**normal(scan()))["image"].tobytes() for _ in range(4)]

    first = draws(5)
    np.random.seed(0)  # noqa: NPY002
    assert first == draws(5) and len({*first, *draws(6)}) == 8


def test_probability():
    pipeline = A.Compose([Anomaly(Lesion(), p=0.3)], seed=0)
    results = [pipeline(**normal(scan())) for _ in range(60)]
    shown = [bool(r["mask"].any()) for r in results]
    assert 8 <= sum(shown) <= 30
    for result, is_shown in zip(results, shown, strict=True):
        assert np.array_equal(result["image"], scan()) != is_shown


def test_saved_and_loaded():
    steps = [Anomaly(preset("paper"), value_range=(0, 200), p=0.7), A.VerticalFlip(p=0.5)]
    pipeline = A.Compose(steps, seed=1)
    text = io.StringIO()
    A.save(pipeline, text)
    data = json.loads(text.getvalue())
    loaded, unpickled = A.from_dict(data), pickle.loads(pickle.dumps(pipeline))
    again = loaded.transforms[0]
    assert (again.generator, again.p) == (preset("paper"), 0.7)
    assert tuple(again.value_range) == (0, 200)
    results = []
    for each in (pipeline, loaded, unpickled):
        each.set_random_seed(9)
        results.append([each(**normal(scan()))["image"].tobytes() for _ in range(3)])
    assert results[0] == results[1] == results[2]
    assert "Lesion" in repr(A.Compose([Anomaly(Lesion())]))


@pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode")
def test_replay():
    pipeline = A.ReplayCompose([Anomaly(Lesion(), p=1.0), A.HorizontalFlip(p=0.5)])
    pipeline.set_random_seed(2)
    for _ in range(4):
        result = pipeline(**normal(scan()))
        again = A.ReplayCompose.replay(result["replay"], **normal(scan()))
        assert np.array_equal(again["image"], result["image"])
        assert np.array_equal(again["mask"], result["mask"]) and result["mask"].any()
    with pytest.raises(ValueError, match="the record is of an image of shape"):
        A.ReplayCompose.replay(result["replay"], **normal(scan((24, 24, 1))))


def test_the_anomaly_is_the_generators_own():
    transform, image = Anomaly(Lesion(), value_range=(0, 200), p=1.0), scan((32, 40, 3))
    drawn = transform._drawn(normal(image), np.random.default_rng(7))
    sample = Lesion()(image, rng=7, value_range=(0, 200), channel_axis=-1)
    assert json.loads(json.dumps(drawn["record"])) == sample.record
    assert np.array_equal(transform.apply(image, **drawn), replay(sample.record, image).image)
    with pytest.raises(ValueError, match="on this, the mask differs"):
        transform.apply(image, drawn["record"], ~drawn["anomaly"])


def test_other_targets_stay():
    organ = np.ones((32, 40), np.uint8)
    pipeline = A.Compose(
        [Anomaly(Lesion(), p=1.0)],
        seed=0,
        keypoint_params=A.KeypointParams("xy"),
        bbox_params=A.BboxParams("pascal_voc"),
    )
    more = {"keypoints": np.array([[3.0, 4.0]]), "bboxes": np.array([[2.0, 3.0, 20.0, 30.0]])}
    result = pipeline(**normal(scan()), masks=np.stack([organ]), **more)
    assert np.allclose(np.asarray(result["bboxes"])[:, :4], more["bboxes"])
    assert np.array_equal(np.asarray(result["masks"])[0].reshape(32, 40), organ)
    assert np.array_equal(np.asarray(result["keypoints"])[:, :2], [[3, 4]])


def test_bad_input():
    with pytest.raises(TypeError, match="generator must be a Generator, got str"):
        Anomaly("paper")
    with pytest.raises(ValueError, match="p must be within"):
        Anomaly(Lesion(), p=1.5)
    with pytest.raises(ValueError, match="unknown generator type"):
        Anomaly({"type": "Lesoin"})
    pipeline = A.Compose([Anomaly(Lesion(), p=1.0)], seed=0)
    with pytest.raises(ValueError, match=r"missing keys: \{'mask'\}"):
        pipeline(image=scan())
    with pytest.raises(ValueError, match="mask must be 0 everywhere"):
        pipeline(image=scan(), mask=np.eye(32, 40, dtype=np.uint8))
    with pytest.raises(NothingToSee):
        pipeline(**normal(np.zeros((32, 40, 1), np.uint8)))
