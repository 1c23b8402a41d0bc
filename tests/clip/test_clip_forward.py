"""The forward map, the loss and their gradients against an independent float64 reference."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
open_clip = pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed_clip import load_backbone  # noqa: E402
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.methods.maps import resize  # noqa: E402
from synthmed_clip.methods.mediclip.head import Head, anomaly_map  # noqa: E402
from synthmed_clip.methods.mediclip.prompts import class_features, embed_prompts  # noqa: E402
from synthmed_clip.methods.mediclip.settings import PAPER_WORDS, RELEASE_WORDS  # noqa: E402
from synthmed_clip.training.losses import dice_loss, focal_loss  # noqa: E402

TOLERANCE = 1e-5


class Reference:
    """docs/method.md in float64, one image, one word and one layer at a time, on the weights of an
    open_clip CLIP.
    """

    def __init__(self, config: dict, variant: str, tokens: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = open_clip.CLIP(**config).double().eval()
        self.variant, self.tokens = variant, tokens
        self.words = PAPER_WORDS if variant == "paper" else RELEASE_WORDS
        self.size = config["vision_cfg"]["image_size"]
        self.layers = (2, 3, 4)

    def block(self, block, x, mask):
        """One pre-norm transformer block on (positions, width)."""
        heads = block.attn.num_heads
        q, k, v = (block.ln_1(x) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(
            3, -1
        )
        out = []
        for h in range(heads):
            part = slice(h * q.shape[1] // heads, (h + 1) * q.shape[1] // heads)
            logits = q[:, part] @ k[:, part].T / math.sqrt(q.shape[1] // heads)
            out.append(torch.softmax(logits + mask, -1) @ v[:, part])
        x = x + torch.cat(out, -1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        hidden = block.ln_2(x) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
        hidden = hidden * torch.sigmoid(1.702 * hidden)  # QuickGELU
        return x + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias

    def patches(self, image):
        """Patch tokens after the chosen blocks of one (S, S) uint8 image."""
        visual, side = self.net.visual, self.net.visual.conv1.weight.shape[-1]
        mean, std = (
            np.array(v) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        )
        rgb = torch.tensor((image[None] / 255.0 - mean[:, None, None]) / std[:, None, None])
        kernel = visual.conv1.weight.reshape(visual.conv1.weight.shape[0], -1)
        tokens = [
            kernel @ rgb[:, y : y + side, x : x + side].reshape(-1)
            for y in range(0, self.size, side)
            for x in range(0, self.size, side)
        ]
        x = torch.stack([visual.class_embedding, *tokens]) + visual.positional_embedding
        x = visual.ln_pre(x)
        out = []
        for number, block in enumerate(visual.transformer.resblocks, 1):
            x = self.block(block, x, 0.0)
            if number in self.layers:
                out.append(x[1:])
        return out

    def word(self, word, context):
        """The text feature of one prompt, all 77 positions."""
        net = self.net
        tokenizer = open_clip.SimpleTokenizer()
        ids = [
            tokenizer.sot_token_id,
            *[-1] * self.tokens,
            *tokenizer.encode(f"{word}."),
            tokenizer.eot_token_id,
        ]
        end = len(ids) - 1
        ids += [0] * (77 - len(ids))
        rows = [
            context[i - 1] if token == -1 else net.token_embedding.weight[token]
            for i, token in enumerate(ids)
        ]
        x = torch.stack(rows) + net.positional_embedding
        mask = (
            torch.full((77, 77), -math.inf, dtype=torch.float64).triu(1)
            if self.variant == "paper"
            else 0.0
        )
        for block in net.transformer.resblocks:
            x = self.block(block, x, mask)
        return net.ln_final(x)[end] @ net.text_projection

    def upsample(self, grid):
        """Bilinear, corners on corners, pixel by pixel."""
        n, out = grid.shape[0], []
        for i in range(self.size):
            for j in range(self.size):
                y, x = i * (n - 1) / (self.size - 1), j * (n - 1) / (self.size - 1)
                top, left = min(int(y), n - 2), min(int(x), n - 2)
                a, b = y - top, x - left
                out.append(
                    (1 - a) * ((1 - b) * grid[top, left] + b * grid[top, left + 1])
                    + a * ((1 - b) * grid[top + 1, left] + b * grid[top + 1, left + 1])
                )
        return torch.stack(out).reshape(self.size, self.size)

    def map(self, image, head, temperature=0.07):
        """Both channels of the anomaly map, (2, S, S)."""
        features = []
        for words, contexts in zip(self.words, (head["normal"], head["abnormal"]), strict=True):
            mean = sum(self.word(w, c) for w, c in zip(words, contexts, strict=True)) / len(words)
            features.append(mean / mean.norm())
        similarities = []
        for tokens, weight, bias in zip(
            self.patches(image), head["weights"], head["biases"], strict=True
        ):
            z = tokens @ weight.T + bias
            z = z / z.norm(dim=1, keepdim=True)
            n = math.isqrt(len(z))
            similarities.append([(z @ f).reshape(n, n) for f in features])
        if self.variant == "paper":
            layers = []
            for pair in similarities:
                e = [torch.exp(s / temperature) for s in pair]
                layers.append(torch.stack([self.upsample(e[c] / (e[0] + e[1])) for c in (0, 1)]))
            return sum(layers) / len(layers)
        means = [self.upsample(sum(pair[c] for pair in similarities) / 3) for c in (0, 1)]
        return torch.softmax(torch.stack(means), 0)

    def loss(self, maps, masks):
        """Focal plus Dice of (B, 2, S, S) maps."""
        one_hot = torch.stack([1 - masks, masks], 1).clamp(1e-5, 1 - 1e-5)
        p_t = (one_hot * maps).sum(1) + 1e-5
        focal = (-((1 - p_t) ** 2) * torch.log(p_t)).mean()
        dice = 0
        for p, y in zip(maps[:, 1], masks, strict=True):
            dice = dice + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        return focal + dice / len(masks)


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_map_loss_and_gradients_agree_with_the_reference(variant, configs, backbone):
    reference = Reference(json.loads(configs["vit"].read_text()), variant, tokens=3)
    for ours, theirs in zip(
        backbone.visual.parameters(), reference.net.visual.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs.float())  # the same random weights
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    masks = torch.tensor(rng.random((2, 32, 32)) < 0.3)
    head = Head([32, 32, 32], 24, tuple(len(w) for w in reference.words), 3, 16, seed=5)
    prompts = embed_prompts(backbone.text, reference.words, 3, causal=variant == "paper")
    classes = class_features(backbone.text, prompts, head.context)
    found = anomaly_map(
        head,
        backbone.features(to_pixels(images), (2, 3, 4)),
        classes,
        size=32,
        temperature=0.07 if variant == "paper" else 1.0,
        softmax_first=variant == "paper",
    )
    loss = focal_loss(found, masks) + dice_loss(found, masks)
    loss.backward()

    leaves = {name: p.detach().double().requires_grad_() for name, p in head.named_parameters()}
    parts = {
        "normal": leaves["context_normal"],
        "abnormal": leaves["context_abnormal"],
        "weights": [leaves[f"adapters.{i}.weight"] for i in range(3)],
        "biases": [leaves[f"adapters.{i}.bias"] for i in range(3)],
    }
    expected = torch.stack([reference.map(image, parts) for image in images])
    expected_loss = reference.loss(expected, masks.double())
    expected_loss.backward()

    torch.testing.assert_close(found.double(), expected[:, 1], atol=TOLERANCE, rtol=0)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=TOLERANCE)
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(
            parameter.grad.double(), leaves[name].grad, atol=TOLERANCE, rtol=TOLERANCE, msg=name
        )


@pytest.mark.parametrize("name", ["vit", "custom"])
def test_cutting_the_text_to_the_longest_prompt_changes_nothing(name, configs):
    text = load_backbone(configs[name], None, device="cpu", precision="float32").text
    context = torch.randn(3, 5, text.width, generator=torch.Generator().manual_seed(0))
    short = embed_prompts(text, PAPER_WORDS, 5)
    long = embed_prompts(text, PAPER_WORDS, 5, truncate=False)
    assert short.embedded.shape[1] == 9 and long.embedded.shape[1] == 77
    out = []
    for prompts in (short, long):
        leaf = context.clone().requires_grad_()
        features = class_features(text, prompts, leaf)
        (features[0] @ features[1]).backward()
        out.append((features.detach(), leaf.grad))
    torch.testing.assert_close(out[0], out[1], atol=1e-6, rtol=0)


def test_the_release_reads_all_positions(backbone):
    prompts = embed_prompts(backbone.text, RELEASE_WORDS, 8, causal=False)
    assert prompts.embedded.shape == (21, 77, 16) and prompts.mask is None
    context = torch.zeros(21, 8, 16)
    before = class_features(backbone.text, prompts, context)
    prompts.embedded[:, 76, 0] += 1  # padding matters where nothing masks it
    assert not torch.allclose(before, class_features(backbone.text, prompts, context))


def test_without_context_a_prompt_is_open_clips_own(configs, backbone):
    prompts = embed_prompts(backbone.text, (("healthy",), ("disease", "a lesion")), 0)
    found = class_features(backbone.text, prompts, torch.empty(3, 0, 16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = open_clip.CLIP(**json.loads(configs["vit"].read_text())).eval()
    with torch.no_grad():
        one = net.encode_text(open_clip.tokenize(["healthy."]))[0]
        two = net.encode_text(open_clip.tokenize(["disease.", "a lesion."])).mean(0)
    expected = torch.stack([one / one.norm(), two / two.norm()])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_prompts_that_do_not_fit_are_refused(backbone):
    with pytest.raises(ValueError, match="need 80 positions; the text tower has 77"):
        embed_prompts(backbone.text, PAPER_WORDS, 76)
    with pytest.raises(ValueError, match="non-empty"):
        embed_prompts(backbone.text, (("normal",), ()), 8)


@pytest.mark.parametrize("shape", [(4, 4), (2, 7), (1, 1)])
def test_resize_is_torchs_with_aligned_corners(shape):
    maps = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        maps[:, None], (9, 11), mode="bilinear", align_corners=True
    )[:, 0]
    torch.testing.assert_close(resize(maps, (9, 11)), expected, atol=1e-6, rtol=0)


def test_context_starts_small_and_adapters_within_their_bound():
    head = Head([64], 32, (20, 30), 8, 100, seed=1)
    assert head.context.std().item() == pytest.approx(0.02, rel=0.02)
    assert head.adapters[0].weight.abs().max().item() <= 1 / 8
    assert torch.equal(head.context, Head([64], 32, (20, 30), 8, 100, seed=1).context)
