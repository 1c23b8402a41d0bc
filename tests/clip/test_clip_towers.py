"""Towers without text, of timm's and of transformers', against these libraries themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
timm = pytest.importorskip("timm", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import synthmed_clip  # noqa: E402
from synthmed_clip import Detector, Joined, MediCLIP, NearestPatch, ZeroShot  # noqa: E402
from synthmed_clip.backbone.architecture import read_architecture  # noqa: E402

STRICT = {"device": "cpu", "precision": "float32"}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "patch_size": 8,
    "image_size": 32,
}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 64}
# The settings of a small model, and where its blocks are.
KINDS = {
    "dinov2": (SMALL, "encoder.layer"),
    "dinov2_with_registers": (SMALL | {"num_register_tokens": 2}, "encoder.layer"),
    "dinov3_vit": (SMALL | {"num_register_tokens": 2}, "model.layer"),
    "vit": (SMALL, "layers"),
    "dinov3_convnext": (STAGES, "model.stages"),
    "convnext": (STAGES, "encoder.stages"),
    "convnextv2": (STAGES, "encoder.stages"),
    "resnet": (STAGES | {"embedding_size": 8, "layer_type": "basic"}, "encoder.stages"),
}
PROCESSOR = {
    "image_mean": [0.5, 0.25, 0.5],
    "image_std": [0.25, 0.5, 0.25],
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}


def random_pixels(size, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).float()


def outputs_of(net, blocks, run):
    """What each block gives while `run` passes images through a net."""
    found, handles = [], []
    for block in blocks:
        handles.append(
            block.register_forward_hook(
                lambda _module, _inputs, out: found.append(
                    out[0] if isinstance(out, tuple) else out
                )
            )
        )
    with torch.no_grad():
        run(net)
    for handle in handles:
        handle.remove()
    return found


def as_map(tokens, prefix):
    """Patch tokens as a square, by a loop."""
    side = int((tokens.shape[1] - prefix) ** 0.5)
    rows = [tokens[:, prefix + r * side : prefix + (r + 1) * side] for r in range(side)]
    return torch.stack(rows, 1).permute(0, 3, 1, 2)


def hf_folder(folder, kind, processor=PROCESSOR, **changes):
    """A folder as transformers writes it, and the model."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf`")
    torch.manual_seed(4)
    settings, _ = KINDS[kind]
    net = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(kind, **(settings | changes))
    ).eval()
    for buffer in (b for n, b in net.named_buffers() if n.endswith("running_var")):
        buffer.uniform_(0.5, 2)
    net.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return net


def normalised(pixels, mean, std):
    return (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_vit", 160),
        ("test_vit", 96),
        ("eva02_tiny_patch14_224", 56),
        ("test_convnext", 160),
        ("test_convnext", 96),
        ("test_resnet", 96),
    ],
)
def test_features_of_timms_towers_are_timms(name, size, tmp_path):
    torch.manual_seed(2)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = synthmed_clip.load_backbone(f"timm/{name}", path, image_size=size, **STRICT)
    fixed = {} if name in ("test_convnext", "test_resnet") else {"img_size": size}
    overlay = {"file": str(path)}
    net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **fixed)
    net.eval()
    pixels = random_pixels(size)
    blocks = net.blocks if hasattr(net, "blocks") else getattr(net, "stages", None)
    blocks = blocks or [net.layer1, net.layer2, net.layer3, net.layer4]
    given = normalised(pixels, net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
    expected = outputs_of(net, blocks, lambda net: net(given))
    if hasattr(net, "blocks"):
        expected = [as_map(tokens, net.num_prefix_tokens) for tokens in expected]
    stem = backbone.depth - len(expected)
    assert stem in (0, 1) and backbone.image_size == size and backbone.text is None
    found = backbone.features(pixels, range(1 + stem, backbone.depth + 1))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    token, patches = backbone.last_tokens(pixels)
    if name == "test_vit":
        with torch.no_grad():
            tokens = net.forward_features(given)
        torch.testing.assert_close(torch.cat([token[:, None], patches], 1), tokens)
    elif not hasattr(net, "blocks"):
        assert token is None and torch.equal(patches, found[-1].flatten(2).transpose(1, 2))
    assert backbone.channels[stem:] == tuple(feature.shape[1] for feature in expected)


def test_dinov2_has_its_own_constants_and_size():
    backbone = synthmed_clip.load_backbone(
        "timm/vit_small_patch14_dinov2", None, image_size=56, **STRICT
    )
    assert backbone.name == "timm/vit_small_patch14_dinov2.lvd142m"
    assert (backbone.depth, set(backbone.channels)) == (12, {384})
    expected = normalised(torch.full((1, 3, 56, 56), 9.0), (0.485, 0.456, 0.406), (0.229,) * 3)
    assert torch.allclose(backbone.normalise(torch.full((1, 1, 56, 56), 9.0))[:, 0], expected[:, 0])
    assert read_architecture("timm/vit_small_patch14_dinov2").weights == (
        "hf-hub:timm/vit_small_patch14_dinov2.lvd142m"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 96])
def test_features_of_transformers_models_are_theirs(kind, size, tmp_path):
    hf_folder(tmp_path / "model", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = synthmed_clip.load_backbone(tmp_path / "model", image_size=size, **STRICT)
    import transformers

    net = transformers.AutoModel.from_pretrained(tmp_path / "model").eval()
    settings, where = KINDS[kind]
    assert backbone.image_size == (size or settings["image_size"]) and backbone.text is None
    pixels = random_pixels(backbone.image_size)
    given = normalised(pixels, PROCESSOR["image_mean"], PROCESSOR["image_std"])
    options = {"interpolate_pos_encoding": True} if kind == "vit" and size else {}
    blocks = net.get_submodule(where)
    expected = outputs_of(net, blocks, lambda net: net(given, **options))
    if expected[0].ndim == 3:
        prefix = 1 + settings.get("num_register_tokens", 0)
        expected = [as_map(tokens, prefix) for tokens in expected]
    found = backbone.features(pixels, range(1, backbone.depth + 1))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    token, patches = backbone.last_tokens(pixels)
    if token is None:
        assert torch.equal(patches, found[-1].flatten(2).transpose(1, 2))
        return
    with torch.no_grad():
        tokens = net(given, **options).last_hidden_state
    torch.testing.assert_close(token, tokens[:, 0])
    torch.testing.assert_close(patches, tokens[:, prefix:])


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        ({"crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 28}}, 24),
        ({"crop_size": {"height": 24, "width": 24}, "do_center_crop": False}, 32),
        ({"size": {"height": 40, "width": 40}}, 40),
        ({"size": {"shortest_edge": 28}}, 32),
    ],
)
def test_the_size_is_that_of_the_models_own_processor(processor, size, tmp_path):
    hf_folder(tmp_path, "dinov2", PROCESSOR | processor)
    assert synthmed_clip.load_backbone(tmp_path, **STRICT).image_size == size


def test_a_classifiers_file_gives_its_tower(tmp_path):
    """With the task's head in it, and the prefix that its model gives the tower."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf`")
    config = transformers.AutoConfig.for_model("vit", **SMALL)
    net = transformers.ViTForImageClassification(config)
    net.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    backbone = synthmed_clip.load_backbone(tmp_path, **STRICT)
    ours, theirs = backbone.visual.state_dict(), net.vit.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_faults_are_refused_by_name(tmp_path, backbone):
    load = synthmed_clip.load_backbone
    state = timm.create_model("test_vit", num_classes=0).state_dict()

    def refuse(content, message):
        path = tmp_path / "weights.safetensors"
        save_file(content, path)
        with pytest.raises(ValueError, match=message):
            load("timm/test_vit", path, **STRICT)

    lacking = {k: v for k, v in state.items() if k != "blocks.1.norm1.weight"}
    refuse(lacking, r'does not fit the model: Missing key.*"blocks.1.norm1.weight"$')
    refuse(state | {"extra": torch.zeros(1)}, r'Unexpected key.*"extra"')
    refuse(state | {"norm.weight": torch.zeros(9)}, r"size mismatch for norm.weight.*\[9\]")
    with pytest.raises(ValueError, match="timm knows no model 'nothing'"):
        load("timm/nothing")
    with pytest.raises(ValueError, match=r"timm knows no model 'test_vit.nothing'"):
        load("timm/test_vit.nothing")
    with pytest.raises(ValueError, match=r"multiple of 16, .* not 100: take 96 or 112"):
        load("timm/test_vit", None, image_size=100)
    with pytest.raises(ValueError, match=r"multiple of 8, the patch size of 'vit', not 33"):
        load(backbone.config, None, name="vit", image_size=33)
    vision = backbone.config["vision_cfg"] | {"image_size": 34}  # as if published so
    with pytest.raises(ValueError, match=r"multiple of 8, .* not 34: take 32 or 40"):
        load(backbone.config | {"vision_cfg": vision}, None, name="vit")
    assert load(backbone.config | {"vision_cfg": vision}, None, name="v", image_size=40).depth == 4
    with pytest.raises(ValueError, match=r"random_text=True: 'timm/test_vit.* has no text tower"):
        load("timm/test_vit", None, random_text=True)


def test_faults_of_transformers_models_are_refused_by_name(tmp_path):
    load = synthmed_clip.load_backbone
    hf_folder(tmp_path, "dinov2")
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    block = "encoder.layer.1.norm1.weight"

    def refuse(content, message):
        save_file(content, path)
        with pytest.raises(
            ValueError, match=f"model.safetensors does not fit the model: .*{message}"
        ):
            load(tmp_path, **STRICT)

    refuse({k: v for k, v in state.items() if k != block}, f"{block} is missing")
    refuse(state | {"encoder.layer.9.norm1.weight": torch.ones(32)}, "layer.9.* has no place in it")
    refuse(state | {block: torch.ones(9)}, block)
    save_file(state, path)
    with pytest.raises(ValueError, match="multiple of 8, the patch size of 'dinov2', not 33"):
        load(tmp_path, image_size=33)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "yolos"}))
    with pytest.raises(ValueError, match="no vision model of kind 'yolos' is known here; there"):
        load(tmp_path)
    with pytest.raises(ValueError, match="lacks preprocess_cfg"):
        load(config, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for change, message in (
        ({"rescale_factor": 1}, "does not scale pixels .* rescale_factor 1"),
        ({"do_rescale": False}, "does not scale pixels"),
        ({"image_mean": None}, "lacks image_mean"),
    ):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | change))
        with pytest.raises(ValueError, match=message):
            load(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no preprocessor_config.json beside"):
        load(tmp_path)
    path.unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(FileNotFoundError, match=r"no weights in .* looked for model.safetensors"):
        load(tmp_path)


@pytest.fixture(scope="module")
def without_text():
    return synthmed_clip.load_backbone("timm/test_vit", None, image_size=32, **STRICT)


def test_what_needs_texts_refuses_a_tower_without(without_text, normals):
    with pytest.raises(ValueError, match=r"zero-shot needs a text tower, and 'timm/test_vit.* has"):
        synthmed_clip.fit([], ZeroShot(), backbone=without_text)
    with pytest.raises(ValueError, match="zero-shot needs a text tower"):
        synthmed_clip.fit(normals, Joined((ZeroShot(), NearestPatch())), backbone=without_text)
    with pytest.raises(ValueError, match="a class word needs a text tower"):
        fit_mediclip(normals, without_text, normal_words=("healthy",))
    with pytest.raises(ValueError, match="the space of texts needs a text tower"):
        without_text.joint_features(random_pixels(32))


def test_mediclip_learns_class_vectors_in_place_of_prompts(without_text, normals):
    detector = fit_mediclip(normals, without_text, epochs=12, layers=(2, 4))
    fitted = detector.fitted
    head, log = fitted.model.head, fitted.history.log
    assert [n for n, _ in head.named_parameters() if "adapters" not in n] == ["class_vectors"]
    assert log[-1].loss < log[0].loss
    begun = fitted.method.model(without_text, 1).head.class_vectors
    assert begun.shape == (2, 64) and 0.5 < begun.norm(dim=1).mean() < 1.5
    pixels = random_pixels(32)
    layers = []
    for adapter, feature in zip(head.adapters, without_text.features(pixels, (2, 4)), strict=True):
        z = torch.einsum("bchw,dc->bdhw", feature, adapter.weight) + adapter.bias[:, None, None]
        cosines = torch.stack(
            [torch.cosine_similarity(z, v[None, :, None, None], dim=1) for v in head.class_vectors]
        )
        layers.append((cosines / 0.07).softmax(0)[1])
    expected = torch.nn.functional.interpolate(
        torch.stack(layers, 1), size=32, mode="bilinear", align_corners=True
    ).mean(1)
    torch.testing.assert_close(fitted.score(pixels).maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [MediCLIP(epochs=1), NearestPatch(), Joined()], ids=repr)
def test_a_detector_on_a_folders_model_is_saved_and_loaded(method, normals, tmp_path, monkeypatch):
    hf_folder(tmp_path / "model", "dinov2")
    backbone = synthmed_clip.load_backbone(tmp_path / "model", **STRICT)
    if isinstance(method, Joined):
        method = Joined((MediCLIP(epochs=1), NearestPatch()))
    detector = synthmed_clip.fit(normals, method, backbone=backbone, rng=0, progress=False)
    detector.save(tmp_path / "d.safetensors")
    monkeypatch.chdir("/")
    loaded = Detector.load(tmp_path / "d.safetensors", **STRICT)
    assert torch.equal(loaded.score(normals).maps, detector.score(normals).maps)
    assert loaded.method == detector.method
    moved = (tmp_path / "model" / "model.safetensors").rename(tmp_path / "moved.safetensors")
    with pytest.raises(FileNotFoundError):
        Detector.load(tmp_path / "d.safetensors", **STRICT)
    Detector.load(tmp_path / "d.safetensors", weights=moved, **STRICT)
    other = {k: v + 1 for k, v in load_file(moved).items()}
    save_file(other, moved)
    with pytest.raises(ValueError, match="was fitted on other weights"):
        Detector.load(tmp_path / "d.safetensors", weights=moved, **STRICT)


def test_models_by_name_come_from_the_hubs_cache_or_are_said_to_be_missing(tmp_path):
    """In a process of its own: an address that never answers, and a cache that fills."""

    def snapshot(repository):
        root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        for name in ("refs", "snapshots"):
            (root / name).mkdir(parents=True)
        (root / "refs" / "main").write_text("abc")
        return root / "snapshots" / "abc"

    def load(*names):
        code = f"""
import synthmed_clip
for name in {names!r}:
    try:
        found = synthmed_clip.load_backbone(name, device="cpu", precision="float32")
        print("loaded", found.name, found.weights, found.config, found.text, found.digest)
    except FileNotFoundError as error:
        print(error)
"""
        environment = os.environ | {
            "HF_HOME": str(tmp_path),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "no_proxy": "*",
        }
        environment.pop("HF_HUB_CACHE", None)
        return subprocess.run(
            [sys.executable, "-W", "error:::synthmed_clip", "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout

    said = load("timm/test_vit", "hf-hub:org/vision", "hf-hub:org/timm")
    weights = "'hf-hub:timm/test_vit.r160_in1k' of 'timm/test_vit.r160_in1k'"
    assert f"the weights {weights} are not on this machine" in said
    assert "config.json of 'org/vision' is not on this machine" in said
    net = timm.create_model("test_vit", num_classes=0)
    for repository in ("timm/test_vit.r160_in1k", "org/timm"):
        folder = snapshot(repository)
        folder.mkdir()
        save_file(net.state_dict(), folder / "model.safetensors")
    own = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64], "num_classes": 7}
    settings = {"architecture": "test_vit", "pretrained_cfg": own | {"fixed_input_size": True}}
    (folder / "config.json").write_text(json.dumps(settings | {"model_args": {"img_size": 160}}))
    vision = hf_folder(snapshot("org/vision"), "dinov2")
    lines = load("timm/test_vit", "hf-hub:org/vision", "hf-hub:org/timm").splitlines()
    digests = [synthmed_clip.backbone.model.weights_digest(module) for module in (net, vision, net)]
    names = ["timm/test_vit.r160_in1k", "hf-hub:org/vision", "hf-hub:org/timm"]
    sources = ["hf-hub:timm/test_vit.r160_in1k", *names[1:]]
    assert lines == [
        f"loaded {name} {source} None None {digest}"
        for name, source, digest in zip(names, sources, digests, strict=True)
    ]
