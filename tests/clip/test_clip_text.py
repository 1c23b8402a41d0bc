"""Learnable prompts in the text towers of CoCa and of Hugging Face: what the model itself computes
for plain texts.
"""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
open_clip = pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from small_towers import TRANSFORMERS, VISION, hf_config, write_transformer  # noqa: E402

from synthmed_clip import Detector, ZeroShot, load_backbone  # noqa: E402
from synthmed_clip.backbone.open_clip_internals.towers import build, take_text_tower  # noqa: E402
from synthmed_clip.methods.mediclip.prompts import class_features, embed_prompts  # noqa: E402

WORDS = (("healthy",), ("disease", "a lesion seen"))
PLAIN = [f"{word}." for group in WORDS for word in group]
COCA = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": VISION
    | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {
        "context_length": 76,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    }
    | {"attn_pooler_heads": 2},
}


@pytest.fixture(scope="module", params=["coca", "coca-roberta", *TRANSFORMERS])
def model(request, tmp_path_factory):
    """Configuration, weights' file, and the net itself with its `encode` of plain texts."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "coca":
        config, tokenize = COCA, open_clip.SimpleTokenizer(context_length=76)
    else:
        kind = request.param.removeprefix("coca-")
        config = hf_config(kind, write_transformer(folder / "hf", kind))
        if kind != request.param:
            config["text_cfg"] |= {"output_tokens": True}
            config = COCA | {"text_cfg": config["text_cfg"]}
        tokenize = open_clip.tokenizer.HFTokenizer(folder / "hf", context_length=40)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        net = build(config, None).eval().requires_grad_(False)
        if request.param.startswith("coca"):  # open_clip leaves this one as memory was
            net.text_decoder.text_projection.zero_()
        for parameter in (
            net.parameters()
        ):  # fresh biases and class tokens are zero or tiny, which would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.1)
    state = {name: tensor.contiguous().clone() for name, tensor in net.state_dict().items()}
    save_file(state, folder / "weights.safetensors")

    def encode(texts, net=net):
        return net.encode_text(tokenize(texts), normalize=False).float()

    return config, folder / "weights.safetensors", net, encode


def classes_of(features):
    groups = features.split([len(group) for group in WORDS])
    return torch.stack([torch.nn.functional.normalize(group.mean(0), dim=0) for group in groups])


def spelled_out(text, prefix):
    """The context that stands for words: their token embeddings."""
    ids = text.tokenizer.tokenize([prefix + plain for plain in PLAIN])
    tokens = int((text.ends(ids) - text.ends(text.tokenizer.tokenize(PLAIN)))[0])
    return text.token_embedding(
        ids[:, text.tokenizer.start : text.tokenizer.start + tokens]
    ).detach()


@pytest.mark.parametrize("truncate", [True, False])
def test_a_prompt_is_what_the_model_computes_for_the_text(model, truncate):
    config, weights, _, encode = model
    text = load_backbone(config, weights, device="cpu", precision="float32").text
    prompts = embed_prompts(text, WORDS, 0, truncate=truncate)
    found = class_features(text, prompts, torch.empty(3, 0, text.width))
    torch.testing.assert_close(found, classes_of(encode(PLAIN)), atol=2e-6, rtol=0)

    context = spelled_out(text, "old scan of ").requires_grad_()
    prompts = embed_prompts(text, WORDS, context.shape[1], truncate=truncate)
    found = class_features(text, prompts, context)
    expected = classes_of(encode([f"old scan of {plain}" for plain in PLAIN]))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    assert not torch.allclose(found, classes_of(encode(PLAIN)), atol=1e-3)

    (found[0] @ found[1]).backward()
    assert (context.grad.abs().amax((1, 2)) > 0).all() and context.grad.isfinite().all()
    assert not any(p.requires_grad for p in text.transformer.parameters())


def test_bfloat16_is_the_models_own(model):
    config, weights, net, encode = model
    backbone = load_backbone(config, weights, device="cpu", precision="bfloat16")
    found = class_features(
        backbone.text,
        embed_prompts(backbone.text, WORDS, 0),
        torch.empty(3, 0, backbone.text.width),
    )
    exact = classes_of(encode(PLAIN))
    rounded = classes_of(encode(PLAIN, build_copy(config, net).to(torch.bfloat16)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, exact, atol=max(4 * float((rounded - exact).abs().max()), 1e-2), rtol=0
    )


def build_copy(config, net):
    copy = build(config, None).eval().requires_grad_(False)
    copy.load_state_dict(net.state_dict())
    return copy


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_fits_predicts_saves_and_loads(model, variant, normals, tmp_path):
    config, weights, _, _ = model
    backbone = load_backbone(config, weights, device="cpu", precision="float32")
    words = WORDS if variant == "release" else None
    options = {
        "variant": variant,
        "normal_words": words and words[0],
        "abnormal_words": words and words[1],
        "tokens": 3,
        "epochs": 2,
    }
    detector = fit_mediclip(normals, backbone, **options)
    again = fit_mediclip(normals, backbone, **options)
    assert detector.fitted.digest() == again.fitted.digest()
    detector.save(tmp_path / "d.safetensors")
    loaded = Detector.load(tmp_path / "d.safetensors", device="cpu", precision="float32")
    maps = detector.score(normals[:2]).maps
    assert maps.isfinite().all() and maps.min() < maps.max()
    assert torch.equal(loaded.score(normals[:2]).maps, maps)
    pixels = torch.zeros(1, 1, 32, 32)
    assert ZeroShot(*WORDS).fit(pixels, backbone).score(pixels).scores.isfinite().all()


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("length", [24, 76])
@pytest.mark.parametrize("causal", [True, False])
def test_class_token_sees_what_open_clip_shows_it(corrected, length, causal):
    """Also where a prompt fills all positions, so that the class token sees itself."""
    text_config = COCA["text_cfg"] | {"context_length": length, "no_causal_mask": not causal}
    torch.manual_seed(1)
    net = open_clip.model._build_text_tower(24, text_config).eval().requires_grad_(False)
    net.correct_cls_mask = corrected
    net.cls_emb.normal_()
    net.positional_embedding.normal_()
    text = take_text_tower(net, "small", text_config)
    prefix = "scan " * (
        length - 7 if length == 24 else 3
    )  # 7: start, a, les, ion, seen, full stop, end
    context = spelled_out(text, prefix)
    expected = classes_of(net(text.tokenizer.tokenize([prefix + plain for plain in PLAIN]))[0])
    for truncate in (True, False):
        prompts = embed_prompts(text, WORDS, context.shape[1], truncate=truncate)
        assert prompts.embedded.shape[1] == (
            min(context.shape[1] + 9, length + 1) if truncate else length + 1
        )
        torch.testing.assert_close(
            class_features(text, prompts, context), expected, atol=2e-6, rtol=0
        )


def test_without_the_causal_mask_a_class_token_still_sees_no_padding():
    torch.manual_seed(1)
    text = take_text_tower(build(COCA, None), "small", COCA["text_cfg"])
    context = torch.randn(3, 2, 16)
    found = [
        class_features(text, embed_prompts(text, WORDS, 2, causal, truncate), context)
        for causal, truncate in ((False, False), (False, True), (True, True))
    ]
    torch.testing.assert_close(found[0], found[1], atol=2e-6, rtol=0)
    assert not torch.allclose(found[1], found[2], atol=1e-3)


def test_a_class_token_after_the_padding_stays_the_last(tmp_path):
    """CLIPS: its tokenizer ends every text with it."""
    folder = write_transformer(tmp_path, "bert")
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = {"bos_token": "[UNK]", "eos_token": "[SEP]", "cls_token": "[CLS]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config | tokens))
    text_config = {
        "context_length": 40,
        "vocab_size": 64,
        "width": 16,
        "heads": 2,
        "layers": 2,
        "pool_type": "last",
    }
    text_config |= {"hf_tokenizer_name": str(folder), "tokenizer_mode": "clips"}
    torch.manual_seed(1)
    net = open_clip.model._build_text_tower(24, text_config).eval().requires_grad_(False)
    text = take_text_tower(net, "small", text_config)
    ids = text.tokenizer.tokenize(["old scan of a lesion seen."])
    assert ids[0, -1] == 1 and ids[0, -2] == 0
    context = spelled_out(text, "old scan of ")
    found = class_features(text, embed_prompts(text, WORDS, context.shape[1]), context)
    expected = classes_of(net(text.tokenizer.tokenize([f"old scan of {plain}" for plain in PLAIN])))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_prompts_that_do_not_fit_are_refused(tmp_path):
    text = take_text_tower(build(COCA, None), "small", COCA["text_cfg"])
    with pytest.raises(ValueError, match="need 77 positions; the text tower has 76"):
        embed_prompts(text, WORDS, 70)
    config = hf_config("bert", write_transformer(tmp_path, "bert"))
    text = load_backbone(config, None, device="cpu", precision="float32").text
    with pytest.raises(ValueError, match="need 41 positions; the text tower has 40"):
        embed_prompts(text, WORDS, 27)
