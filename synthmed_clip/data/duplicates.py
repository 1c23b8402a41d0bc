"""Images that are copies, or nearly, of one another: between training and test images they flatter
every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthmed.digests import digest_array
from synthmed_clip.data.images import read_plane, square, values_in

_SIDE = 48
_ROWS = 1024  # of the matrix of correlations at a time


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same, or nearly.

    Attributes
    ----------
    first, second : Path
    correlation : float
        Of what they show; at most 1.
    exact : bool
        Whether they are the same pixel for pixel.

    Examples
    --------
    >>> Duplicate(Path("a.png"), Path("b.png"), correlation=0.995, exact=False).second.name
    'b.png'
    """

    first: Path
    second: Path
    correlation: float
    exact: bool


def duplicates_between(
    first: Sequence[Path], second: Sequence[Path], threshold: float = 0.99
) -> list[Duplicate]:
    """Find the images of one set that are in another, too.

    Parameters
    ----------
    first, second : sequence of path
    threshold : float
        Correlation from which a pair counts: of the images in grey, at 48 x 48 pixels. A brighter
        or darker copy, and one with more or less contrast, correlates fully; a turned or mirrored
        one does not.

    Returns
    -------
    list of Duplicate
        Highest correlation first, then by path. An image of one grey level correlates with none,
        but its exact copies are found.

    Raises
    ------
    ValueError
        If a file cannot be read (it is named), or the threshold is not above 0 and at most 1.

    Examples
    --------
    `scans` are a few arrays of images.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     train, test = Path(folder, "train.png"), Path(folder, "test.png")
    ...     Image.fromarray(scans[0]).save(train)
    ...     Image.fromarray(scans[0] // 2).save(test)  # darker
    ...     [(pair.second.name, pair.exact) for pair in duplicates_between([train], [test])]
    [('test.png', False)]
    """
    return _pairs(_seen(first), _seen(second), threshold)


def duplicates_within(paths: Sequence[Path], threshold: float = 0.99) -> list[Duplicate]:
    """Find the images that are in a set more than once; every pair is given once. All else as
    `duplicates_between`.

    Examples
    --------
    `scans` are a few arrays of images.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     paths = [Path(folder, f"{name}.png") for name in ("a", "b", "copy-of-a")]
    ...     for path, pixels in zip(paths, (scans[0], scans[1], scans[0])):
    ...         Image.fromarray(pixels).save(path)
    ...     [(p.first.name, p.second.name, p.exact) for p in duplicates_within(paths)]
    [('a.png', 'copy-of-a.png', True)]
    """
    images = _seen(paths)
    return _pairs(images, images, threshold, once=True)


@dataclass(frozen=True)
class _Seen:
    """Images as vectors of zero mean and unit length, `(N, 2304)` float32, zero for a constant
    image; and digests.
    """

    paths: list[Path]
    vectors: NDArray[np.float32]
    digests: NDArray[np.str_]


def _seen(paths: Sequence[Path]) -> _Seen:
    vectors, digests = np.zeros((len(paths), _SIDE * _SIDE), np.float32), []
    for vector, path in zip(vectors, paths, strict=True):
        image = read_plane(Path(path))
        digests.append(digest_array(image.array))
        small = square(image, _SIDE, values_in([image]))[0].ravel().astype(np.float64)
        small -= small.mean()
        length = np.linalg.norm(small)
        if length > 0:
            vector[:] = small / length
    return _Seen([Path(path) for path in paths], vectors, np.array(digests, str))


def _pairs(first: _Seen, second: _Seen, threshold: float, once: bool = False) -> list[Duplicate]:
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold must be above 0 and at most 1, not {threshold}")
    codes = np.unique(np.concatenate([first.digests, second.digests]), return_inverse=True)[1]
    codes_first, codes_second = np.split(codes, [len(first.paths)])
    found = []
    for start in range(0, len(first.paths), _ROWS):
        rows = slice(start, start + _ROWS)
        begin = start if once else 0  # what is before was compared as rows
        same = codes_first[rows, None] == codes_second[begin:]
        correlation = np.minimum(first.vectors[rows] @ second.vectors[begin:].T, 1)
        correlation[same] = 1
        for row, column in np.argwhere(correlation >= threshold):
            i, j = row + start, column + begin
            if not once or i < j:
                value, exact = float(correlation[row, column]), bool(same[row, column])
                found.append(Duplicate(first.paths[i], second.paths[j], value, exact))
    return sorted(found, key=lambda pair: (-pair.correlation, pair.first, pair.second))
