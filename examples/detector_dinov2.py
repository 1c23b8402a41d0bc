"""Fit a detector on 16 normal breast ultrasound images with DINOv2 features, and evaluate it.

    python examples/detector_dinov2.py WEIGHTS DATA --seed 0
    python examples/detector_dinov2.py WEIGHTS DATA --method mediclip --values '{"average": 0.995}'
    python examples/detector_dinov2.py WEIGHTS DATA --method nearest-patch --values '{"pool": 0.01}'

WEIGHTS is a copy of DINOv2 ViT-S/14's weights (safetensors or a `torch.save` of tensors, in timm's
names), DATA a folder in a layout that `synthmed-clip evaluate` reads, such as BUSI's.
The features are those of a real pretrained transformer; the text tower is random. With CLIP's own
weights, leave out `backbone` and `layers`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import synthmed_clip
from synthmed_clip.data.layouts import read_dataset
from synthmed_clip.evaluation import evaluate

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--method", default="mediclip", help="its name")
    parser.add_argument("--values", type=json.loads, default={}, help="its hyperparameters, JSON")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    dataset = read_dataset(options.data)
    chosen = np.random.default_rng(options.seed).choice(
        len(dataset.train), options.shots, replace=False
    )
    values = {"layers": [4, 8, 12]} if options.method == "mediclip" else {}
    method = synthmed_clip.Method.named(options.method).from_dict(values | options.values)
    backbone = synthmed_clip.load_backbone(
        Path(__file__).with_name("detector_dinov2_vits14.json"),
        options.weights,
        random_text=True,
        precision=options.precision,
    )
    support = [dataset.train[i] for i in sorted(chosen)]
    detector = synthmed_clip.fit(support, method, backbone=backbone, rng=options.seed)
    print(f"{options.data.name}, {options.shots} shots, seed {options.seed}, {method}")
    print(evaluate(detector, dataset.test))
