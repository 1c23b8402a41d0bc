"""Where to set a threshold, from scores of labelled images, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binomtest

from synthmed_clip.evaluation.calibration import best_threshold, threshold_of
from synthmed_clip.evaluation.metrics import Interval

Rule = Literal["false-alarm-rate", "percentile", "specificity", "sensitivity", "youden", "f1"]
_WITHOUT_TARGET = ("youden", "f1")
_NEED_ABNORMAL = ("sensitivity", *_WITHOUT_TARGET)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Calibration:
    """How a detector's threshold was set from further images.

    Attributes
    ----------
    rule : str
        See `operating_point`.
    target : float or None
        What the rule aims at; None for a rule that aims at a maximum.
    figures : dict of Interval
        What was found at the threshold, by name, with 95 % intervals.
    normal, abnormal : tuple of str
        Digest of each image as the backbone sees it.
    """

    rule: Rule
    target: float | None
    figures: dict[str, Interval]
    normal: tuple[str, ...]
    abnormal: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from JSON-ready data; ValueError or KeyError if they are not of one."""
        check_target(data["rule"], data["target"], abnormal=bool(data["abnormal"]))
        figures = {name: Interval(**found) for name, found in data["figures"].items()}
        return cls(
            data["rule"], data["target"], figures, tuple(data["normal"]), tuple(data["abnormal"])
        )

    def __str__(self) -> str:
        aim = "" if self.target is None else f" {self.target:g}"
        of = f"{len(self.normal)} normal" + (
            f", {len(self.abnormal)} abnormal" * bool(self.abnormal)
        )
        return f"{self.rule}{aim}, from {of} images"


def check_target(rule: Rule, target: float | None, *, abnormal: bool) -> None:
    """Refuse a rule that is unknown, or lacks its target or the abnormal images that it needs.

    Raises
    ------
    ValueError
        That names what was expected.

    Examples
    --------
    >>> check_target("sensitivity", 0.9, abnormal=False)
    Traceback (most recent call last):
    ValueError: rule 'sensitivity' needs abnormal images, too
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, not {rule!r}")
    if rule in _NEED_ABNORMAL and not abnormal:
        raise ValueError(f"rule {rule!r} needs abnormal images, too")
    if rule in _WITHOUT_TARGET:
        if target is not None:
            raise ValueError(f"rule {rule!r} takes no target, not {target}")
        return
    most = 100 if rule == "percentile" else 1
    if target is None or not 0 < target < most:
        raise ValueError(f"rule {rule!r} needs a target above 0 and below {most}, not {target}")


def operating_point(
    normal: NDArray[np.floating],
    abnormal: NDArray[np.floating],
    rule: Rule,
    target: float | None = None,
) -> tuple[float, dict[str, Interval]]:
    """Choose the threshold that a rule asks for; scores above it are anomalous.

    Parameters
    ----------
    normal, abnormal : ndarray
        `(n,)` and `(m,)` finite scores; m may be 0 for the first three rules.
    rule : str
        'false-alarm-rate': what is flagged has a conformal p-value against the normal scores of
        at most the target. 'percentile' (target 0 to 100) and 'specificity': the lowest normal
        score that so many normal ones do not exceed. 'sensitivity': the highest threshold that so
        many abnormal ones exceed. 'youden' and 'f1': the largest sensitivity + specificity - 1,
        or F1.
    target : float, optional
        What the rule aims at; none for the last two.

    Returns
    -------
    threshold : float
    figures : dict of Interval
        By name, with 95 % intervals. The false alarm rate to come is Beta distributed over
        calibration sets (Vovk, "Conditional validity of inductive conformal predictors", 2012);
        sensitivity and specificity have Clopper-Pearson's. What 'youden' and 'f1' choose is chosen
        anew on each of 1000 bootstrap resamples of the images, and measured there: the images are
        those that chose it, so these figures flatter.

    Raises
    ------
    ValueError
        If a score is not finite, the normal ones are none, the target is out of its range, or a
        false alarm rate cannot be reached with so few.

    Examples
    --------
    >>> normal, abnormal = np.arange(19.0), np.arange(15.0, 25.0)
    >>> threshold, figures = operating_point(normal, abnormal, "false-alarm-rate", 0.1)
    >>> threshold, str(figures["false alarm rate"])
    (17.0, '0.1000 [0.0130, 0.2603]')
    >>> operating_point(normal, abnormal, "sensitivity", 0.9)[0]
    15.5
    >>> str(operating_point(normal, abnormal, "specificity", 0.9)[1]["sensitivity"])
    '0.7000 [0.3475, 0.9333]'
    """
    normal, abnormal = (np.asarray(part, np.float64) for part in (normal, abnormal))
    check_target(rule, target, abnormal=len(abnormal) > 0)
    if not len(normal):
        raise ValueError("normal images are needed, not 0")
    if not (np.isfinite(normal).all() and np.isfinite(abnormal).all()):
        raise ValueError("the scores hold NaN or infinity")
    if target is None:
        return _largest(normal, abnormal, rule)
    rising = np.sort(normal)
    rate = {}
    if rule == "false-alarm-rate":
        threshold = threshold_of(target, rising.tolist())
        allowed = math.floor(target * (len(normal) + 1) + 1e-9)
        shape = allowed, len(normal) + 1 - allowed
        ends = beta.ppf([0.025, 0.975], *shape)
        rate = {"false alarm rate": Interval(allowed / (len(normal) + 1), *map(float, ends))}
    elif rule == "sensitivity":
        threshold = _below(np.sort(abnormal)[-_ceil(target * len(abnormal))], normal, abnormal)
    else:
        share = target / 100 if rule == "percentile" else target
        threshold = float(rising[_ceil(share * len(normal)) - 1])
    return threshold, rate | {
        name: _exact(hits) for name, hits in _outcomes(normal, abnormal, threshold).items()
    }


def _ceil(count: float) -> int:
    """Round up, but for what rounding alone has put above a whole number."""
    return math.ceil(count - 1e-9)


def _below(score: float, *others: NDArray[np.float64]) -> float:
    """The middle between a score and the next lower one, or as far below as the next is above."""
    levels = np.unique(np.concatenate(others))
    at = int(np.searchsorted(levels, score))
    if at:
        return float(levels[at - 1] + score) / 2
    return float(score - (levels[1] - score) / 2) if len(levels) > 1 else float(score - 1)


def _outcomes(
    normal: NDArray[np.float64], abnormal: NDArray[np.float64], threshold: float
) -> dict[str, NDArray[np.bool_]]:
    found = {"specificity": normal <= threshold}
    return found | {"sensitivity": abnormal > threshold} if len(abnormal) else found


def _exact(hits: NDArray[np.bool_]) -> Interval:
    """A share with its Clopper-Pearson interval."""
    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return Interval(float(hits.mean()), float(found.low), float(found.high))


def _largest(
    normal: NDArray[np.float64], abnormal: NDArray[np.float64], rule: Rule
) -> tuple[float, dict[str, Interval]]:
    """The threshold of the largest Youden index or F1, with bootstrap intervals."""
    criterion: Literal["youden", "f1"] = "f1" if rule == "f1" else "youden"

    def measured(
        normal: NDArray[np.float64], abnormal: NDArray[np.float64]
    ) -> tuple[float, dict[str, float]]:
        kinds = np.repeat([False, True], [len(normal), len(abnormal)])
        threshold = best_threshold(np.concatenate([normal, abnormal]), kinds, criterion)
        outcomes = _outcomes(normal, abnormal, threshold)
        found = {name: float(hits.mean()) for name, hits in outcomes.items()}
        if criterion == "youden":
            own = {"Youden index": found["sensitivity"] + found["specificity"] - 1}
        else:
            hits, alarms = outcomes["sensitivity"].sum(), (~outcomes["specificity"]).sum()
            own = {"F1": float(2 * hits / (hits + alarms + len(abnormal)))}
        return threshold, {"threshold": threshold} | own | found

    rng = np.random.default_rng(0)
    threshold, values = measured(normal, abnormal)
    drawn = [
        measured(rng.choice(normal, len(normal)), rng.choice(abnormal, len(abnormal)))[1]
        for _ in range(_RESAMPLES)
    ]
    return threshold, {
        name: Interval(value, *map(float, np.percentile([one[name] for one in drawn], [2.5, 97.5])))
        for name, value in values.items()
    }
