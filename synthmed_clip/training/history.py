"""How something was learnt: its seed and its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """Mean losses over one epoch.

    Attributes
    ----------
    number : int
        Counted from 1.
    loss, focal, dice : float
        The sum, and its two terms.
    validation : float or None
        Image-AUROC, where there is a validation set.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import MediCLIP, fit
    >>> log = []
    >>> method = MediCLIP(epochs=2)
    >>> detector = fit(scans, method, backbone=backbone, progress=False, callback=log.append)
    >>> [(epoch.number, epoch.loss > 0) for epoch in log]
    [(1, True), (2, True)]
    """

    number: int
    loss: float
    focal: float
    dice: float
    validation: float | None = None


@dataclass(frozen=True)
class History:
    """How something was learnt.

    Attributes
    ----------
    entropy : tuple of int
        From which all random numbers of the fit are derived.
    log : tuple of Epoch
    start : str or None
        Digest of what the fit began with, where that was another detector's.
    validation : str or None
        Digest of the images and labels by which the epoch was chosen, where there were any.

    Examples
    --------
    >>> history = History((7,), (Epoch(1, 0.9, 0.1, 0.8), Epoch(2, 0.7, 0.1, 0.6)))
    >>> history.chosen.number
    2
    >>> History.from_dict(history.to_dict()) == history
    True
    """

    entropy: tuple[int, ...]
    log: tuple[Epoch, ...] = ()
    start: str | None = None
    validation: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """Rebuild from what `to_dict` gave, through JSON or not."""
        return cls(
            entropy=tuple(int(number) for number in data["entropy"]),
            log=tuple(Epoch(**epoch) for epoch in data["log"]),
            start=data["start"],
            validation=data["validation"],
        )

    @property
    def chosen(self) -> Epoch:
        """The epoch that was kept: the last, or the best on the validation set."""
        if self.validation is None:
            return self.log[-1]
        return max(self.log, key=lambda epoch: epoch.validation or 0.0)
