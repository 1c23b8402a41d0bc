"""Which method ranks better on the same images, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from synthmed_clip.evaluation.comparison import delong
from synthmed_clip.protocol.results import Result

_LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """Two methods on the same test images, fitted on the same support set.

    Attributes
    ----------
    dataset, test : str
    shots, repeat : int
        Of the support set.
    first, second : str
        The methods.
    difference : float
        Image-AUROC of the first less that of the second.
    p : float
        Of DeLong's test (DeLong et al., Biometrics 1988), two-sided, not corrected for the number
        of pairs.

    Examples
    --------
    >>> Pair("brain", "brain", 16, 0, "ours", "theirs", difference=0.05, p=0.01).is_significant
    True
    """

    dataset: str
    test: str
    shots: int
    repeat: int
    first: str
    second: str
    difference: float
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p < _LEVEL


def pairs_of(results: Sequence[Result], abnormal: dict[str, NDArray[np.bool_]]) -> list[Pair]:
    """Compare every two methods wherever both were tested after the same support set.

    Parameters
    ----------
    results : sequence of Result
    abnormal : dict of ndarray
        Labels of each test set, bool; one with fewer than two images of a kind is left out.

    Examples
    --------
    >>> from synthmed_clip.protocol.results import Run
    >>> results = [
    ...     Result(Run("brain", name, 16, 0), "brain", {}, {}, 0.5, 1, 1, 60, scores)
    ...     for name, scores in (("ours", (0.1, 0.2, 0.8, 0.9)), ("theirs", (0.1, 0.8, 0.2, 0.9)))
    ... ]
    >>> labels = {"brain": np.array([False, False, True, True])}
    >>> [(pair.first, pair.second, pair.difference) for pair in pairs_of(results, labels)]
    [('ours', 'theirs', 0.25)]
    """
    groups: dict[tuple[str, str, int, int], list[Result]] = {}
    for result in results:
        run = result.run
        groups.setdefault((run.dataset, result.test, run.shots, run.repeat), []).append(result)
    found = []
    for (dataset, test, shots, repeat), members in groups.items():
        labels = abnormal.get(test, np.zeros(0, bool))
        if min(labels.sum(), (~labels).sum()) < 2:
            continue
        for a, b in combinations(members, 2):
            compared = delong(np.array(a.scores), np.array(b.scores), labels)
            names = (a.run.method, b.run.method)
            found.append(
                Pair(dataset, test, shots, repeat, *names, compared.difference, compared.p)
            )
    return found


def pair_table(pairs: Sequence[Pair]) -> str:
    """Return a Markdown table of one data set and one number of shots: row less column.

    Parameters
    ----------
    pairs : sequence of Pair
        Of the same data set, test set and shots.

    Returns
    -------
    str
        Mean differences in points of Image-AUROC; in brackets, in how many of the repeats DeLong's
        test finds them.

    Examples
    --------
    >>> print(pair_table([Pair("brain", "brain", 16, 0, "ours", "theirs", 0.05, 0.01)]))
    | row less column | ours | theirs |
    | --- | --- | --- |
    | ours |  | +5.0 (1/1) |
    | theirs | -5.0 (1/1) |  |
    <BLANKLINE>
    """
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    lines = [["row less column", *names], ["---"] * (len(names) + 1)]
    for row in names:
        cells = [row]
        for column in names:
            both = [
                (sign * pair.difference, pair.is_significant)
                for pair in pairs
                for sign, ends in ((1, (row, column)), (-1, (column, row)))
                if ends == (pair.first, pair.second)
            ]
            if both:
                found = sum(significant for _, significant in both)
                cells.append(f"{100 * mean(d for d, _ in both):+.1f} ({found}/{len(both)})")
            else:
                cells.append("")
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
