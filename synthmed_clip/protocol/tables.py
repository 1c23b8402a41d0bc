"""The protocol's results as tables, plots and plain sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synthmed_clip.evaluation.comparison import delong
from synthmed_clip.evaluation.plots import save_figure
from synthmed_clip.files import write_csv, write_text
from synthmed_clip.protocol.pairs import Pair, pair_table, pairs_of
from synthmed_clip.protocol.results import FIGURES, Result, Row, Run, summarise
from synthmed_clip.protocol.variants import Entry

_COMPARED = ("Image-AUROC", "Pixel-AUROC")
_SHOWN = ("Image-AUROC", "Image-AP", "Pixel-AUROC", "Pixel-AUPRO")


def write_tables(
    output: Path,
    results: Sequence[Result],
    abnormal: dict[str, NDArray[np.bool_]],
    notes: Sequence[str],
    entries: Sequence[Entry],
) -> str:
    """Write runs.csv, summary.csv, summary.json, a plot per data set and table.md, and pairs.csv
    where there are pairs; return the text of table.md.

    Parameters
    ----------
    output : Path
    results : sequence of Result
    abnormal : dict of ndarray
        Labels of each test set, bool, for the comparisons.
    notes : sequence of str
        Sentences to stand under the table.
    entries : sequence of Entry
        Which say what each has to beat.

    Returns
    -------
    str
        Markdown.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> run, figures = Run("brain", "zero-shot", shots=0, repeat=0), {"Image-AUROC": 0.9}
    >>> result = Result(run, "brain", figures, figures, 0.5, 1.0, 0.8, 60.0, (0.2, 0.7))
    >>> with TemporaryDirectory() as folder:
    ...     text = write_tables(Path(folder), [result], {}, ["One run."], [])
    ...     sorted(path.suffix for path in Path(folder).iterdir())
    ['.csv', '.csv', '.json', '.md', '.png']
    >>> text.splitlines()[-1]
    '- One run.'
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
    pairs = pairs_of(results, abnormal)
    if pairs:
        write_csv(output / "pairs.csv", [asdict(pair) for pair in pairs])
    sections = [
        _section([row for row in rows if row.dataset == name], pairs)
        for name in dict.fromkeys(row.dataset for row in rows)
    ]
    sentences = [*notes, *verdicts(results, abnormal, entries)]
    text = "\n".join([*sections, "".join(f"- {sentence}\n" for sentence in sentences)])
    write_text(output / "table.md", text)
    return text


def _section(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """A data set's table, and how its methods differ where most repeats were run."""
    name = rows[0].dataset
    own = [pair for pair in pairs if pair.dataset == pair.test == name]
    text = f"## {name}\n\n{table(rows)}"
    if own:
        most = max(pair.repeat for pair in own)
        shots = max(pair.shots for pair in own if pair.repeat == most)
        chosen = pair_table([pair for pair in own if pair.shots == shots])
        text += (
            f"\nDifferences of Image-AUROC at k = {shots}, in points; in brackets, in how many "
            f"repeats DeLong's test finds them (p < 0.05; every k in pairs.csv):\n\n{chosen}"
        )
    return text


def table(rows: Sequence[Row]) -> str:
    """Return the summary as a Markdown table, percentages as mean and standard deviation.

    Examples
    --------
    >>> figures = {"Image-AUROC": (0.9, 0.01)}
    >>> row = Row("brain", "brain", "release", 16, 3, figures, figures, published=None)
    >>> print(table([row]).splitlines()[-1])
    | brain | release | 16 | 90.0 ± 1.0 |  |  |  | 90.0 ± 1.0 |  |
    """
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
        fewer = row.repeats < most and row.shots > 0
        method = f"{row.method} (repeats: {row.repeats})" if fewer else row.method
        k = str(row.shots) if row.shots else "-"
        figures = [_percent(row.figures.get(name), row.repeats) for name in _SHOWN]
        unseen = _percent(row.unseen.get("Image-AUROC"), row.repeats)
        lines.append([where, method, k, *figures, unseen, _percent(row.published, 2)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdicts(
    results: Sequence[Result],
    abnormal: dict[str, NDArray[np.bool_]],
    entries: Sequence[Entry],
) -> list[str]:
    """Say of every entry that does not beat one of its baselines that it does not.

    To beat means a higher mean over the repeats, of Image-AUROC and of Pixel-AUROC. With the former
    stands in how many repeats the entry is significantly worse (DeLong, p < 0.05).

    Parameters
    ----------
    results, abnormal, entries
        As in `write_tables`.

    Examples
    --------
    >>> from synthmed_clip import MediCLIP
    >>> scores, runs = (0.2, 0.7), [Run("brain", name, 16, 0) for name in ("ours", "theirs")]
    >>> results = [
    ...     Result(run, "brain", {"Image-AUROC": v}, {}, 0.5, 1, 1, 60, scores)
    ...     for run, v in zip(runs, (0.8, 0.9))
    ... ]
    >>> labels = {"brain": np.array([False, True])}
    >>> verdicts(results, labels, [Entry("ours", MediCLIP(), baselines=("theirs",))])
    ['brain, k = 16: ours does not beat theirs: Image-AUROC 80.0 against 90.0.']
    """
    found = {(result.run, result.test): result for result in results}
    groups: dict[tuple[str, str, int, str], list[Result]] = {}
    for (run, test), result in found.items():
        groups.setdefault((run.dataset, run.method, run.shots, test), []).append(result)
    rivals = {entry.name: entry.baselines for entry in entries}
    sentences = []
    for (dataset, method, shots, test), members in groups.items():
        for baseline in rivals.get(method, ()):
            peers = [_peer(found, member, baseline) for member in members]
            pairs = [(ours, theirs) for ours, theirs in zip(members, peers, strict=True) if theirs]
            if len(pairs) < len(members):
                continue
            losses = [loss for name in _COMPARED if (loss := _loss(name, pairs, abnormal[test]))]
            if losses:
                where = dataset if dataset == test else f"{dataset} -> {test}"
                sentences.append(
                    f"{where}, k = {shots}: {method} does not beat {baseline}: {'; '.join(losses)}."
                )
    return sentences


def _peer(found: dict[tuple[Run, str], Result], member: Result, baseline: str) -> Result | None:
    """The baseline's result on the same support set, or, where it needs none, on the test set."""
    same = found.get((replace(member.run, method=baseline), member.test))
    return same or found.get((Run(member.test, baseline, 0, 0), member.test))


def _loss(
    name: str, pairs: Sequence[tuple[Result, Result]], abnormal: NDArray[np.bool_]
) -> str | None:
    """Say by how much a figure's mean is no higher than the baseline's; None where it is."""
    if not all(name in result.figures for pair in pairs for result in pair):
        return None
    own, other = (np.mean([pair[i].figures[name] for pair in pairs]) for i in (0, 1))
    if own > other:
        return None
    significance = _significance(name, pairs, abnormal)
    return f"{name} {100 * own:.1f} against {100 * other:.1f}{significance}"


def _significance(
    name: str, pairs: Sequence[tuple[Result, Result]], abnormal: NDArray[np.bool_]
) -> str:
    """In how many repeats an entry's scores are significantly worse, in brackets; empty where
    DeLong has no say.
    """
    if name != "Image-AUROC" or min(abnormal.sum(), (~abnormal).sum()) < 2:
        return ""
    tests = [delong(np.array(a.scores), np.array(b.scores), abnormal) for a, b in pairs]
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
        **{f"{name} without near-duplicates": result.unseen.get(name) for name in FIGURES},
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
    for suffix, figures in (("", row.figures), (" without near-duplicates", row.unseen)):
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
