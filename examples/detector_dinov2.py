"""Fit a detector on 16 normal breast ultrasound images with DINOv2 features, and evaluate it.

    python examples/detector_dinov2.py WEIGHTS DATA --seed 0

WEIGHTS is a copy of DINOv2 ViT-S/14's weights (safetensors or a `torch.save` of tensors, in timm's
names), DATA a folder in a layout that `synthmed-clip evaluate` reads, such as BUSI's.
The features are those of a real pretrained transformer; the text tower is random. With CLIP's own
weights, leave out `backbone` and `layers`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import synthmed_clip
from synthmed_clip.data import read_dataset
from synthmed_clip.evaluation import evaluate

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--recipe", default="paper", help="a preset of synthmed's")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    dataset = read_dataset(options.data)
    chosen = np.random.default_rng(options.seed).choice(
        len(dataset.train), options.shots, replace=False
    )
    backbone = synthmed_clip.load_backbone(
        Path(__file__).with_name("detector_dinov2_vits14.json"),
        options.weights,
        random_text=True,
        precision=options.precision,
    )
    detector = synthmed_clip.fit(
        [dataset.train[i] for i in sorted(chosen)],
        synthmed_clip.MediCLIP(layers=(4, 8, 12), recipe=options.recipe),
        backbone=backbone,
        rng=options.seed,
    )
    print(
        f"{options.data.name}, {options.shots} shots, seed {options.seed}, recipe {options.recipe}"
    )
    print(evaluate(detector, dataset.test))
