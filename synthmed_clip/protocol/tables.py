"""The protocol's results as tables, plots and plain sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from synthmed_clip.evaluation.comparison import delong
from synthmed_clip.evaluation.pictures import save_figure
from synthmed_clip.files import write_csv, write_text
from synthmed_clip.protocol.results import FIGURES, Result, Row, Run, summarise
from synthmed_clip.protocol.variants import PATCHES, ZERO_SHOT, joined

_SHOWN = ("Image-AUROC", "Image-AP", "Pixel-AUROC", "Pixel-AUPRO")


def write_tables(
    output: Path, results: Sequence[Result], abnormal: dict[str, np.ndarray], notes: Sequence[str]
) -> str:
    """Write runs.csv, summary.csv, summary.json, a plot per data set and table.md; return the last
    one's text.

    Parameters
    ----------
    output : Path
    results : sequence of Result
    abnormal : dict of ndarray
        Labels of each test set, bool, for the comparisons.
    notes : sequence of str
        Sentences to stand under the table.
    """
    rows = summarise(results)
    write_csv(output / "runs.csv", [_run_line(result) for result in results])
    write_csv(output / "summary.csv", [_row_line(row) for row in rows])
    write_text(output / "summary.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for name in dict.fromkeys(row.dataset for row in rows):
        save_figure(
            _plot([row for row in rows if row.dataset == row.test == name]),
            output / f"auroc-{name}.png",
        )
    sentences = [*notes, *verdicts(results, abnormal)]
    text = table(rows) + "\n" + "".join(f"- {sentence}\n" for sentence in sentences)
    write_text(output / "table.md", text)
    return text


def table(rows: Sequence[Row]) -> str:
    """Return the summary as a Markdown table, percentages as mean and standard deviation."""
    head = [
        "data",
        "method",
        "k",
        *_SHOWN,
        "Image-AUROC without near-duplicates",
        "paper, k unknown",
    ]
    lines = [head, ["---"] * len(head)]
    most = max((row.repeats for row in rows), default=0)
    for row in rows:
        where = row.dataset if row.dataset == row.test else f"{row.dataset} -> {row.test}"
        fewer = row.repeats < most and row.method != ZERO_SHOT
        method = f"{row.method} (repeats: {row.repeats})" if fewer else row.method
        k = str(row.shots) if row.shots else "-"
        figures = [_percent(row.figures.get(name), row.repeats) for name in _SHOWN]
        apart = _percent(row.apart.get("Image-AUROC"), row.repeats)
        lines.append([where, method, k, *figures, apart, _percent(row.published, 2)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdicts(results: Sequence[Result], abnormal: dict[str, np.ndarray]) -> list[str]:
    """Say of every detector that does not beat a baseline that it does not.

    To beat means a higher mean over the repeats, of Image-AUROC and of Pixel-AUROC. With the former
    stands in how many repeats the detector is significantly worse (DeLong, p < 0.05).
    """
    found = {(result.run, result.test): result for result in results}
    groups: dict[tuple[str, str, int, str], list[Result]] = {}
    for (run, test), result in found.items():
        groups.setdefault((run.dataset, run.method, run.shots, test), []).append(result)
    sentences = []
    for (dataset, method, shots, test), members in groups.items():
        if method in (ZERO_SHOT, PATCHES) or method.endswith(joined("")):
            continue
        for baseline in (ZERO_SHOT, PATCHES, joined(method)):
            keys = [
                (
                    Run(test, ZERO_SHOT, 0, 0)
                    if baseline == ZERO_SHOT
                    else replace(member.run, method=baseline),
                    test,
                )
                for member in members
            ]
            peers = [found[key] for key in keys if key in found]
            if len(peers) < len(members):
                continue
            losses = [
                f"{name} {100 * own:.1f} against {100 * other:.1f}"
                + _significance(name, members, peers, abnormal[test])
                for name in ("Image-AUROC", "Pixel-AUROC")
                if name in members[0].figures and name in peers[0].figures
                for own, other in [
                    [np.mean([r.figures[name] for r in group]) for group in (members, peers)]
                ]
                if own <= other
            ]
            if losses:
                where = dataset if dataset == test else f"{dataset} -> {test}"
                sentences.append(
                    f"{where}, k = {shots}: {method} does not beat {baseline}: {'; '.join(losses)}."
                )
    return sentences


def _significance(
    name: str, members: list[Result], peers: list[Result], abnormal: np.ndarray
) -> str:
    """In how many repeats a detector's scores are significantly worse, in brackets; empty where
    DeLong has no say.
    """
    if name != "Image-AUROC" or min(abnormal.sum(), (~abnormal).sum()) < 2:
        return ""
    tests = [
        delong(np.array(a.scores), np.array(b.scores), abnormal)
        for a, b in zip(members, peers, strict=True)
    ]
    worse = sum(test.p < 0.05 and test.difference < 0 for test in tests)
    return f" (significantly in {worse} of {len(tests)} repeats)"


def _percent(pair: tuple[float, float] | None, repeats: int) -> str:
    if pair is None:
        return ""
    return f"{100 * pair[0]:.1f}" + (f" ± {100 * pair[1]:.1f}" if repeats > 1 else "")


def _run_line(result: Result) -> dict:
    return {
        **asdict(result.run),
        "test": result.test,
        **{name: result.figures.get(name) for name in FIGURES},
        **{f"{name} without near-duplicates": result.apart.get(name) for name in FIGURES},
        "threshold": result.threshold,
        "sensitivity": result.sensitivity,
        "specificity": result.specificity,
        "seconds": result.seconds,
    }


def _row_line(row: Row) -> dict:
    line = {
        "dataset": row.dataset,
        "test": row.test,
        "method": row.method,
        "shots": row.shots,
        "repeats": row.repeats,
    }
    for suffix, figures in (("", row.figures), (" without near-duplicates", row.apart)):
        for name in FIGURES:
            mean, deviation = figures.get(name, (None, None))
            line[f"{name}{suffix}"], line[f"{name}{suffix} std"] = (
                mean,
                deviation if row.repeats > 1 else None,
            )
    line["paper Image-AUROC"], line["paper Image-AUROC std"] = row.published or (None, None)
    return line


def _plot(rows: Sequence[Row]) -> Figure:
    """Image-AUROC, and Pixel-AUROC where there are masks, against shots; the band is one standard
    deviation.
    """
    shown = [
        name for name in ("Image-AUROC", "Pixel-AUROC") if any(name in row.figures for row in rows)
    ]
    figure = Figure(figsize=(5.5 * len(shown), 4), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        ticks = sorted({row.shots for row in rows if row.shots})
        curves: dict[str, list[Row]] = {}
        for row in rows:
            if name in row.figures:  # a convolutional tower's zero-shot has no maps
                curves.setdefault(row.method, []).append(row)
        for method, members in curves.items():
            if members[0].shots == 0:
                axes.axhline(members[0].figures[name][0], color="0.5", linestyle=":", label=method)
            elif len(members) > 1 or len(ticks) == 1:
                members = sorted(members, key=lambda row: row.shots)
                centre, spread = np.array([row.figures[name] for row in members]).T
                at = [row.shots for row in members]
                (line,) = axes.plot(at, centre, marker="o", markersize=4, label=method)
                axes.fill_between(
                    at,
                    centre - spread,
                    centre + spread,
                    color=line.get_color(),
                    alpha=0.15,
                    linewidth=0,
                )
        axes.set(
            xscale="log", xlabel="support images", ylabel=name, xticks=ticks, xticklabels=ticks
        )
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(rows[0].dataset)
    return figure
