"""Weights: where they are found, what is read of them, and what does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
open_clip = pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import timm  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from small_towers import random_clip  # noqa: E402

from synthmed_clip import load_backbone  # noqa: E402
from synthmed_clip.backbone.weights import find_weights  # noqa: E402


@pytest.mark.parametrize("form", ["safetensors", "SAFETENSORS", "blob", "pt", "nested"])
def test_local_weights_are_loaded(form, configs, tmp_path):
    net = random_clip(configs, "vit")
    path = tmp_path / f"weights.{'pt' if form == 'nested' else form}"
    if form in ("safetensors", "SAFETENSORS", "blob"):  # files in a hub's cache have no suffix
        save_file(net.state_dict(), path)
    else:
        state = net.state_dict()
        torch.save(
            state if form == "pt" else {"state_dict": {f"module.{k}": v for k, v in state.items()}},
            path,
        )
    backbone = load_backbone(configs["vit"], path, precision="float32")
    assert torch.equal(backbone.visual.conv1.weight, net.visual.conv1.weight)
    assert torch.equal(backbone.text.positional_embedding, net.positional_embedding)
    assert not any(p.requires_grad for p in backbone.visual.parameters())


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)
def test_openai_archive_is_read(configs, tmp_path):
    class Archive(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            for name, child in net.named_children():
                self.add_module(name, child)
            for name, parameter in net.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
            self.register_buffer("input_resolution", torch.tensor(32))

        def forward(self, x):
            return x + self.logit_scale

    net = random_clip(configs, "vit")
    path = tmp_path / "ViT.pt"
    torch.jit.trace(Archive(net), torch.zeros(1), check_trace=False).save(path)
    backbone = load_backbone(configs["vit"], path, precision="float32")
    assert torch.equal(backbone.visual.proj, net.visual.proj)


def test_visual_tower_alone(configs, tmp_path):
    trunk = timm.create_model("test_vit")
    path = tmp_path / "trunk.safetensors"
    save_file(trunk.state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"does not fit .*; pass random_text=True if the visual tower alone is meant",
    ):
        load_backbone(configs["timm-vit"], path)
    with pytest.warns(UserWarning, match="the text tower is random"):
        backbone = load_backbone(configs["timm-vit"], path, random_text=True, precision="float32")
    assert torch.equal(backbone.visual.trunk.patch_embed.proj.weight, trunk.patch_embed.proj.weight)
    with pytest.warns(UserWarning, match="random"):
        again = load_backbone(configs["timm-vit"], path, random_text=True, precision="float32")
    assert torch.equal(backbone.text.token_embedding.weight, again.text.token_embedding.weight)


def test_wrong_checkpoints_are_refused_by_the_first_mismatch(configs, tmp_path):
    net = random_clip(configs, "vit")
    state = net.state_dict()
    path = tmp_path / "wrong.safetensors"

    def refuse(content, message):
        save_file({k: v.contiguous() for k, v in content.items()}, path)
        with pytest.raises(ValueError, match=message):
            load_backbone(configs["vit"], path)

    refuse(
        {k: v for k, v in state.items() if not k.startswith("visual.")},
        r"visual.class_embedding \(32,\) is missing",
    )
    refuse(
        {k: v for k, v in state.items() if k.startswith("visual.")},
        "is missing; pass random_text=True",
    )
    refuse(
        {k: v for k, v in state.items() if "resblocks.3" not in k},
        "visual.transformer.resblocks.3.ln_1.weight .* is missing",
    )
    refuse(state | {"visual.extra": torch.zeros(2)}, r"visual.extra \(2,\) has no place")
    refuse(
        state | {"visual.conv1.weight": torch.zeros(32, 3, 4, 4)},
        r"visual.conv1.weight is \(32, 3, 4, 4\), not \(32, 3, 8, 8\)",
    )
    refuse(
        state | {"visual.positional_embedding": torch.zeros(17, 48)},
        "visual.positional_embedding is",
    )
    refuse(random_clip(configs, "resnet").state_dict(), "is missing|is .* not")


def test_damaged_and_unsafe_files_are_refused(configs, tmp_path):
    state = random_clip(configs, "vit").state_dict()
    for name, write in (("cut.safetensors", save_file), ("cut.pt", lambda s, p: torch.save(s, p))):
        path = tmp_path / name
        write(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=f"{name} is not a readable checkpoint"):
            load_backbone(configs["vit"], path)
    torch.save({"visual.proj": torch.zeros(1), "code": os.system}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_backbone(configs["vit"], tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no state dict"):
        load_backbone(configs["vit"], tmp_path / "list.pt")


def test_unknown_names_say_what_is_known(configs):
    with pytest.raises(ValueError, match="open_clip knows no model 'ViT-Q-1'"):
        load_backbone("ViT-Q-1")
    with pytest.raises(
        FileNotFoundError, match=r"neither a file nor a tag of 'ViT-B-32' \(its tags: openai"
    ):
        find_weights("ViT-B-32", "nowhere")
    with pytest.raises(FileNotFoundError, match="no model configuration at"):
        load_backbone("missing.json")
    with pytest.raises(ValueError, match="precision must be"):
        load_backbone(configs["vit"], None, precision="half")
    for device in ("gpu", "xpu", "meta", "cpu:x", "CPU", ""):  # torch knows the kinds xpu and meta
        with pytest.raises(
            ValueError, match=f"^device must be 'auto', 'cpu', 'cuda' or 'mps', not '{device}'$"
        ):
            load_backbone(configs["vit"], None, device=device)
    with pytest.raises(
        ValueError, match=r"no device 'cuda:99' here: torch .* finds . of kind cuda"
    ):
        load_backbone(configs["vit"], None, device="cuda:99")


@pytest.mark.parametrize("offline", [True, False])
def test_missing_weights_and_no_network_are_said_at_once(offline, tmp_path):
    """In a process of its own: an address that never answers, and an empty cache."""
    code = """
import synthmed_clip, numpy
try:
    synthmed_clip.fit([numpy.eye(9)], progress=False)
except FileNotFoundError as error:
    print(error)
"""
    environment = os.environ | {
        "HF_HOME": str(tmp_path),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "no_proxy": "*",
        "HF_HUB_OFFLINE": "1" if offline else "0",
    }
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,  # the import alone may take a minute on a busy machine
        check=True,
    )
    assert "'openai' of 'ViT-L-14-quickgelu' are not on this machine" in done.stdout
    assert str(tmp_path) in done.stdout and "weights='path/to/file'" in done.stdout


def test_every_tag_has_its_weights_on_the_hub():
    """Which is the one place where they are looked for."""
    for model, tag in open_clip.list_pretrained():
        assert "/" in open_clip.get_pretrained_cfg(model, tag)["hf_hub"]


def activations(backbone):
    """Kinds of activation in the two towers."""
    kinds = {type(module).__name__ for module in backbone.visual.modules()}
    kinds |= {type(module).__name__ for module in backbone.text.transformer.modules()}
    return {kind for kind in kinds if "GELU" in kind}


QUICK, PLAIN = {"_FrozenQuickGELU", "QuickGELU"}, {"GELU"}


@pytest.fixture
def registry(monkeypatch, configs, tmp_path):
    """open_clip's registry with a small model under the two names that its models have, and weights
    of two tags, each with the activation that open_clip states for the real one.
    """
    net = random_clip(configs, "vit")
    path = tmp_path / "w.safetensors"
    save_file(net.state_dict(), path)
    config = json.loads(configs["vit"].read_text())
    models = {"ViT-T": config | {"quick_gelu": False}, "ViT-T-quickgelu": config}
    tags = {
        "openai": open_clip.get_pretrained_cfg("ViT-L-14", "openai"),
        "plain": open_clip.get_pretrained_cfg("ViT-L-14", "laion2b_s32b_b82k"),
    }
    tags = {tag: dict(stated, hf_hub="") for tag, stated in tags.items()}
    monkeypatch.setattr(open_clip, "list_models", lambda: list(models))
    monkeypatch.setattr(open_clip, "get_model_config", models.get)
    monkeypatch.setattr(
        open_clip,
        "list_pretrained_tags_by_model",
        lambda name: ["openai"] if "quick" in name else list(tags) if name in models else [],
    )
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: tags.get(tag, {}))
    monkeypatch.setattr("synthmed_clip.backbone.model.find_weights", lambda *_: path)
    return path


@pytest.mark.parametrize(
    "name, tag, kinds",
    [
        ("ViT-T", "openai", QUICK),
        ("ViT-T", "plain", PLAIN),
        ("ViT-T-quickgelu", "openai", QUICK),
    ],
)
def test_the_activation_is_the_tags(name, tag, kinds, registry):
    backbone = load_backbone(name, tag, device="cpu", precision="float32")
    assert activations(backbone) == kinds
    assert backbone.architecture["quick_gelu"] == (kinds is QUICK)


@pytest.mark.filterwarnings("ignore:ViT-T.*its tags differ in normalisation")
def test_a_file_does_not_tell_its_activation(registry):
    match = (
        r"differ in activation.*GELU is taken.*openai need QuickGELU: name the model ViT-T-quick"
    )
    with pytest.warns(UserWarning, match=match):
        backbone = load_backbone("ViT-T", registry, device="cpu", precision="float32")
    assert activations(backbone) == PLAIN


def test_every_tag_of_open_clip_has_the_activation_that_its_registry_states():
    """Of all models and tags, as open_clip itself resolves them."""
    from synthmed_clip.backbone.architecture import activated, read_architecture

    for name, tag in open_clip.list_pretrained():
        stated = open_clip.get_pretrained_cfg(name, tag)
        own = open_clip.get_model_config(name).get("quick_gelu", False)
        config = activated(read_architecture(name), name, tag, False)
        assert config.get("quick_gelu", False) == stated.get("quick_gelu", own), (name, tag)


def test_a_detector_is_of_its_architecture(configs, normals, tmp_path):
    """Weights of the same shapes in another architecture: other heads, another activation."""
    from synthmed_clip import Detector, NearestPatch, fit

    config = json.loads(configs["vit"].read_text())
    own = load_backbone(config, None, device="cpu", precision="float32")
    fit(normals, NearestPatch(), backbone=own).save(tmp_path / "d.safetensors")
    vision = config["vision_cfg"]
    for change, said in (
        ({"quick_gelu": False}, "quick_gelu was True, is False"),
        ({"vision_cfg": vision | {"head_width": 8}}, "head_width was 16, is 8"),
        ({"vision_cfg": vision | {"no_ln_pre": False, "mlp_ratio": 4.0}}, None),  # the defaults
    ):
        other = load_backbone(config | change, None, device="cpu", precision="float32")
        assert other.digest == own.digest
        if said is None:
            Detector.load(tmp_path / "d.safetensors", backbone=other)
        else:
            with pytest.raises(ValueError, match=f"fitted on another architecture.*{said}"):
                Detector.load(tmp_path / "d.safetensors", backbone=other)


@pytest.mark.parametrize("fault", ["int8", "NaN"])
def test_weights_that_are_no_weights_are_refused(fault, configs, tmp_path):
    state = random_clip(configs, "vit").state_dict()
    state["visual.proj"] = state["visual.proj"].clone()
    state["visual.proj"][0, 0] = float("nan")
    if fault == "int8":
        state["visual.proj"] = torch.ones_like(state["visual.proj"], dtype=torch.int8)
    save_file(state, tmp_path / "w.safetensors")
    match = {
        "int8": r"visual\.proj holds torch\.int8",
        "NaN": r"visual\.proj holds NaN or infinity",
    }
    with pytest.raises(ValueError, match=match[fault]):
        load_backbone(configs["vit"], tmp_path / "w.safetensors", device="cpu")
