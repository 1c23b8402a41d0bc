"""Models as the hub has them: folders, names, tokenizers and transformers, with and without a
network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402
from small_towers import hf_config, write_transformer  # noqa: E402

from synthmed_clip import Detector, load_backbone  # noqa: E402
from synthmed_clip.backbone import hub  # noqa: E402
from synthmed_clip.backbone.open_clip_internals.towers import build  # noqa: E402


def test_missing_transformers_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError,
        match=r"'roberta-ViT-B-32' needs transformers: pip install 'synthmed\[hf\]'",
    ):
        load_backbone("roberta-ViT-B-32", None)


def test_a_tokenizer_with_code_of_its_own_is_refused(tmp_path):
    config = hf_config(
        "bert", write_transformer(tmp_path, "bert"), tokenizer_kwargs={"trust_remote_code": True}
    )
    with pytest.raises(ValueError, match="code of its own"):
        load_backbone(config, None)


def hub_model(folder, hf_model="org/transformer", hf_tokenizer="org/transformer"):
    """A folder as BiomedCLIP's on the hub: timm's tower, BERT, a pickled state dict with position
    ids in it.
    """
    config = hf_config("bert", hf_model, hf_tokenizer_name=hf_tokenizer)
    config["vision_cfg"] = {
        "timm_model_name": "test_vit",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 48,
    }
    transformer = write_transformer(folder.parent / "elsewhere", "bert")
    torch.manual_seed(5)
    names = {"hf_model_name": str(transformer), "hf_tokenizer_name": str(transformer)}
    net = build(config | {"text_cfg": config["text_cfg"] | names}, None)
    folder.mkdir(parents=True, exist_ok=True)
    position_ids = {"text.transformer.embeddings.position_ids": torch.arange(40)[None]}
    torch.save(net.state_dict() | position_ids, folder / "open_clip_pytorch_model.bin")
    whole = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    return transformer, net


def test_a_folder_from_the_hub_is_loaded_with_its_normalisation_and_tokenizer(
    normals, tmp_path, monkeypatch
):
    folder = tmp_path / "BiomedCLIP"
    transformer, net = hub_model(folder)
    for path in transformer.iterdir():
        path.rename(folder / path.name)
    config, weights = folder / "open_clip_config.json", folder / "open_clip_pytorch_model.bin"
    for arguments in ((config, weights), (folder,), (str(folder),), (f"local-dir:{folder}",)):
        backbone = load_backbone(*arguments, device="cpu", precision="float32")
        assert backbone.offset.flatten().tolist() == [-2, -2, -2] and backbone.name == "BiomedCLIP"
        assert torch.equal(backbone.text.projection[0].weight, net.text.proj[0].weight)
    detector = fit_mediclip(normals, backbone, epochs=1)
    detector.save(tmp_path / "d.safetensors")
    monkeypatch.chdir("/")
    loaded = Detector.load(tmp_path / "d.safetensors", device="cpu", precision="float32")
    assert torch.equal(loaded.score(normals[:1]).maps, detector.score(normals[:1]).maps)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights in .*open_clip_pytorch_model.bin"):
        load_backbone(folder)


def test_a_transformers_folder_is_found_from_the_configuration(tmp_path):
    write_transformer(tmp_path / "inner", "bert")
    (tmp_path / "small.json").write_text(json.dumps(hf_config("bert", "inner")))
    backbone = load_backbone(tmp_path / "small.json", None, device="cpu", precision="float32")
    assert backbone.config["text_cfg"]["hf_model_name"] == str(tmp_path / "inner")


def test_models_of_the_hub_come_from_its_cache_or_are_said_to_be_missing(tmp_path):
    """In a process of its own: an address that never answers, and a cache that fills step
    by step.
    """
    hub_folder = tmp_path / "hub"

    def snapshot(repository):
        root = hub_folder / f"models--{repository.replace('/', '--')}"
        for name in ("refs", "snapshots"):
            (root / name).mkdir(parents=True)
        (root / "refs" / "main").write_text("abc")
        return root / "snapshots" / "abc"

    def load():
        code = """
import synthmed_clip
try:
    backbone = synthmed_clip.load_backbone("hf-hub:org/model", device="cpu", precision="float32")
    print("loaded", backbone.weights, backbone.config, backbone.offset.flatten().tolist())
except FileNotFoundError as error:
    print(error)
"""
        environment = os.environ | {
            "HF_HOME": str(tmp_path),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "no_proxy": "*",
        }
        environment.pop("HF_HUB_CACHE", None)
        command = [sys.executable, "-W", "ignore", "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=True
        ).stdout

    said = load()
    assert (
        "open_clip_config.json of 'org/model' is not on this machine" in said
        and str(hub_folder) in said
    )
    assert "load_backbone('folder/open_clip_config.json'" in said
    folder = snapshot("org/model")
    transformer, _ = hub_model(folder)
    (folder / "open_clip_pytorch_model.bin").rename(tmp_path / "kept")
    said = load()
    assert "the weights 'hf-hub:org/model' of 'hf-hub:org/model' are not on this machine" in said
    (tmp_path / "kept").rename(folder / "open_clip_pytorch_model.bin")
    said = load()
    assert (
        "config.json of 'org/transformer' is not on this machine" in said
        and "set 'hf_model_name' in text_cfg" in said
    )
    transformer.rename(snapshot("org/transformer"))
    assert load().startswith("loaded hf-hub:org/model None [-2.0, -2.0, -2.0]")
