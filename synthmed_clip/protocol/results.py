"""What the protocol found: one result per run and test set, and their summary over repeats."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from synthmed_clip.files import read_json, write_json

_FORMAT = "synthmed-clip result 1"
FIGURES = ("Image-AUROC", "Image-AP", "Image-F1-max", "Pixel-AUROC", "Pixel-AP", "Pixel-AUPRO")

# MediCLIP, ablation over tasks: Image-AUROC and its deviation; the k behind them is not stated.
PAPER_FIGURES = {"chexpert": (0.725, 0.017), "brainmri": (0.948, 0.005), "busi": (0.908, 0.004)}


def folder_name(method: str) -> str:
    """Spell a method's name in lower-case letters, digits and hyphens.

    Examples
    --------
    >>> folder_name("paper + nearest-patch")
    'paper-nearest-patch'
    """
    return re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")


@dataclass(frozen=True)
class Run:
    """A method on a support set.

    Attributes
    ----------
    dataset, method : str
        Their names.
    shots : int
        Support images; 0 where the method needs none.
    repeat : int
        Which support set of this size, from 0.

    Examples
    --------
    >>> run = Run("brain", "no adapters", shots=16, repeat=0)
    >>> print(run)
    brain, no adapters, k = 16, repeat 0
    >>> run.folder.as_posix()
    'runs/brain/no-adapters/k16-r0'
    """

    dataset: str
    method: str
    shots: int
    repeat: int

    @property
    def folder(self) -> Path:
        """Where it is kept, relative to the protocol's output."""
        return Path("runs", self.dataset, folder_name(self.method), f"k{self.shots}-r{self.repeat}")

    def __str__(self) -> str:
        return f"{self.dataset}, {self.method}, k = {self.shots}, repeat {self.repeat}"


@dataclass(frozen=True)
class Result:
    """What a run gave on a test set.

    Attributes
    ----------
    run : Run
    test : str
        Name of the test set; another than the run's for transfer.
    figures : dict of float
        Those of `FIGURES` that there are; of pixels only where there are masks.
    unseen : dict of float
        The same without the test images that nearly repeat one that the run has seen; empty where
        that leaves images of one kind only.
    threshold, sensitivity, specificity : float
        The detector's own, and what it comes to.
    seconds : float
        That it took, test included; of an interrupted fit, since it went on.
    scores : tuple of float
        In the order of the test set.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> run, figures = Run("brain", "paper", shots=16, repeat=0), {"Image-AUROC": 0.9}
    >>> result = Result(run, "brain", figures, figures, 0.5, 1.0, 0.8, 60.0, (0.2, 0.7))
    >>> with TemporaryDirectory() as folder:
    ...     result.write(Path(folder))
    ...     Result.read(Path(folder), run, "brain") == result
    True
    """

    run: Run
    test: str
    figures: dict[str, float]
    unseen: dict[str, float]
    threshold: float
    sensitivity: float
    specificity: float
    seconds: float
    scores: tuple[float, ...]

    def write(self, output: Path) -> None:
        """Write it as JSON into the run's folder."""
        write_json(output / self.run.folder / f"on-{self.test}.json", _FORMAT, asdict(self))

    @classmethod
    def read(cls, output: Path, run: Run, test: str) -> Result | None:
        """Read it back; None where it is not there, or is damaged, which a warning tells."""
        path = output / run.folder / f"on-{test}.json"
        if not path.is_file():
            return None
        try:
            data = read_json(path, _FORMAT)
            return cls(**data | {"run": Run(**data["run"]), "scores": tuple(data["scores"])})
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{error}; it is not used", stacklevel=2)
            return None


@dataclass(frozen=True)
class Row:
    """Mean and standard deviation over the repeats of a method.

    Attributes
    ----------
    dataset, test, method : str
    shots : int
    repeats : int
    figures, unseen : dict
        Pairs of mean and standard deviation (0 for one repeat) by figure.
    published : pair of float or None
        The paper's Image-AUROC for its method on this data.

    Examples
    --------
    >>> figures = {"Image-AUROC": (0.9, 0.01)}
    >>> row = Row("brain", "brain", "release", 16, 3, figures, figures, published=None)
    >>> row.figures["Image-AUROC"]
    (0.9, 0.01)
    """

    dataset: str
    test: str
    method: str
    shots: int
    repeats: int
    figures: dict[str, tuple[float, float]]
    unseen: dict[str, tuple[float, float]]
    published: tuple[float, float] | None


def summarise(results: Iterable[Result]) -> list[Row]:
    """Group results over repeats, in the order of first appearance.

    Parameters
    ----------
    results : iterable of Result

    Returns
    -------
    list of Row
        One for each data set, test set, method and number of shots.

    Examples
    --------
    >>> results = [
    ...     Result(Run("brain", "paper", 16, i), "brain", {"Image-AUROC": v}, {}, 0, 0, 0, 0, ())
    ...     for i, v in enumerate((0.5, 1.0))
    ... ]
    >>> [(row.method, row.repeats, row.figures["Image-AUROC"][0]) for row in summarise(results)]
    [('paper', 2, 0.75)]
    """
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        key = replace(result.run, repeat=0), result.test
        groups.setdefault(key, []).append(result)
    rows = []
    for (run, test), members in groups.items():
        own = run.method == "paper" and run.dataset == test
        rows.append(
            Row(
                dataset=run.dataset,
                test=test,
                method=run.method,
                shots=run.shots,
                repeats=len(members),
                figures=_spread([member.figures for member in members]),
                unseen=_spread([member.unseen for member in members]),
                published=PAPER_FIGURES.get(test.lower()) if own else None,
            )
        )
    return rows


def _spread(figures: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    values = {
        name: [found[name] for found in figures]
        for name in figures[0]
        if all(name in f for f in figures)
    }
    return {name: (mean(v), stdev(v) if len(v) > 1 else 0.0) for name, v in values.items()}
