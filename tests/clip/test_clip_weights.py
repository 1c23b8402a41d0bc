"""Weights: where they are found, what is read of them, and what does not fit."""

from __future__ import annotations

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
