"""One self-contained HTML page on how a detector does on a data set."""

from __future__ import annotations

import html
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np

from synthmed_clip.data.layouts import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import Evaluation
from synthmed_clip.files import write_text
from synthmed_clip.report.data import report_data

_SCRIPTS = ("plots.js", "gallery.js", "script.js")


def write_report(
    path: str | Path,
    detector: Detector,
    dataset: Dataset,
    evaluation: Evaluation,
    maps: np.ndarray,
) -> None:
    """Write a page that shows figures, curves, every test image, and where the detector comes from.

    It needs no network and no other file, and is either whole or as it was.

    Parameters
    ----------
    path : str or Path
    detector : Detector
    dataset : Dataset
    evaluation : Evaluation
        Of the detector on `dataset.test`, as `evaluate_maps` gives it.
    maps : ndarray
        `(N, S, S)` float32 in [0, 1], in the order of `dataset.test`.

    Raises
    ------
    ValueError
        If evaluation and maps are not of as many images as the data set tests with.
    """
    if not len(dataset.test) == len(evaluation.scores) == len(maps):
        raise ValueError(
            f"{len(dataset.test)} test images, but {len(evaluation.scores)} scores and "
            f"{len(maps)} maps: "
            "they must belong together"
        )
    page = _page(report_data(detector, dataset, evaluation, maps), str(evaluation))
    write_text(Path(path), page)


def _page(data: dict, summary: str) -> str:
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
