"""Small random models, and text towers of Hugging Face's kinds with their tokenizers; no weights
and no network.
"""

from __future__ import annotations

import json

import pytest

VISION = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8}
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SEQ2SEQ = {"d_model": 16, "decoder_layers": 1, "encoder_layers": 2, "encoder_attention_heads": 2}
TRANSFORMERS = {
    "bert": SMALL | {"pad_token_id": 0, "max_position_embeddings": 40},
    "roberta": SMALL | {"pad_token_id": 1, "max_position_embeddings": 48},
    "xlm-roberta": SMALL | {"pad_token_id": 1, "max_position_embeddings": 48},
    "mt5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "pad_token_id": 0,
    },
    "m2m_100": SEQ2SEQ
    | {
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 2,
        "pad_token_id": 1,
    },
}
HEADS = {
    "bert": {
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
    },  # BiomedCLIP's
    "roberta": {"hf_pooler_type": "mean_pooler"},
    "xlm-roberta": {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
    "mt5": {"hf_pooler_type": "mean_pooler"},
    "m2m_100": {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
}


def write_transformer(folder, kind):
    """A transformer's configuration and a tokenizer of single letters, as Hugging Face's folders
    have them.
    """
    reason = "Hugging Face's text towers need the extra `hf`"
    transformers, tokenizers = (
        pytest.importorskip(name, reason=reason) for name in ("transformers", "tokenizers")
    )
    letters = list("abcdefghijklmnopqrstuvwxyz.")
    names = (
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
        if kind == "bert"
        else ["<s>", "<pad>", "</s>", "<unk>"]
    )
    if kind == "mt5":
        names = ["<pad>", "</s>", "<unk>"]
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "bert":
        (folder / "vocab.txt").write_text(
            "\n".join(names + letters + [f"##{letter}" for letter in letters])
        )
        tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    else:
        vocabulary = {token: number for number, token in enumerate([*names, *letters, "Ġ"])}
        inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>" if kind == "mt5" else "<s> $A </s>",
            special_tokens=[(name, vocabulary[name]) for name in names],
        )
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
        )
    tokenizer.save_pretrained(folder)
    transformers.AutoConfig.for_model(kind, vocab_size=64, **TRANSFORMERS[kind]).save_pretrained(
        folder
    )
    return folder


def hf_config(kind, folder, **more):
    names = {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder), "context_length": 40}
    return {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": names | HEADS[kind] | more}


def random_clip(configs, name):
    """One of open_clip's own models, not as `load_backbone` would make it."""
    import open_clip
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return open_clip.CLIP(**json.loads(configs[name].read_text()))
