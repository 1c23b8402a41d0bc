"""One self-contained HTML page on how a detector does on a data set."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthmed_clip.data.layouts import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import Evaluation
from synthmed_clip.files import write_text
from synthmed_clip.methods.base import Scores
from synthmed_clip.report.data import report_data

if TYPE_CHECKING:  # needs the extra `testing`
    from synthmed.testing import ScoreShift

_SCRIPTS = ("scale.js", "plots.js", "maps.js", "gallery.js", "viewer.js", "address.js", "script.js")


def write_report(
    path: str | Path,
    detector: Detector,
    dataset: Dataset,
    evaluation: Evaluation,
    scores: Scores,
    shifts: Sequence[ScoreShift] = (),
) -> None:
    """Write a page that shows figures, curves, every test image, and where the detector comes from.

    It needs no network and no other file, and is either whole or as it was.

    Parameters
    ----------
    path : str or Path
    detector : Detector
    dataset : Dataset
    evaluation : Evaluation
        Of the detector on `dataset.test`, as `evaluate_scores` gives it.
    scores : Scores
        Of `dataset.test`, in its order, as `Detector.score` gives them.
    shifts : sequence of ScoreShift
        As `synthmed_clip.evaluation.robustness` gives them; without them the page says nothing of
        robustness.

    Raises
    ------
    ValueError
        If evaluation and scores are not of as many images as the data set tests with, a score is
        not finite, a map holds NaN or infinity, or all images are of one kind.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from synthmed_clip import NearestPatch, fit
    >>> from synthmed_clip.data import read_dataset
    >>> from synthmed_clip.evaluation import evaluate_scores
    >>> detector = fit(scans[:2], NearestPatch(), backbone=backbone)
    >>> with TemporaryDirectory() as folder:
    ...     for kind, pixels in (("normal", scans[2]), ("abnormal", 255 - scans[3])):
    ...         Path(folder, kind).mkdir()
    ...         Image.fromarray(pixels).save(Path(folder, kind, "scan.png"))
    ...     dataset = read_dataset(folder)
    ...     scores = detector.score([item.image for item in dataset.test])
    ...     evaluation = evaluate_scores(scores, dataset.test, detector.threshold)
    ...     write_report(Path(folder, "page.html"), detector, dataset, evaluation, scores)
    ...     Path(folder, "page.html").read_text()[:15]
    '<!doctype html>'
    """
    counts = len(dataset.test), len(evaluation.scores), len(scores.maps)
    if len(set(counts)) > 1:
        raise ValueError(
            f"{counts[0]} test images, but {counts[1]} scores and {counts[2]} maps: they must "
            f"belong together"
        )
    if not evaluation.image:
        raise ValueError("a report compares normal with abnormal images; all are of one kind")
    maps = scores.maps.numpy()
    for item, score, found in zip(dataset.test, evaluation.scores, maps, strict=True):
        if not np.isfinite(score) or not np.isfinite(found).all():
            raise ValueError(
                f"scores must be finite, and maps too; those of {item.image} are not "
                f"(score {score})"
            )
    page = _page(report_data(detector, dataset, evaluation, maps, shifts), str(evaluation))
    write_text(Path(path), page)


def _page(data: dict[str, object], summary: str) -> str:
    """Put style, scripts and data into the template, in one pass: what is put in is not searched
    again.
    """
    files = resources.files("synthmed_clip.report") / "assets"

    def read(name: str) -> str:
        return (files / name).read_text(encoding="utf-8").strip()

    # Within a script element only `<` could end it or hide its end. All else is ASCII, odd file
    # names included.
    embedded = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "style": read("style.css"),
        "script": "\n\n".join(map(read, _SCRIPTS)),
        "summary": html.escape(summary),
        "data": embedded,
    }
    return re.sub(r"<!--(\w+)-->", lambda found: parts[found[1]], read("template.html")) + "\n"
