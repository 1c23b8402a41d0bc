"""Real lesions' shapes, from a folder of masks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.digests import digest_array
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.io.find import find_images
from synthmed.io.read import read_mask
from synthmed.masks import Mask, Shape
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class FileMask(Mask):
    """The shape of a mask from a folder, turned, scaled and put at a random place.

    A shape takes the same share of the image's median side as it takes of its own file's, times
    `scale`; the files' pixels count as square (cubic).

    Parameters
    ----------
    folder : str
        Searched recursively for images of two levels, 0 and what is inside, with as many axes as
        the image; each may have several components, which stay together.
    scale : Number
    rotation : Number
        In degrees (in 3-D, one angle for each pair of axes).
    mirror : bool
        Along each axis with probability one half.
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed import FileMask
    >>> from synthmed.io import Image, encode
    >>> lesion = np.zeros((100, 100), np.uint8)
    >>> lesion[20:40, 50:90] = 255
    >>> scan = np.random.default_rng(0).random((50, 50))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "lesion.png").write_bytes(encode(Image(lesion), ".png"))
    ...     mask = FileMask(folder, scale=1.0, rotation=0.0)(scan, rng=7).mask
    >>> mask.sum(), mask.any(axis=1).sum()
    (np.int64(200), np.int64(10))
    """

    folder: str
    scale: Number = (0.75, 1.33)
    rotation: Number = (-180.0, 180.0)
    mirror: bool = True
    roi_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        if not isinstance(self.folder, str):
            raise TypeError(f"FileMask: folder must be a str, got {self.folder!r}")
        require_number(self, "scale", 1e-3)
        require_number(self, "rotation", -180, 180)
        validation.choice(self, "mirror", (False, True))

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the file, its rotation and its scale."""
        names = self._names()
        n = len(scene.shape)
        name = names[int(rng.integers(len(names)))]
        turns = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(n, 2))])
        if not scene.tilts:
            turns = scene.levelled(turns)
        return {
            "file": name,
            "digest": digest_array(self._read(name)),
            "rotation": turns.tolist(),
            "scale": draw_number(rng, self.scale),
            "mirrored": [self.mirror and bool(rng.random() < 0.5) for _ in range(n)],
        }

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Read the file's mask, turn and scale it."""
        path = Path(self.folder, parameters["file"])
        mask = self._read(parameters["file"])
        if digest_array(mask) != parameters["digest"]:
            raise ValueError(f"{path} is not the mask that was drawn: its digest differs")
        if mask.ndim != len(scene.shape):
            raise ValueError(
                f"{path} must have the image's {len(scene.shape)} spatial axes, got {mask.ndim}"
            )
        spacing = np.array(scene.spacing)
        length = scene.side / float(np.median(mask.shape)) * parameters["scale"]
        signs = np.where(parameters["mirrored"], -1.0, 1.0)
        box = scipy.ndimage.find_objects(mask.astype(np.uint8))[0]
        shape = np.pad(mask[box], 1).astype(np.float64)[..., None]
        turn = kernels.rotation_matrix(parameters["rotation"], scene.spacing)
        to_pixels = turn @ np.diag(signs * length / spacing)
        reach = np.abs(to_pixels) @ [s / 2 for s in shape.shape[:-1]]
        half = np.ceil(reach).astype(int)
        if any(2 * (h - 2) > 2 * n for h, n in zip(half, scene.shape, strict=True)):
            return Shape(np.zeros((1,) * mask.ndim, bool))  # larger than the image by far
        to_file = np.linalg.inv(to_pixels)
        middle = (np.array(shape.shape[:-1]) - 1) / 2
        # An even number of pixels: a shape whose sides do not change falls on the grid again.
        start = [-h + 0.5 * ((s + 1) % 2) for h, s in zip(half, shape.shape, strict=False)]
        coordinates = kernels.affine_coordinates(
            (2 * half + 1).tolist(), to_file, middle + to_file @ np.array(start)
        )
        inside = kernels.interpolate(shape, coordinates)[..., 0] >= 0.5
        found = scipy.ndimage.find_objects(inside.astype(np.uint8))
        return Shape(inside[found[0]] if found else inside)

    def _names(self) -> list[str]:
        paths = find_images(self.folder)
        if not paths:
            raise ValueError(f"FileMask: folder {self.folder} holds no image")
        return sorted(p.relative_to(self.folder).as_posix() for p in paths)

    def _read(self, name: str) -> NDArray[np.bool_]:
        path = Path(self.folder, name)
        mask = _read_once(path, path.stat().st_mtime_ns)
        if not mask.any():
            raise ValueError(f"{path} is an empty mask")
        return mask


@functools.lru_cache(maxsize=256)
def _read_once(path: Path, _: int) -> NDArray[np.bool_]:
    """A mask, kept until its file changes."""
    mask = read_mask(path)
    mask.setflags(write=False)
    return mask
