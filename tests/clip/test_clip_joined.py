"""The join: heads that leave out, what they are worth, how parts are standardised and pooled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy.stats import norm  # noqa: E402

import synthmed  # noqa: E402
from synthmed_clip import (  # noqa: E402
    CrossedHeads,
    Detector,
    Joined,
    MediCLIP,
    NearestPatch,
    ZeroShot,
    fit,
)
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.backbone.shared import shared_features  # noqa: E402
from synthmed_clip.data.images import collect, squares_of  # noqa: E402
from synthmed_clip.data.values import Values  # noqa: E402
from synthmed_clip.methods.crossed_steps import CrossedSteps, kinds_of  # noqa: E402
from synthmed_clip.methods.worth import Skill, skill_of  # noqa: E402

QUICK = CrossedHeads(images=16, tokens=2)

# Random weights know nothing.
pytestmark = pytest.mark.filterwarnings("ignore:on these images the detector is near chance")


def pixels_of(images, size=32):
    return to_pixels(squares_of(collect(list(images))[0], size, Values()))


def mean_of_largest(values, share):
    rows = np.sort(values.reshape(len(values), -1))
    return rows[:, -max(1, round(share * rows.shape[1])) :].mean(1)


@pytest.mark.parametrize("pool", [(0.05,), (0.0, 0.1, 1.0)])
def test_maps_and_scores_against_plain_numpy(pool, backbone, normals):
    support, pixels = pixels_of(normals[:4]), pixels_of(normals[4:])
    parts, weights = (NearestPatch(layers=(2,)), ZeroShot()), (1.0, 0.5)
    fitted = Joined(parts, weights=weights, pool=pool).fit(support, backbone, 0)
    total = on_support = 0
    for part, weight in zip(parts, weights, strict=True):
        alone = part.resolved(backbone).fit(support, backbone)
        left_out = alone.score_left_out(support).maps.numpy()
        mean, deviation = left_out.mean(), left_out.std()
        total = total + weight * (alone.score(pixels).maps.numpy() - mean) / deviation
        on_support = on_support + weight * (left_out - mean) / deviation

    def standard(values, normal):
        found = []
        for share in pool:
            own = mean_of_largest(normal, share)
            squares = ((own - own.mean()) ** 2).sum() + 1.25  # 1 ** 2 + 0.5 ** 2: one more image
            deviation = np.sqrt(squares / (len(own) + 1))
            found.append((mean_of_largest(values, share) - own.mean()) / deviation)
        return np.mean(found, axis=0)

    found, left_out = fitted.score(pixels), fitted.score_left_out(support)
    assert np.allclose(found.maps, total, atol=1e-4)
    assert found.scores.numpy() == pytest.approx(standard(total, on_support), abs=1e-3)
    assert np.allclose(left_out.maps, on_support, atol=1e-4)
    for i in range(4):
        others = np.delete(on_support, i, 0)
        assert float(left_out.scores[i]) == pytest.approx(
            standard(on_support[i, None], others)[0], abs=1e-3
        )


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="weights must be 2 values, not"):
        Joined(weights=(1, 2, 3))
    with pytest.raises(ValueError, match="pool must be of at least 1 value"):
        Joined(pool=())
    with pytest.raises(ValueError, match=r"pool must be at least 0 and at most 1, not 1\.5"):
        Joined(pool=(0, 1.5))
    with pytest.raises(ValueError, match="folds must be at least 2, not 1"):
        CrossedHeads(folds=1)


def test_one_image_is_standardised_on_its_mirror_image(backbone, normals):
    support = pixels_of(normals[:1])
    fitted = Joined((NearestPatch(layers=(2,)), QUICK)).fit(support, backbone, 0)
    assert fitted.score_left_out(support) is None
    alone = fitted.members[0].score(support.flip(-1)).maps
    assert torch.equal(fitted.means[0], alone.mean())
    assert fitted.weights.tolist() == [1.0, 0.5]  # nothing was left out that could tell more
    detector = fit(normals[:1], Joined((QUICK, NearestPatch())), backbone=backbone, progress=False)
    prediction = detector.predict(normals[1])
    assert prediction.p_value is None and np.isfinite(prediction.score)


def test_the_images_pass_the_backbone_once(backbone, normals, monkeypatch):
    support, passes = pixels_of(normals[:2]), []
    fitted = Joined((QUICK, NearestPatch())).fit(support, backbone, 0)
    compute = type(backbone)._compute

    def counted(self, pixels, layers):
        passes.append(tuple(layers))
        return compute(self, pixels, layers)

    expected = fitted.score(pixels_of(normals))
    monkeypatch.setattr(type(backbone), "_compute", counted)
    found = fitted.score(pixels_of(normals))
    assert passes == [(2, 3)]
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.maps, expected.maps)
    alone = sum(
        weight * (part.score(pixels_of(normals)).maps - mean) / deviation
        for weight, part, mean, deviation in zip(
            fitted.weights, fitted.members, fitted.means, fitted.deviations, strict=True
        )
    )
    assert torch.allclose(found.maps, alone, atol=1e-5)


def test_shared_features_are_those_of_the_batch_that_is_asked_for(backbone, normals):
    first, second = pixels_of(normals[:2]), pixels_of(normals[2:4])
    expected = [backbone.features(pixels, (3, 1)) for pixels in (first, second)]
    with shared_features((1, 2, 3)):
        for pixels, features in zip((first, second), expected, strict=True):
            for _ in range(2):
                found = backbone.features(pixels, (3, 1))
                assert all(torch.equal(*pair) for pair in zip(found, features, strict=True))
        changed = second.clone()
        backbone.features(changed, (1,))
        changed[0] = 255 - changed[0]  # in place, after it was remembered
        assert torch.equal(backbone.features(changed, (1,))[0][1], expected[1][1][1])
        assert not torch.equal(backbone.features(changed, (1,))[0][0], expected[1][1][0])
        assert torch.equal(backbone.features(first, (4,))[0], backbone.features(first, (4,))[0])


@given(
    fold_of=st.sampled_from([(0,), (0, 1), (1, 0, 2, 0), (0, 1) * 5]),
    kinds=st.integers(1, 3),
    batch=st.integers(1, 8),
    step=st.integers(0, 20),
)
def test_no_head_sees_what_it_leaves_out(fold_of, kinds, batch, step):
    images = np.random.default_rng(0).integers(0, 256, (len(fold_of), 64, 64), np.uint8)
    sources = (synthmed.Source(), synthmed.Sink(), synthmed.CutPaste())[:kinds]
    steps = CrossedSteps(sources, (1 / kinds,) * kinds, images, fold_of, batch, (7,))
    epoch, shown = steps.shown(step)
    for (fold, kind), places in zip(steps.cells, steps.seen(step), strict=True):
        for place, index in enumerate(shown):
            own_fold, own_kind = fold_of[index % len(fold_of)], steps.kind(epoch, index)
            hidden = (own_fold == fold and len(fold_of) > 1) or (own_kind == kind and kinds > 1)
            assert (place in places) != hidden
    if step < 2:
        pixels, masks = steps[step]
        place = iter(range(len(masks)))
        singly = [steps.pair(epoch, index)[1] for index in shown]
        for places in steps.seen(step):
            assert all(np.array_equal(masks[next(place)], singly[p]) for p in places)
        assert next(place, None) is None and len(pixels) == len(shown)


def test_kinds_are_the_options_of_the_recipe_by_their_weights():
    a, b = synthmed.Source(), synthmed.CutPaste()
    assert kinds_of(synthmed.OneOf(a, b, weights=(3, 1))) == ((a, b), (0.75, 0.25))
    assert kinds_of(synthmed.preset("release"))[1] == (1.0,)  # a repetition is one kind
    steps = CrossedSteps((a, b), (0.75, 0.25), np.zeros((4, 8, 8), np.uint8), (0, 1) * 2, 8, (7,))
    drawn = [steps.kind(epoch, index) for epoch in range(100) for index in range(8)]
    assert 0.2 < np.mean(drawn) < 0.3


def test_a_head_learns_nothing_of_an_image_that_it_leaves_out(backbone, normals):
    """Another image in a fold changes the heads that see it, and leaves the others as they are."""
    recipe = synthmed.Source() | synthmed.Sink()  # no donors: no image is part of another
    method = replace(QUICK, recipe=recipe, images=64)
    support = pixels_of(normals[:4])
    one = method.fit(support, backbone, 3, workers=0)
    index = one.fold_of.index(0)
    support[index] = 255 - support[index]
    other = method.fit(support, backbone, 3, workers=0)
    for number, pair in enumerate(zip(one.models, other.models, strict=True)):
        weights = [model.head.adapters[0].weight for model in pair]
        assert torch.equal(*weights) == (number < 2)  # the first two leave fold 0 out
    left_out = [fitted.score_left_out(support).maps for fitted in (one, other)]
    assert torch.equal(left_out[0][index], left_out[1][index])
    with pytest.raises(ValueError, match="support has 2 images, not 4"):
        one.score_left_out(support[:2])


def test_a_map_is_the_mean_of_the_heads_evidence(backbone, normals):
    pixels = pixels_of(normals)
    fitted = QUICK.fit(pixels[:4], backbone, 0)
    single = MediCLIP(layers=fitted.method.layers, tokens=2, score="evidence").resolved(backbone)
    found = fitted.score(pixels).maps
    expected = torch.stack(
        [model.scores_of(model.features(pixels), "evidence")[1] for model in fitted.models]
    ).mean(0)
    assert len(fitted.models) == 6 and single.layers == fitted.method.layers
    small = fitted.evidence(pixels).mean(0)
    corners = [0, 0, -1, -1], [0, -1, 0, -1]
    assert torch.allclose(small[:, *corners], expected[:, *corners], atol=1e-5)
    assert torch.allclose(found[:, *corners], expected[:, *corners], atol=1e-5)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_weight_follows_the_difference_of_skills(heads, others):
    weight = Skill(heads, others).weight
    assert 0 <= weight <= 0.75
    inside = 0.01 < heads < 0.99 and 0.01 < others < 0.99
    if inside and 0 < weight < 0.75:
        assert weight == pytest.approx(0.5 + 1.5 * (norm.ppf(heads) - norm.ppf(others)))
    assert Skill(heads, heads).weight == 0.5


def test_skill_is_chance_for_heads_that_know_nothing(backbone, normals):
    pixels = pixels_of(normals)
    untaught = replace(QUICK, images=1, lr=1e-9)
    heads = untaught.fit(pixels, backbone, 0)
    others = [NearestPatch().resolved(backbone)]
    skill = skill_of(heads, others, pixels, backbone, 0)
    assert 0.2 < skill.heads < 0.8 and 0 <= skill.others <= 1
    assert skill_of(heads, others, pixels, backbone, 0) == skill
    assert skill_of(heads, [MediCLIP().resolved(backbone)], pixels, backbone, 0) is None
    with pytest.warns(UserWarning, match="near chance: on synthetic anomalies"):
        Skill(0.55, 0.5).warn_near_chance()
    Skill(0.55, 0.65).warn_near_chance()


def test_saved_loaded_and_seeded(backbone, normals, tmp_path):
    method = Joined((QUICK, NearestPatch()))
    options = {"backbone": backbone, "progress": False, "workers": 0}
    one, again = (fit(normals, method, rng=3, **options) for _ in range(2))
    other = fit(normals, method, rng=4, **options)
    one.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", backbone=backbone)
    for same in (again, loaded):
        assert torch.equal(same.score(normals).scores, one.score(normals).scores)
        assert same.normal_scores == one.normal_scores
    assert not torch.equal(other.score(normals).scores, one.score(normals).scores)
    assert loaded.fitted.digest() == one.fitted.digest()
    state = one.fitted.state()
    with pytest.raises(ValueError, match=r"pooled is \(5,\), not"):
        Joined.restore(state | {"pooled": torch.zeros(5)}, backbone)
    with pytest.raises(ValueError, match="weights, means and deviations must be"):
        Joined.restore(state | {"weights": torch.zeros(3)}, backbone)
