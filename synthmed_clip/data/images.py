"""From paths, arrays and other libraries' images to the square 8-bit images that the backbone
sees.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthmed import io
from synthmed_clip.data.values import Values, unit_of, values_of

if TYPE_CHECKING:
    from torch import Tensor

ImageLike = Union[str, Path, NDArray[Any], io.Image, PIL.Image.Image, "Tensor"]
_ORIENTATION = 0x0112  # EXIF's tag
_EXACT = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N", "RGB")  # Pillow's modes


def collect(
    images: ImageLike | Iterable[ImageLike],
    channel_axis: int | None = None,
    *,
    volumes: bool = False,
) -> tuple[list[Path | io.Image], bool]:
    """List what was passed, and tell whether it was a single image.

    Parameters
    ----------
    images : path, array, Image, or iterable of them
        A folder stands for the images directly in it, sorted by name. NumPy arrays, torch tensors,
        `synthmed.io.Image` and those of Pillow's whose mode holds grey or RGB are one image each;
        several come as a list (``list(stack)``), a generator, or a data set of torch's that holds
        images.
    channel_axis : int, optional
        The axis of channels of bare arrays and tensors with more than two axes. Without it none
        has channels.
    volumes : bool
        Whether a folder of DICOM slices is one volume, wherever it is named, and the folders of a
        folder are looked at for such.

    Returns
    -------
    items : list of Path or Image
        One an image, none read yet.
    single : bool
        Whether a single image was passed, rather than a list or folder.

    Raises
    ------
    FileNotFoundError
        If a path is not there, or a folder holds no image.
    TypeError
        If something is none of these, or images come as a set, which has no order.
    ValueError
        If an array has no two or three spatial axes, an image of Pillow's has another mode or an
        orientation tag, or a list holds a folder.

    Examples
    --------
    >>> items, single = collect(list(np.zeros((5, 40, 48), np.uint8)))
    >>> len(items), items[0].spatial_shape, single
    (5, (40, 48), False)
    >>> collect(np.zeros((3, 40, 48), np.uint8), channel_axis=0)[0][0].spatial_shape
    (40, 48)
    """
    if isinstance(images, (str, Path)):
        path = Path(images)
        if volumes and _is_series(path):
            return [path], True
        if path.is_dir():
            return list(image_files(path, volumes)), False
        if not path.exists():
            raise FileNotFoundError(f"no image or folder at {path}")
        return [path], True
    one = _as_image(images, channel_axis)
    if one is not None:
        return [one], True
    return [one_of(item, channel_axis, volumes) for item in _several(images)], False


def each_of(
    images: ImageLike | Iterable[ImageLike], channel_axis: int | None = None
) -> Iterable[ImageLike]:
    """Return what `collect` lists, one after the other, without going through an iterable first.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As `collect`, but for what an iterable holds: see `one_of`.

    Examples
    --------
    >>> frames = (np.zeros((40, 48), np.uint8) for _ in range(3))
    >>> each_of(frames) is frames, len(each_of(np.zeros((40, 48))))
    (True, 1)
    """
    if isinstance(images, (str, Path)) or _as_image(images, channel_axis) is not None:
        return collect(images, channel_axis)[0]
    return _several(images)


def _several(images: object) -> Iterable[ImageLike]:
    """What holds several images, as an iterable."""
    if isinstance(images, (set, frozenset)):
        raise TypeError(
            "images must not be a set, which has no order to tell results apart by: pass "
            "sorted(images)"
        )
    if isinstance(images, Mapping):
        raise TypeError(f"images must be a list, not a {type(images).__name__}: pass its values")
    if isinstance(images, Iterable):
        return cast("Iterable[ImageLike]", images)
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):  # as torch's data sets are
        return (images[index] for index in range(len(images)))
    raise TypeError(
        f"images must be paths, arrays, or an iterable of them, not {type(images).__name__}"
    )


def one_of(
    item: ImageLike, channel_axis: int | None = None, volumes: bool = False
) -> Path | io.Image:
    """Return what stands for one image, as `collect` lists it.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If it is none.

    Examples
    --------
    >>> one_of(np.zeros((40, 48), np.uint8)).spatial_shape
    (40, 48)
    """
    found = _as_image(item, channel_axis)
    if found is not None:
        return found
    if not isinstance(item, (str, Path)):
        pairs = isinstance(item, (tuple, list))
        raise TypeError(
            f"an image must be a path, an array, a tensor or a synthmed.io.Image, not "
            f"{type(item).__name__}"
            + ("; of (image, label) pass the images alone: (pair[0] for pair in data)" * pairs)
        )
    if not volumes and Path(item).is_dir():
        raise ValueError(f"a list must hold single images; {item} is a folder")
    part, single = collect(item, volumes=volumes)
    if not single:
        raise ValueError(f"a list must hold single volumes; {item} is a folder of others")
    return part[0]


def _as_image(item: Any, channel_axis: int | None) -> io.Image | None:
    """An image in memory as an `Image`; None for anything else."""
    if isinstance(item, io.Image):
        return item
    if isinstance(item, PIL.Image.Image):
        return _of_pillow(item)
    torch = sys.modules.get("torch")  # who passes a tensor has loaded it
    if torch is not None and isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        item = (item.float() if item.dtype == torch.bfloat16 else item).numpy()
    if not isinstance(item, np.ndarray):
        return None
    return io.Image(item, channel_axis=None if item.ndim == 2 else channel_axis)


def _of_pillow(picture: PIL.Image.Image) -> io.Image:
    if picture.mode not in _EXACT:
        raise ValueError(
            f"a Pillow image of mode {picture.mode} is no plain grey or RGB image: pass its path, "
            f"or convert it to L or RGB"
        )
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        raise ValueError(
            "a Pillow image has an orientation tag: pass its path, or PIL.ImageOps.exif_transpose "
            "of it"
        )
    return io.Image(np.asarray(picture), channel_axis=-1 if picture.mode == "RGB" else None)


def _is_series(path: Path) -> bool:
    """Whether a path is a folder whose DICOM files are the slices of volumes."""
    if not path.is_dir() or path.resolve().name.startswith("."):
        return False
    return any(series.kind == "volume" for series in io.find_series(path))


def image_files(folder: Path, volumes: bool = False) -> list[Path]:
    """Return the image files directly in a folder, sorted by name; at least one.

    Of volumes, the folders in it that hold a DICOM series follow; a folder that itself holds one is
    that volume.

    Raises
    ------
    FileNotFoundError
        If it holds no image; the message names the folders in it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in image_files(Path(folder))]
    ['a.png', 'b.png']
    """
    if volumes and _is_series(folder):
        return [folder]
    found = io.find_images(folder, recursive=False)
    if volumes:
        found += [path for path in sorted(folder.iterdir()) if _is_series(path)]
    if not found:
        inner = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir()))
        raise FileNotFoundError(
            f"no image in {folder}" + (f"; it has the folders {inner}" if inner else "")
        )
    return found


def volumes_under(folder: Path) -> list[Path]:
    """Return the volumes in a folder and all its folders: files, and folders of DICOM slices.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "patient").mkdir()
    ...     Path(folder, "patient", "brain.nii.gz").touch()
    ...     [path.name for path in volumes_under(Path(folder))]
    ['brain.nii.gz']
    """
    files = io.find_images(folder)
    if not files:
        raise FileNotFoundError(f"no image in {folder}")
    series = {parent for parent in {path.parent for path in files} if _is_series(parent)}
    return sorted([*series, *(path for path in files if path.parent not in series)])


def name_of(item: Path | io.Image) -> str:
    """Name an image in a message.

    Examples
    --------
    >>> name_of(Path("a.png")), name_of(io.Image(np.zeros((4, 6))))
    ('a.png', 'an image of shape (4, 6)')
    """
    return str(item) if isinstance(item, Path) else f"an image of shape {item.array.shape}"


@contextmanager
def _named(item: Path | io.Image) -> Iterator[None]:
    """Put an image's name before what is wrong with it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name_of(item)}: {error}") from None


def read_plane(item: Path | io.Image) -> io.Image:
    """Read an image where it is a file, and bring its channels to the last axis.

    Returns
    -------
    Image
        `(H, W)` or, in colour, `(H, W, 3)`, in its own dtype.

    Raises
    ------
    ValueError
        If the file cannot be read, it is a volume, or of neither 1 nor 3 channels.

    Examples
    --------
    >>> read_plane(io.Image(np.zeros((3, 40, 48)), channel_axis=0)).array.shape
    (40, 48, 3)
    """
    image = io.read_image(item) if isinstance(item, Path) else item
    if len(image.spatial_shape) != 2:
        raise ValueError(
            f"{name_of(item)}: expected an image, not a volume of shape {image.array.shape}; an "
            f"array in colour needs channel_axis=, several images are a list, and slices of "
            f"volumes need axis="
        )
    if image.channel_axis is None:
        return image
    array = np.moveaxis(image.array, image.channel_axis, -1)
    if array.shape[-1] == 1:
        return replace(image, array=array[..., 0], channel_axis=None)
    if array.shape[-1] != 3:
        raise ValueError(
            f"{name_of(item)}: has {array.shape[-1]} channels along axis {image.channel_axis}; "
            f"expected 1 (grey) or 3 (RGB)"
        )
    return replace(image, array=array, channel_axis=-1)


def eight_bit(item: Path | io.Image, values: Values) -> io.Image:
    """Read an image, and bring its values to 0 to 255.

    Parameters
    ----------
    item : Path or Image
    values : Values

    Returns
    -------
    Image
        uint8, `(H, W)` or `(H, W, 3)`.

    Raises
    ------
    TypeError, ValueError
        As `read_plane` and `Values.to_bytes`; the message names the image.

    Examples
    --------
    >>> from synthmed_clip.data.values import values_of
    >>> scan = io.Image(np.array([[0.0, 1.0, 2.0]]))
    >>> eight_bit(scan, values_of([scan], (0, 2))).array.tolist()
    [[0, 128, 255]]
    """
    image = read_plane(item)
    with _named(item):
        array = values.to_bytes(image)
    return io.Image(np.ascontiguousarray(array), image.channel_axis, image.spacing)


def square(
    item: Path | io.Image, size: int, values: Values, grey: bool = True
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Bring an image to the backbone's size, as the method does: 8 bits, grey, then Pillow's
    bilinear resize.

    Parameters
    ----------
    item : Path or Image
    size : int
        Side of the result, in pixels.
    values : Values
        How its values become 0 to 255.
    grey : bool
        Whether colour is reduced to its luma (ITU-R 601).

    Returns
    -------
    pixels : ndarray
        `(size, size)`, or `(size, size, 3)` unless grey; uint8.
    shape : pair of int
        Height and width of the input, in pixels.

    Raises
    ------
    TypeError, ValueError
        As `eight_bit`.

    Examples
    --------
    >>> scan = io.Image(np.zeros((40, 48, 3), np.uint8), channel_axis=-1)
    >>> pixels, shape = square(scan, 32, Values())
    >>> pixels.shape, pixels.dtype, shape
    ((32, 32), dtype('uint8'), (40, 48))
    """
    image = eight_bit(item, values)
    height, width = image.spatial_shape
    if grey:
        image = io.grey(image)
    elif image.channel_axis is None:
        image = replace(image, array=np.repeat(image.array[..., None], 3, 2), channel_axis=-1)
    return io.resize(image, size).array, (height, width)


def squares_of(
    items: Sequence[Path | io.Image], size: int, values: Values, grey: bool = True
) -> NDArray[np.uint8]:
    """Return the squares of several images, `(N, size, size)` or `(N, size, size, 3)`.

    Examples
    --------
    >>> squares_of([io.Image(np.zeros((40, 48), np.uint8))], 32, Values()).shape
    (1, 32, 32)
    """
    shape = (0, size, size) if grey else (0, size, size, 3)
    made = [square(item, size, values, grey)[0] for item in items]
    return np.stack(made) if made else np.empty(shape, np.uint8)


def values_in(items: Iterable[Path | io.Image], rule: io.ValueRange | None = None) -> Values:
    """Fix how values are seen by images that may yet have to be read; see `values_of`.

    Examples
    --------
    >>> values_in([io.Image(np.zeros((40, 48), np.uint8))])
    Values(span=(0.0, 255.0), unit='uint8')
    """

    def read() -> Iterator[io.Image]:
        for item in items:
            image = read_plane(item)
            with _named(item):
                unit_of(image)
            yield image

    return values_of(read(), rule)


def resize_map(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a float32 map to `(H, W)` by the same Pillow bilinear resize that the image went
    through.

    Examples
    --------
    >>> resize_map(np.zeros((32, 32), np.float32), (40, 48)).shape
    (40, 48)
    """
    if values.shape == tuple(shape):
        return values.copy()  # not a view that keeps a batch alive
    picture = PIL.Image.fromarray(values)
    return np.array(picture.resize((shape[1], shape[0]), PIL.Image.Resampling.BILINEAR))
