"""What the report shows, as JSON-ready data: figures, pictures, classes, support images,
settings.
"""

from __future__ import annotations

import base64
import io
import json
import platform
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from importlib import metadata

import cv2
import numpy as np
from PIL import Image

from synthmed import __version__
from synthmed.digests import digest_array
from synthmed_clip.data.duplicates import duplicates_between
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Dataset, Item, read_mask
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.curves import Curve, curves
from synthmed_clip.evaluation.evaluate import Evaluation
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.evaluation.pictures import heat_map
from synthmed_clip.methods.mediclip.assembly import precision_name
from synthmed_clip.methods.mediclip.settings import VARIANTS

_SIDE = 256  # of the largest picture embedded; a test set of some 750 stays below 15 MB
_MAP_SIDE = 56  # a map is smooth: it arises on the backbone's patches, 16 to 37 a side
_THUMBNAIL = 96
_MEDIA = "data:image/webp;base64,"


def report_data(
    detector: Detector, dataset: Dataset, evaluation: Evaluation, maps: np.ndarray
) -> dict:
    """Return all that the page shows as JSON-ready data. Parameters as `write_report`."""
    scores = np.array(evaluation.scores)
    abnormal = np.array([item.abnormal for item in dataset.test])
    kinds = _kinds(dataset.test)
    images, digests = _images(detector, dataset, scores, kinds, maps)
    settings = detector.settings
    shots = f", {len(settings.support)} support images" if settings.support else ""
    roc, pr = curves(scores, abnormal)
    return {
        "name": dataset.name,
        "folder": str(dataset.root),
        "detector": f"{settings.backbone}, {settings.variant}{shots}",
        "counts": {
            "normal": evaluation.normal,
            "abnormal": evaluation.abnormal,
            "masked": evaluation.masked,
            "train": len(dataset.train),
        },
        "warnings": _warnings(images, digests, dataset, settings.support),
        "metrics": {
            level: {name: asdict(interval) for name, interval in metrics.items()}
            for level, metrics in (("Image", evaluation.image), ("Pixel", evaluation.pixel))
        },
        "threshold": evaluation.threshold,
        "calibration": _calibration(detector),
        "curves": {"roc": _rounded(roc), "pr": _rounded(pr)},
        "classes": _classes(dataset.test, kinds, scores, abnormal),
        "support": _support(detector, dataset),
        "log": [asdict(epoch) for epoch in detector.log],
        "facts": _facts(detector),
        "recipe": json.dumps(settings.recipe, indent=1),
        "colours": heat_map(np.linspace(0, 1, 256)[None]).ravel().tolist(),
        "media": _MEDIA,
        "side": min(settings.image_size, _SIDE),
        "map_side": min(maps.shape[-1], _MAP_SIDE),
        "images": images,
    }


def _kinds(items: tuple[Item, ...]) -> list[str]:
    """Name every image's class; where one name stands for normal and abnormal images, tell them
    apart.
    """
    words = ["abnormal" if item.abnormal else "normal" for item in items]
    flags = defaultdict(set)
    for item in items:
        flags[item.kind].add(item.abnormal)
    return [
        (item.kind if len(flags[item.kind]) == 1 else f"{item.kind}, {word}") if item.kind else word
        for item, word in zip(items, words, strict=True)
    ]


def _images(
    detector: Detector, dataset: Dataset, scores: np.ndarray, kinds: list[str], maps: np.ndarray
) -> tuple[list[dict], list[str]]:
    """Return what the page shows of every test image, and the digests by which support images are
    known.
    """
    settings = detector.settings
    grey = VARIANTS[settings.variant].grey_test
    side, map_side = min(settings.image_size, _SIDE), min(maps.shape[-1], _MAP_SIDE)
    rows, digests = [], []
    for item, kind, score, found in zip(dataset.test, kinds, scores.tolist(), maps, strict=True):
        pixels = square(item.image, settings.image_size)[0]
        digests.append(digest_array(pixels))
        seen = pixels if grey else square(item.image, settings.image_size, grey=False)[0]
        levels = np.rint(found.clip(0, 1) * 255).astype(np.uint8)
        rows.append(
            {
                "name": dataset.relative(item.image),
                "kind": kind,
                "abnormal": item.abnormal,
                "score": score,
                "pixels": _webp(seen, side, quality=75),
                "map": _webp(levels, map_side, lossless=True),
                "outline": _outline(read_mask(item.mask, side, item.mask_level))
                if item.abnormal
                else "",
            }
        )
    return rows, digests


def _webp(pixels: np.ndarray, side: int, **options: object) -> str:
    image = Image.fromarray(pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return base64.b64encode(buffer.getvalue()).decode()


def _outline(mask: np.ndarray) -> str:
    """Return the mask's borders as an SVG path, one unit a pixel."""
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    paths = []
    for border in borders:
        points = (
            cv2.approxPolyDP(border, 0.6, True)[:, 0] + 0.5
        )  # OpenCV names a pixel's corner, we mean its middle
        paths.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z")
    return "".join(paths)


def _warnings(
    images: list[dict], digests: list[str], dataset: Dataset, support: tuple[str, ...]
) -> list[dict]:
    """Say where test images are support images, nearly training images, or one and the same."""
    names = defaultdict(list)
    for row, found in zip(images, digests, strict=True):
        names[found].append(row["name"])
    leaked = [name for found in dict.fromkeys(support) for name in names.get(found, ())]
    twins = [" = ".join(group) for group in names.values() if len(group) > 1]
    paths = {item.image: row["name"] for item, row in zip(dataset.test, images, strict=True)}
    near = [
        f"{paths[pair.second]} is nearly {dataset.relative(pair.first)} ({pair.correlation:.3f})"
        for pair in duplicates_between(dataset.train, list(paths))
        if paths[pair.second] not in leaked
    ]
    out = []
    if leaked:
        out.append(
            {
                "title": "Training and test images were not kept apart",
                "message": f"Of the test images, {len(leaked)} served as support when the "
                f"detector was fitted: the same "
                "pixels at its size. The figures below are not to be trusted.",
                "names": leaked,
                "grave": True,
            }
        )
    if near:
        out.append(
            {
                "title": "Some test images nearly repeat training images",
                "message": "They correlate by at least 0.99 at 48 x 48 pixels, and flatter the "
                "figures where their partner "
                "was a support image.",
                "names": near,
                "grave": False,
            }
        )
    if twins:
        out.append(
            {
                "title": "Some test images are the same picture",
                "message": "They are equal pixel for pixel at the detector's size and count more "
                "than once.",
                "names": twins,
                "grave": False,
            }
        )
    return out


def _calibration(detector: Detector) -> str:
    if not detector.settings.support and not detector.settings.epochs:
        meaning = (
            "The detector was imported from a checkpoint that has no threshold; this one "
            "was not calibrated."
        )
    else:
        meaning = (
            "A detector comes calibrated to the score that best separates (balanced accuracy) "
            "its support images from "
            "fresh synthetic anomalies on them. It has seen no real anomaly, and normal images "
            "that were not in the "
            "support set score somewhat higher: treat it as a start, and set your own from "
            "validation data."
        )
    return (
        f"{meaning} A threshold that is chosen here is fitted to the test set: its "
        f"figures are too good."
    )


def _rounded(curve: Curve) -> dict:
    return {name: np.round(values, 4).tolist() for name, values in asdict(curve).items()}


def _classes(
    items: tuple[Item, ...], kinds: list[str], scores: np.ndarray, abnormal: np.ndarray
) -> list[dict]:
    """Count every class, normal ones first, and tell abnormal ones from all normal images."""
    named = np.array(kinds)
    out = []
    for is_abnormal, kind in sorted(set(zip(abnormal.tolist(), kinds, strict=True))):
        members = named == kind
        chosen = members | ~abnormal
        metrics = image_metrics(scores[chosen], abnormal[chosen]) if is_abnormal else {}
        out.append(
            {
                "kind": kind,
                "abnormal": is_abnormal,
                "count": int(members.sum()),
                "masked": sum(items[i].mask is not None for i in np.flatnonzero(members)),
                "auroc": asdict(metrics["AUROC"]) if metrics else None,
            }
        )
    return out


def _support(detector: Detector, dataset: Dataset) -> dict:
    """Find the support images among the training images, by digest."""
    settings = detector.settings
    wanted, total = set(settings.support), len(settings.support)
    images = []
    for path in dataset.train:
        if not wanted:
            break
        pixels = square(path, settings.image_size)[0]
        if (found := digest_array(pixels)) in wanted:
            wanted.remove(found)
            images.append(
                {"name": path.name, "source": _MEDIA + _webp(pixels, _THUMBNAIL, quality=75)}
            )
    if not total:
        note = "The detector does not say which images it was fitted on."
    elif not wanted:
        note = (
            f"The detector was fitted on {total}, all among the training images of this data set."
        )
    else:
        note = (
            f"The detector was fitted on {total}; {len(wanted)} of them are not among the "
            f"training images of this data set "
            "and cannot be shown (the detector keeps only their digests)."
        )
    return {"note": note, "images": images}


def _epochs(detector: Detector) -> str:
    """How many, and which one was kept where a validation set chose it."""
    total = str(detector.settings.epochs)
    if detector.settings.validation is None:
        return total
    best = max(detector.log, key=lambda epoch: epoch.validation or 0)
    return (
        f"{total}; the {best.number}. was kept, Image-AUROC {best.validation:.4f} on the "
        f"validation set"
    )


def _facts(detector: Detector) -> dict[str, list[tuple[str, str]]]:
    """Return settings and versions as tables of names and values."""
    settings, backbone = detector.settings, detector.backbone
    packages = ("torch", "open_clip_torch", "timm", "numpy")
    return {
        "Detector": [
            ("Variant", settings.variant),
            ("Backbone", settings.backbone),
            ("Weights", settings.weights or "random"),
            ("SHA-256 of weights", backbone.digest),
            ("Text tower", "random" if settings.random_text else "pretrained"),
            ("Image size", f"{settings.image_size} px"),
            ("Layers", ", ".join(map(str, settings.layers))),
            ("Adapters", "learnt" if settings.adapters else "none, channels pooled"),
            ("Words", "; ".join(", ".join(group) for group in settings.words)),
            ("Context tokens", str(settings.tokens)),
            ("Temperature", f"{settings.temperature:g}"),
        ],
        "Fit and evaluation": [
            ("Epochs", _epochs(detector)),
            ("Batch size", str(settings.batch_size)),
            ("Learning rate", f"{settings.lr:g}"),
            ("Adam's betas", ", ".join(f"{beta:g}" for beta in settings.betas)),
            ("Seed (entropy)", ", ".join(map(str, settings.entropy)) or "unknown"),
            (
                "Precision",
                f"fitted in {settings.precision}, evaluated in {precision_name(backbone)}",
            ),
            ("Device", str(backbone.device)),
            ("synthmed", __version__),
            ("Python", platform.python_version()),
            *((name, metadata.version(name)) for name in packages),
            ("Written", datetime.now().astimezone().isoformat(" ", "minutes")),
        ],
    }
