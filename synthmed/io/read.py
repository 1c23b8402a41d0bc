"""Reading images and masks from files of any format in the table."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthmed.io.convert import grey
from synthmed.io.image import Image, ImageWarning, MissingFile, Unreadable
from synthmed.io.readers import Reader, find_reader
from synthmed.io.readers.dicom import DICOM
from synthmed.io.series import read_series, read_volume

MaskLevel = int | Sequence[int] | Literal["any"] | None
"""Which levels of a mask are inside; see `read_mask`."""

_NAMED = 8  # levels, in a message
_Found = TypeVar("_Found")

# What becomes of warnings is one state of the process: threads that read would undo each other's,
# and some would never be seen.
_one_at_a_time = threading.RLock()


def read_image(
    path: Path | str, *, frame: int | None = None, series: int | str | None = None
) -> Image:
    """Read an image or a volume in its own dtype.

    Parameters
    ----------
    path : path-like
        PNG, JPEG or BMP; TIFF of any real dtype, several pages being a volume; NIfTI 1 or 2; DICOM,
        one file or a folder whose files are the slices of a volume; or a format that `add_reader`
        added. What decides is the file's first bytes, not its suffix.
    frame : int, optional
        Of a file that holds several images or volumes (NIfTI of four axes, DICOM of many frames),
        the one to read, from 0.
    series : int or str, optional
        Of a folder with several DICOM series, the one to read: its number, or its key, as
        `find_series` gives them; a number may be a string.

    Returns
    -------
    Image
        Upright, as the file's orientation says; channels as RGB along the last axis. Palettes,
        CMYK, YCbCr and white at zero are converted, 1, 2 and 4 bits are scaled to 255; see
        docs/files.md for what each becomes.

    Warns
    -----
    ImageWarning
        If an alpha channel is dropped.

    Raises
    ------
    MissingFile
        (a FileNotFoundError and a ValueError) If there is no such file.
    Unreadable
        (a ValueError) If it is a folder, empty, truncated, of another format, too large, or if what
        it declares is not one image or one volume of a defined meaning; the message names it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed.io import Image, encode, read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.png"
    ...     _ = path.write_bytes(encode(Image(np.full((4, 6), 1000, np.uint16)), ".png"))
    ...     image = read_image(path)
    >>> image.array.shape, image.array.dtype, image.channel_axis
    ((4, 6), dtype('uint16'), None)
    """
    return _read(Path(path), frame, series)[0]


def _read(
    path: Path, frame: int | None = None, series: int | str | None = None
) -> tuple[Image, Reader]:
    return _with_warnings(path, lambda: _read_silently(path, frame, series))


def read_series_files(folder: Path, files: Sequence[Path]) -> Image:
    """Read the volume of a DICOM series by its files; errors and warnings name the folder."""
    return _with_warnings(folder, lambda: _attempt(folder, DICOM, lambda: read_volume(files)))


def _with_warnings(path: Path, read: Callable[[], _Found]) -> _Found:
    """Read, and warn of what readers say with the file's name."""
    with _one_at_a_time:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = read()
        # Those of decoders are dropped: what is beyond repair raises.
        said = [str(w.message) for w in caught if issubclass(w.category, ImageWarning)]
        for text in dict.fromkeys(said):  # once, if every page says it
            warnings.warn(f"{path}: {text}", ImageWarning, stacklevel=4)
    return found


def _read_silently(path: Path, frame: int | None, series: int | str | None) -> tuple[Image, Reader]:
    if path.is_dir():
        return _attempt(path, DICOM, lambda: _of_folder(path, frame, series)), DICOM
    try:
        reader = find_reader(path)
    except FileNotFoundError:
        raise MissingFile(f"{path}: No such file or directory") from None
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from None
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None
    return _attempt(path, reader, lambda: _of_file(path, reader, frame, series)), reader


def _of_folder(path: Path, frame: int | None, series: int | str | None) -> Image:
    if frame is not None:
        raise Unreadable("is a folder, of which no frame can be chosen")
    return read_series(path, series)


def _of_file(path: Path, reader: Reader, frame: int | None, series: int | str | None) -> Image:
    if series is not None:
        raise Unreadable("is a file; a series is chosen from a folder")
    if reader.read_frame is not None:
        return reader.read_frame(path, frame)
    if frame is not None:
        raise Unreadable(f"is {reader.name}, of which no frame can be chosen")
    return reader.read(path)


def _attempt(path: Path, reader: Reader, read: Callable[[], Image]) -> Image:
    """Name the file in whatever is raised."""
    try:
        return read()
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None
    except Exception as error:  # decoders raise whatever their library raises
        reason = str(error) or type(error).__name__
        raise Unreadable(f"{path}: cannot be decoded as {reader.name}: {reason}") from None


def read_mask(path: Path | str, *, level: MaskLevel = None) -> NDArray[np.bool_]:
    """Read a mask.

    Of a mask with the levels 0 and another one, the other one is inside; of a mask of one level,
    all if it is not 0. A file with other levels (class numbers, an antialiased edge) is refused,
    unless `level` chooses. A colour's level is its luma, and at least 1 unless it is black.

    Parameters
    ----------
    path : path-like
        Of any format that `read_image` reads.
    level : int, sequence of int or "any", optional
        The levels that are inside; ``"any"`` are all but 0. JPEG, which keeps no levels, takes none
        but ``"any"``: with it and without it, all above 127 is inside.

    Returns
    -------
    ndarray of bool, shape (H, W) or (D, H, W)

    Raises
    ------
    Unreadable
        (a ValueError) If the file is not an image, its levels do not say what is inside, two of its
        colours have the same level, or it is of one colour and of several transparencies; the
        message names the file and the levels.
    TypeError
        If `level` is not as described.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed.io import Image, encode, read_mask
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "classes.png"
    ...     _ = path.write_bytes(encode(Image(np.array([[0, 1], [2, 3]], np.uint8)), ".png"))
    ...     read_mask(path, level="any").sum(), read_mask(path, level=[1, 2]).sum()
    ...     try:
    ...         read_mask(path)
    ...     except ValueError as error:
    ...         print(str(error).removeprefix(folder))
    (np.int64(3), np.int64(2))
    /classes.png: a mask with the levels 0, 1, 2, 3: which are inside? Choose them with the mask \
level
    """
    return read_mask_with_affine(Path(path), level)[0]


def read_mask_with_affine(
    path: Path, level: MaskLevel
) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Read a mask as `read_mask`, and where its file says that it lies."""
    chosen = require_mask_level(level)
    image, reader = _read(path)
    values = (
        grey(image).array
        if reader.lossy or image.channel_axis is None
        else _levels(path, image, chosen)
    )
    return _inside(path, values, reader, chosen, level), image.affine


def _inside(
    path: Path,
    values: NDArray[Any],
    reader: Reader,
    chosen: tuple[int, ...] | Literal["any"] | None,
    level: MaskLevel,
) -> NDArray[np.bool_]:
    if reader.lossy:
        if chosen not in (None, "any"):
            raise Unreadable(
                f"{path}: {reader.name} does not keep the levels of a mask, so that the mask level "
                f"{level!r} cannot be found in it"
            )
        return values > 127
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unreadable(f"{path}: a mask must be finite, but it holds NaN or infinity")
    if values.size and values.min() == values.max():
        _refuse_hidden(path)
    if chosen == "any":
        return values != 0
    if chosen is not None:
        return np.isin(values, chosen)
    levels = np.unique(values)
    if len(levels) > 2 or (len(levels) == 2 and 0 not in levels):
        named = ", ".join(f"{v:g}" for v in levels[:_NAMED].tolist())
        more = f" and {len(levels) - _NAMED} more" if len(levels) > _NAMED else ""
        raise Unreadable(
            f"{path}: a mask with the levels {named}{more}: which are inside? Choose them with the "
            f"mask level"
        )
    return values != 0


def _levels(path: Path, image: Image, chosen: tuple[int, ...] | Literal["any"] | None) -> NDArray:
    """A colour's luma, and at least 1 unless it is black."""
    assert image.channel_axis is not None
    luma = grey(image).array
    channels = np.moveaxis(image.array, image.channel_axis, -1)
    if (channels == channels[..., :1]).all():
        return channels[..., 0]
    levels = np.where((luma == 0) & channels.any(-1), luma.dtype.type(1), luma)
    if chosen == "any":
        return levels
    colours, which = np.unique(channels.reshape(-1, 3), axis=0, return_inverse=True)
    of_colour = np.zeros(len(colours), levels.dtype)
    of_colour[which.ravel()] = levels.ravel()
    if len(np.unique(of_colour)) < len(colours):
        raise Unreadable(
            f"{path}: a mask of {len(colours)} colours, of which some have the same luma: save it "
            f"with grey levels"
        )
    return levels


def _refuse_hidden(path: Path) -> None:
    """Refuse a picture of one colour whose transparency draws the mask: what its levels say would
    be all or nothing.
    """
    try:
        with PIL.Image.open(path) as picture:
            hidden = (
                "A" in picture.getbands() and len(set(picture.getchannel("A").getextrema())) > 1
            )
    except (OSError, ValueError):  # no format of Pillow's
        return
    if hidden:
        raise Unreadable(
            f"{path}: a mask of one colour, which only its transparency draws: save it with grey "
            f"levels"
        )


def require_mask_level(level: MaskLevel) -> tuple[int, ...] | Literal["any"] | None:
    """Check a mask level and bring it to one form: None, "any" or a tuple of int.

    Raises
    ------
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from synthmed.io import require_mask_level
    >>> require_mask_level(3), require_mask_level([1, 2]), require_mask_level("any")
    ((3,), (1, 2), 'any')
    """
    if level is None or level == "any":
        return level
    values = (level,) if isinstance(level, int | float) else level
    if (
        isinstance(values, str)
        or not isinstance(values, Sequence)
        or not values
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    ):
        raise TypeError(f"mask level must be one or more ints, or 'any', got {level!r}")
    return tuple(values)
