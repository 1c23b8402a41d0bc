"""Towers of several kinds: what they take, and the features that they give."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
open_clip = pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import timm  # noqa: E402
from fits import fit_mediclip  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from small_towers import random_clip  # noqa: E402

from synthmed_clip import load_backbone  # noqa: E402
from synthmed_clip.backbone.architecture import normalisation  # noqa: E402
from synthmed_clip.backbone.cache import with_cache, with_temporary_cache  # noqa: E402
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402


def random_pixels(count, channels, size):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), generator=generator).float()


@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("custom", (2, 3), 32),
        ("resnet", (3, 4, 5), 64),
        ("timm-vit", (3, 5, 6), 48),
        ("timm-conv", (3, 4, 5), 64),
    ],
)
def test_every_kind_of_tower_fits_and_predicts(name, layers, size, configs, normals):
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    assert backbone.default_layers() == layers and backbone.image_size == size
    maps = fit_mediclip(normals, backbone, epochs=2).score(normals[:2]).maps.numpy()
    assert (
        maps.shape == (2, size, size)
        and np.isfinite(maps).all()
        and 0 <= maps.min() < maps.max() <= 1
    )


def test_layers_of_different_sizes_are_brought_to_the_largest(configs):
    backbone = load_backbone(configs["timm-conv"], None, device="cpu", precision="float32")
    features = backbone.features(torch.zeros(1, 1, 64, 64), (3, 4, 5))
    assert [f.shape[-1] for f in features] == [8, 4, 2]


def test_layers_are_counted_from_one(backbone):
    pixels = random_pixels(2, 1, 32)
    last = backbone.features(pixels, (4,))[0]
    seen = []
    handle = backbone.visual.transformer.resblocks[3].register_forward_hook(
        lambda *a: seen.append(a[2])
    )
    backbone.features(pixels, (1, 4))
    handle.remove()
    torch.testing.assert_close(
        last.flatten(2).transpose(1, 2), seen[0][:, 1:], atol=1e-6, rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"layers must be among 1 to 4"):
        fit_mediclip([np.eye(9)], backbone, layers=(0, 4))


def test_frozen_tower_is_open_clips_to_the_bit(configs, tmp_path):
    net = random_clip(configs, "vit").eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    for precision in ("float32", "bfloat16"):
        backbone = load_backbone(
            configs["vit"], tmp_path / "w.safetensors", device="cpu", precision=precision
        )
        pixels = torch.randn(2, 3, 32, 32, dtype=backbone.dtype)
        with torch.no_grad():
            assert torch.equal(backbone.visual(pixels), net.to(backbone.dtype).visual(pixels))


@pytest.mark.parametrize("name", ["vit", "timm-vit", "resnet"])
def test_layers_may_be_in_any_order(name, configs):
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    pixels = random_pixels(2, 1, backbone.image_size)
    first, second, third = backbone.features(pixels, (1, 2, 3))
    for found, expected in zip(
        backbone.features(pixels, (3, 1, 2, 3)), (third, first, second, third), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["vit", "timm-conv"])
def test_the_same_values_give_the_same_bits(name, configs):
    """Whatever the layout in memory; and grey is three equal channels."""
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    size, (grey, colour) = (
        backbone.image_size,
        (random_pixels(2, c, backbone.image_size) for c in (1, 3)),
    )
    channels_last = colour.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for first, second in ((colour, channels_last), (grey, grey.expand(2, 3, size, size))):
        for a, b in zip(
            backbone.features(first, (1, 3)), backbone.features(second, (1, 3)), strict=True
        ):
            assert torch.equal(a, b)
    mean, std = backbone.offset / -backbone.scale / 255, 1 / backbone.scale / 255
    torch.testing.assert_close(backbone.normalise(colour), (colour / 255 - mean) / std)
    images = colour.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    assert torch.equal(to_pixels(images), colour)
    assert torch.equal(to_pixels(images[..., 0]), colour[:, :1])


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        (np.zeros((1, 1, 32, 32), np.float32), TypeError, "be a float32 tensor, not ndarray"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), TypeError, "be float32, not uint8"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.float64), TypeError, "be float32, not float64"),
        (torch.zeros(1, 32, 32), ValueError, r"not \(1, 32, 32\)"),
        (torch.zeros(1, 32, 32, 3), ValueError, r"not \(1, 32, 32, 3\)"),
        (torch.zeros(1, 2, 32, 32), ValueError, r"\(B, 3, 32, 32\), not \(1, 2, 32, 32\)"),
        (torch.zeros(1, 1, 48, 48), ValueError, r"\(B, 1, 32, 32\) or .* not \(1, 1, 48, 48\)"),
        (torch.zeros(0, 1, 32, 32), ValueError, "hold at least one image, not none"),
        (torch.full((1, 1, 32, 32), -0.5), ValueError, "within 0 to 255, not -0.5 to -0.5"),
        (torch.full((1, 1, 32, 32), 256.0), ValueError, "within 0 to 255, not 256 to 256"),
        (torch.full((1, 1, 32, 32), torch.nan), ValueError, "within 0 to 255, not nan"),
    ],
)
def test_other_pixels_are_refused_by_name(pixels, error, message, backbone, tmp_path):
    for reader in (backbone, with_cache(backbone, tmp_path)):
        with pytest.raises(error, match=f"pixels must .*{message}"):
            reader.features(pixels, (1,))
    with pytest.raises(error, match=f"pixels must .*{message}"):
        backbone.normalise(pixels)
    assert not list(tmp_path.iterdir())


def test_damaged_features_are_found_anew(backbone, tmp_path):
    pixels = random_pixels(1, 1, 32)
    with with_temporary_cache(backbone, tmp_path / "new") as cached:
        expected = cached.features(pixels, (2,))[0]
        (path,) = cached.folder.iterdir()
        whole = path.read_bytes()
        for damaged in (b"", whole[:-9] + bytes(9)):
            path.write_bytes(damaged)
            assert torch.equal(cached.features(pixels, (2,))[0], expected)
            assert path.read_bytes() == whole
    assert not list((tmp_path / "new").iterdir())


def test_only_eight_bit_images_become_pixels():
    with pytest.raises(TypeError, match="images must be uint8, not float32"):
        to_pixels(np.zeros((1, 8, 8), np.float32))
    for shape in ((8, 8), (1, 8, 8, 4), (1, 3, 8, 8)):
        with pytest.raises(ValueError, match=r"images must be \(B, S, S\) or \(B, S, S, 3\), not"):
            to_pixels(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("name", ["vit", "timm-vit", "timm-conv", "resnet"])
def test_joint_features_are_the_towers_own(name, configs):
    backbone = load_backbone(configs[name], None, device="cpu", precision="float32")
    pixels = random_pixels(2, 3, backbone.image_size)
    pooled, tokens = backbone.joint_features(pixels)
    with torch.no_grad():
        assert torch.equal(pooled, backbone.visual(backbone.normalise(pixels)))
        if "vit" not in name:
            assert tokens is None
            return
        if name == "vit":
            backbone.visual.output_tokens = True
            normed = backbone.visual(backbone.normalise(pixels))[1]
            expected = normed @ backbone.visual.proj
        else:
            trunk = backbone.visual.trunk
            normed = trunk.forward_features(backbone.normalise(pixels))
            expected = backbone.visual.head(normed[:, trunk.num_prefix_tokens :])
    assert tokens.shape == (2, 16 if name == "vit" else 9, 24)
    torch.testing.assert_close(tokens, expected, atol=1e-6, rtol=1e-5)


def test_a_local_file_is_normalised_as_its_models_tags(configs, tmp_path):
    for name, tag in (("ViT-H-14-CLIPA", "datacomp1b"), ("ViT-B-32", "openai")):
        config = open_clip.get_model_config(name)
        for ours, theirs in zip(
            normalisation(name, config, "copy.safetensors", {}),
            normalisation(name, config, tag, {}),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    with pytest.warns(UserWarning, match="its tags differ in normalisation"):
        normalisation("ViT-L-14", open_clip.get_model_config("ViT-L-14"), "copy.safetensors", {})


def test_wrong_configurations_are_named(configs, tmp_path):
    path = tmp_path / "c.json"
    good = json.loads(configs["timm-vit"].read_text())
    for config, message in (
        (
            {"embed_dim": 3},
            "c.json is no configuration of an open_clip model: vision_cfg, text_cfg missing",
        ),
        (
            good | {"vision_cfg": {"timm_model_name": "no_such_tower"}},
            "the configuration's model cannot be built",
        ),
        (good | {"more": 1}, "the configuration's model cannot be built"),
    ):
        path.write_text(json.dumps(config))
        with pytest.raises(ValueError, match=message):
            load_backbone(path, None)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"c\.json is not JSON"):
        load_backbone(path, None)
    with pytest.raises(ValueError, match="image_size must be at least 1, not 0"):
        load_backbone(configs["vit"], None, image_size=0)


def test_tower_brings_its_own_normalisation(configs, tmp_path):
    config = json.loads(configs["vit"].read_text()) | {
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(config))
    own = load_backbone(path, None, precision="float32")
    assert own.offset.flatten().tolist() == [-2, -2, -2]
    clip = load_backbone(configs["vit"], None, precision="float32")
    assert clip.offset[0].item() == pytest.approx(
        -open_clip.OPENAI_DATASET_MEAN[0] / open_clip.OPENAI_DATASET_STD[0]
    )
    timm_mean = timm.create_model("test_vit").pretrained_cfg["mean"]
    tower = load_backbone(configs["timm-vit"], None, precision="float32")
    assert (-tower.offset / tower.scale / 255).flatten().tolist() == pytest.approx(timm_mean)
