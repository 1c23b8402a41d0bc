"""Methods that remember features of the support images, against plain NumPy and scikit-learn."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy import ndimage  # noqa: E402

import synthmed_clip.methods.neighbours as neighbours  # noqa: E402
from synthmed.io import Image  # noqa: E402
from synthmed_clip import (  # noqa: E402
    Detector,
    GlobalNeighbour,
    NearestPatch,
    PatchCore,
    Subspace,
    fit,
    load_backbone,
)
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.data.images import Values, squares_of  # noqa: E402
from synthmed_clip.methods.nearest_patch import VARIANTS  # noqa: E402
from synthmed_clip.methods.patchcore import coreset  # noqa: E402
from synthmed_clip.methods.patches import rotated  # noqa: E402


@pytest.fixture(scope="module")
def pixels(normals):
    """Six images, (6, 1, 32, 32)."""
    return to_pixels(squares_of([Image(image) for image in normals], 32, Values()))


def tokens_of(backbone, images, layer, norm=False):
    """(N, L, C) float64, of the small tower."""
    feature = backbone.features(images, (layer,))[0].double().numpy()
    tokens = feature.reshape(*feature.shape[:2], -1).transpose(0, 2, 1)
    return layer_norm(tokens, backbone.visual.ln_post) if norm else tokens


def layer_norm(x, norm):
    """As the module has it, by NumPy."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return x * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()


def brought_to_pixels(small, sigma, size=32):
    """Half-pixel-centred bilinear maps by SciPy, edge values beyond the outermost centres."""
    side = small.shape[-1]
    at = (np.arange(size) + 0.5) * side / size - 0.5
    grid = np.meshgrid(at, at, indexing="ij")
    maps = [ndimage.map_coordinates(one, grid, order=1, mode="nearest") for one in small]
    return np.stack([ndimage.gaussian_filter(m, sigma) if sigma else m for m in maps])


def top(values, share):
    """Mean of the largest share of each row."""
    rows = np.sort(values.reshape(len(values), -1), axis=1)
    return rows[:, -max(1, round(share * rows.shape[1])) :].mean(1)


def distances(queries, memory, metric):
    """(N, L), by scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    kind = "cosine" if metric == "cosine" else "euclidean"
    tree = NearestNeighbors(n_neighbors=1, metric=kind, algorithm="brute")
    tree.fit(memory.reshape(-1, memory.shape[-1]))
    found = tree.kneighbors(queries.reshape(-1, queries.shape[-1]))[0].reshape(queries.shape[:2])
    return found / (queries.shape[-1] if metric == "l2-per-channel" else 1)


@pytest.mark.parametrize(
    "method",
    [
        NearestPatch(layers=(2, 4)),
        NearestPatch(layers=(3,), metric="l2", pool=0.3, sigma=1.5),
        NearestPatch(layers=(1, 3), rotations=4, pool_over="pixels", pool=0.05),
        NearestPatch("anomaly-dino", rotations=2),
        NearestPatch("superadd"),
    ],
    ids=repr,
)
def test_nearest_patch_against_scikit_learn_and_scipy(method, backbone, pixels):
    pytest.importorskip("sklearn", reason="the tests' reference")
    support, queries = pixels[:4], pixels[4:]
    fitted = method.fit(support, backbone)
    own = fitted.method

    def turned(images):  # by multiples of a right angle, exactly
        step = 4 // own.rotations
        return [torch.rot90(images, turn * step, (2, 3)) for turn in range(own.rotations)]

    def expected(images, memory):
        per_layer = []
        for layer in own.layers:
            norm = own.final_norm
            known = np.concatenate([tokens_of(backbone, m, layer, norm) for m in turned(memory)])
            queries = tokens_of(backbone, images, layer, norm)
            per_layer.append(distances(queries, known, own.metric))
        small = np.mean(per_layer, axis=0).reshape(len(images), 4, 4)
        maps = brought_to_pixels(small, own.sigma)
        return top(small if own.pool_over == "patches" else maps, own.pool), maps

    scores, maps = expected(queries, support)
    found = fitted.score(queries)
    assert found.scores.numpy() == pytest.approx(scores, abs=2e-5)
    assert found.maps.numpy() == pytest.approx(maps, abs=2e-5)
    left_out = fitted.score_left_out(support)
    for index in range(4):
        others = support[torch.arange(4) != index]
        scores, maps = expected(support[index : index + 1], others)
        assert float(left_out.scores[index]) == pytest.approx(scores[0], abs=2e-5)
        assert left_out.maps[index].numpy() == pytest.approx(maps[0], abs=2e-5)


def test_the_variants_have_their_papers_constants():
    twelve = type(
        "Twelve", (), {"depth": 12, "name": "twelve"}
    )  # what `resolved` asks of a ViT-S or ViT-B
    twelve.checked_layers = staticmethod(tuple)
    twelve.layers_between = staticmethod(
        lambda low, high: tuple(n for n in range(1, 13) if low <= n / 12 <= high)
    )
    known = {
        "middle-layers": ((7, 8, 9), "cosine", 1, 0.01, "patches", 0.0, False),
        "anomaly-dino": ((12,), "cosine", 8, 0.01, "patches", 4.0, True),
        "superadd": ((3, 5, 8, 10), "l2-per-channel", 1, 0.001, "pixels", 4.0, False),
    }
    assert set(known) == set(VARIANTS)
    for variant, values in known.items():
        m = NearestPatch(variant).resolved(twelve)
        found = (m.layers, m.metric, m.rotations, m.pool, m.pool_over, m.sigma, m.final_norm)
        assert found == values and m.resolved(twelve) == m
    with pytest.raises(ValueError, match="final_norm is the last layer's, 12 of twelve, not that"):
        NearestPatch("anomaly-dino", layers=(8,)).resolved(twelve)
    given = NearestPatch("superadd", layers=(2,), pool=0.0, sigma=0, rotations=1).resolved(twelve)
    assert (given.layers, given.pool, given.sigma, given.metric) == ((2,), 0, 0, "l2-per-channel")


@pytest.mark.parametrize("degrees", [45.0, 90.0, 133.7, 270.0])
def test_rotation_against_scipy(degrees):
    image = np.random.default_rng(0).uniform(0, 255, (31, 31))
    expected = ndimage.rotate(image, degrees, reshape=False, order=1, mode="grid-constant")
    found = rotated(torch.from_numpy(image).float()[None, None], [degrees])[0, 0].numpy()
    assert found == pytest.approx(expected, abs=0.05)


small_values = st.integers(-4, 4).map(float)


@settings(max_examples=60)
@given(st.data())
def test_nearest_is_nearest(data):
    width, count, asked = (data.draw(st.integers(1, 5)) for _ in range(3))
    vectors = st.lists(small_values, min_size=width, max_size=width)
    memory = np.array(data.draw(st.lists(vectors, min_size=count + 1, max_size=count + 1)))
    queries = np.array(data.draw(st.lists(vectors, min_size=asked, max_size=asked)))
    start = data.draw(st.integers(0, count))
    skip = data.draw(st.sampled_from([None, slice(start, start + 1)]))
    given = (torch.from_numpy(queries).float(), torch.from_numpy(memory).float(), skip)
    found = neighbours.nearest(*given).numpy()
    brute = np.linalg.norm(queries[:, None] - memory, axis=-1)
    if skip is not None:
        brute[:, skip] = np.inf
        assert not np.isin(found, np.arange(skip.start, skip.stop)).any()
    assert brute[np.arange(asked), found] == pytest.approx(brute.min(1), abs=1e-5)


def test_nearest_in_blocks_is_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    queries, memory = (torch.randn(n, 6, generator=generator) for n in (40, 70))
    whole = neighbours.nearest(queries, memory, slice(10, 20))
    monkeypatch.setattr(neighbours, "_BLOCK", 210)
    assert torch.equal(neighbours.nearest(queries, memory, slice(10, 20)), whole)


@settings(max_examples=60)
@given(st.data())
def test_the_coreset_is_greedy(data):
    count = data.draw(st.integers(1, 8))
    rows = st.tuples(small_values, small_values)
    points = np.array(data.draw(st.lists(rows, min_size=count, max_size=count)))
    first, size = data.draw(st.integers(0, count - 1)), data.draw(st.integers(1, count))
    found = coreset(torch.from_numpy(points).float(), size, first).tolist()
    assert found[0] == first and len(set(found)) == size
    between = ((points[:, None] - points) ** 2).sum(-1)
    for index in range(1, size):
        to_chosen = between[:, found[:index]].min(1)
        rest = [i for i in range(count) if i not in found[:index]]
        assert to_chosen[found[index]] == to_chosen[rest].max()


@pytest.mark.parametrize(
    "method",
    [
        PatchCore(ratio=0.5),
        PatchCore(layers=(1, 2, 4), ratio=0.2, neighbours=3, sigma=0, neighbourhood=1),
        PatchCore(layers=(3,), ratio=1, neighbours=1, neighbourhood=5, sigma=2),
    ],
    ids=repr,
)
def test_patchcore_against_plain_numpy(method, backbone, pixels):
    support, queries = pixels[:4], pixels[4:]
    fitted = method.fit(support, backbone, 7)
    reach = method.neighbourhood // 2

    def features(images):
        parts = []
        for layer in fitted.method.layers:
            grid = tokens_of(backbone, images, layer).reshape(len(images), 4, 4, -1)
            padded = np.pad(grid, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
            shifts = [
                padded[:, y : y + 4, x : x + 4]
                for y in range(2 * reach + 1)
                for x in range(2 * reach + 1)
            ]
            parts.append(np.mean(shifts, axis=0))
        return np.concatenate(parts, axis=-1).reshape(len(images), 16, -1)

    flat = features(support).reshape(64, -1)
    generator = np.random.default_rng(7)
    projected = flat @ generator.standard_normal((flat.shape[1], 128), np.float32) / 128**0.5
    chosen = [int(generator.integers(64))]
    while len(chosen) < max(1, round(method.ratio * 64)):
        gaps = [
            -1 if i in chosen else min(np.linalg.norm(projected[i] - projected[j]) for j in chosen)
            for i in range(64)
        ]
        chosen.append(int(np.argmax(gaps)))
    assert fitted.memory.numpy() == pytest.approx(flat[chosen], abs=1e-4)
    assert fitted.owners.tolist() == [index // 16 for index in chosen]

    def scores(images, memory):
        found, smalls = [], []
        for image in features(images):
            gaps = np.linalg.norm(image[:, None] - memory, axis=-1)
            small, worst = gaps.min(1), gaps.min(1).argmax()
            match = memory[gaps[worst].argmin()]
            order = np.argsort(np.linalg.norm(memory - match, axis=-1))[: method.neighbours]
            e = np.exp(np.linalg.norm(image[worst] - memory[order], axis=-1))
            weight = 1 if len(order) == 1 else 1 - np.exp(small[worst]) / e.sum()
            found.append(weight * small[worst])
            smalls.append(small.reshape(4, 4))
        return found, brought_to_pixels(np.stack(smalls), method.sigma)

    expected, maps = scores(queries, flat[chosen])
    found = fitted.score(queries)
    assert found.scores.numpy() == pytest.approx(expected, rel=1e-3)
    assert found.maps.numpy() == pytest.approx(maps, rel=1e-3, abs=1e-4)
    left_out = fitted.score_left_out(support)
    for index in range(4):
        others = flat[[i for i in chosen if i // 16 != index]]
        expected, maps = scores(support[index : index + 1], others)
        assert float(left_out.scores[index]) == pytest.approx(expected[0], rel=1e-3)
        assert left_out.maps[index].numpy() == pytest.approx(maps[0], rel=1e-3, abs=1e-4)


def test_patchcore_refuses_and_leaves_nothing_out_where_it_cannot(backbone, pixels):
    with pytest.raises(ValueError, match="neighbourhood must be odd, not 2"):
        PatchCore(neighbourhood=2)
    assert PatchCore().fit(pixels[:1], backbone, 0).score_left_out(pixels[:1]) is None
    fitted = PatchCore().fit(pixels, backbone, 0)
    state = fitted.state() | {"owners": fitted.owners[:-1]}
    with pytest.raises(ValueError, match=r"not \(M, 64\) and \(M,\)"):
        PatchCore.restore(state, backbone)
    again = PatchCore().fit(pixels, backbone, 0)
    other = PatchCore().fit(pixels, backbone, 1)
    assert again.digest() == fitted.digest() != other.digest()


@pytest.mark.parametrize("name", ["vit", "timm-vit", "timm-conv", "resnet"])
def test_global_neighbour_on_every_kind_of_tower(name, configs, tmp_path):
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    size, rng = backbone.image_size, np.random.default_rng(0)
    images = to_pixels(rng.integers(0, 256, (6, size, size), np.uint8))

    def features(pixels):
        """From what the tower's own modules pass on, caught on the way."""
        caught = []
        if "vit" not in name:
            mean = tokens_of(backbone, pixels, backbone.depth).mean(1)
        else:
            visual = backbone.visual
            trunk = getattr(visual, "trunk", None)
            block = visual.transformer.resblocks[-1] if trunk is None else trunk.blocks[-1]
            handle = block.register_forward_hook(lambda _, __, out: caught.append(out))
            with torch.no_grad():
                visual(backbone.normalise(pixels))
            handle.remove()
            norm = visual.ln_post if trunk is None else trunk.norm
            x = layer_norm(caught[0].double().numpy(), norm)
            mean = (x[:, 0] + x[:, 1:].mean(1)) / 2
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    known, queries = features(images[:4]), features(images[4:])
    fitted = GlobalNeighbour().fit(images[:4], backbone)
    found = fitted.score(images[4:])
    expected = np.linalg.norm(queries[:, None] - known, axis=-1).min(1)
    assert found.scores.numpy() == pytest.approx(expected, abs=1e-5)
    assert found.maps.shape == (2, 0, 0)
    between = np.linalg.norm(known[:, None] - known, axis=-1)
    np.fill_diagonal(between, np.inf)
    left_out = fitted.score_left_out(images[:4]).scores.numpy()
    assert left_out == pytest.approx(between.min(1), abs=1e-5)
    assert GlobalNeighbour().fit(images[:1], backbone).score_left_out(images[:1]) is None

    detector = fit(list(images[:4, 0].byte().numpy()), GlobalNeighbour(), backbone=backbone)
    detector.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", backbone=backbone)
    prediction = loaded.predict(images[5, 0].byte().numpy())
    assert prediction.anomaly_map is None and loaded.threshold == detector.threshold
    assert prediction.score == pytest.approx(expected[1], abs=1e-5)
    with pytest.raises(ValueError, match=r"memory is \(4, 3\), not \(k, "):
        GlobalNeighbour.restore(fitted.state() | {"memory": fitted.memory[:, :3]}, backbone)


def test_rotations_of_the_subspace_are_left_out_with_their_image(backbone, pixels):
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the tests' reference")
    support = pixels[:4]
    method = Subspace(layers=(3,), rotations=2, variance=0.9, pool=1)
    fitted = method.fit(support, backbone, 5)
    angles = np.random.default_rng(np.random.SeedSequence(fitted.entropy)).uniform(0, 360, (2, 4))
    turns = [support, *(rotated(support, turn.tolist()) for turn in angles)]
    tokens = [tokens_of(backbone, images, 3) for images in turns]

    def score(own, memory):
        pca = decomposition.PCA(n_components=0.9, svd_solver="full").fit(memory)
        error = ((own - pca.inverse_transform(pca.transform(own))) ** 2).sum(1)
        return brought_to_pixels(error.reshape(1, 4, 4), 4).mean()

    left_out = fitted.score_left_out(support).scores
    for index in range(4):
        others = np.concatenate([np.delete(t, index, 0) for t in tokens]).reshape(-1, 32)
        expected = score(tokens[0][index], others)
        assert float(left_out[index]) == pytest.approx(expected, rel=2e-3)
    everything = np.concatenate(tokens).reshape(-1, 32)
    expected = score(tokens_of(backbone, pixels[4:5], 3)[0], everything)
    assert float(fitted.score(pixels[4:5]).scores[0]) == pytest.approx(expected, rel=2e-3)


class TestApproximateSearch:
    """faiss's inverted lists."""

    @pytest.fixture(autouse=True)
    def _needs_faiss(self):
        pytest.importorskip("faiss", reason="approximate search needs the extra `search`")

    def test_where_every_list_is_searched_it_is_exact(self, backbone, pixels, monkeypatch):
        monkeypatch.setattr(neighbours, "_PROBES", 1000)
        exact = NearestPatch(layers=(2, 3), rotations=2).fit(pixels[:4], backbone)
        method = replace(exact.method, search="approximate")
        found = method.fit(pixels[:4], backbone)
        assert torch.equal(found.score(pixels).maps, exact.score(pixels).maps)
        left_out = (f.score_left_out(pixels[:4]).maps for f in (found, exact))
        assert torch.equal(*left_out)
        again = NearestPatch.restore(found.state(), backbone)
        assert torch.equal(again.score(pixels).maps, found.score(pixels).maps)
        assert method.fit(pixels[:4], backbone).digest() == found.digest()

    def test_few_neighbours_are_missed_among_many(self):
        rng = np.random.default_rng(0)
        middles = rng.normal(size=(60, 16)) * 2
        memory, queries = (
            torch.from_numpy(middles[rng.integers(60, size=n)] + rng.normal(size=(n, 16))).float()
            for n in (9000, 500)
        )
        lists = neighbours.Lists.cluster(memory)
        assert lists.centres.shape == (379, 16)
        skip = slice(1000, 2000)
        for left_out in (None, skip):
            exact = neighbours.nearest(queries, memory, left_out)
            found = lists.nearest(queries, left_out)
            assert (found == exact).float().mean() > 0.9
            near, true = ((queries - memory[chosen]).norm(dim=-1) for chosen in (found, exact))
            assert (near >= true - 1e-5).all()
            if left_out is not None:
                assert not ((found >= 1000) & (found < 2000)).any()

    def test_where_all_that_is_near_is_left_out_the_search_is_exact(self):
        memory = torch.arange(400.0)[:, None]
        lists = neighbours.Lists.cluster(memory)
        found = lists.nearest(torch.tensor([[3.0]]), slice(0, 399))
        assert found.tolist() == [399]


def test_without_faiss_an_approximate_search_says_what_it_needs(backbone, pixels, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs faiss: pip install 'synthmed\[search\]'"):
        NearestPatch(search="approximate").fit(pixels, backbone)
