"""NIfTI 1 and 2, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.limits import require_room
from synthmed.io.readers.linear import Linear, apply_linear, common_dtype
from synthmed.io.readers.medical import needing_medical
from synthmed.io.readers.samples import drop_alpha

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_GZIP = b"\x1f\x8b"
_FIRST, _SECOND = 348, 540  # bytes of the header of either version
_JOINED = {_FIRST: b"n+1\0", _SECOND: b"n+2\0"}
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, millimetre, micron
_READ = {2, 4, 8, 16, 64, 128, 256, 512, 768, 1024, 1280, 2304}  # integers, floats, RGB, RGBA
_CHUNK = 2**20


def _matches(head: bytes, name: str) -> bool:
    if head.startswith(_GZIP):
        if name.endswith(".nii.gz"):
            return True
        try:
            head = zlib.decompressobj(31).decompress(head)
        except zlib.error:
            return False
    mark = head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")
    return mark or name.endswith((".nii", ".hdr", ".img"))


def _read(path: Path) -> Image:
    return _read_frame(path, None)


def _read_frame(path: Path, frame: int | None) -> Image:
    with needing_medical():
        import nibabel  # noqa: F401 (asked for before the file is)
    with path.open("rb") as opened:
        packed = opened.read(2) == _GZIP
    try:
        with cast(BinaryIO, gzip.open(path)) if packed else path.open("rb") as file:
            header = _header(file, path.name.lower())
            shape, frames = _axes(header, frame)
            array = _stored(file, header, shape, frames, frame or 0, path.stat().st_size, packed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable(f"cannot be decoded: it is truncated or damaged ({error})") from None
    spacing, affine = _geometry(header, len(shape))
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
        array = array if array.shape[-1] == 3 else np.ascontiguousarray(drop_alpha(array))
        return Image(array, channel_axis=-1, spacing=spacing, affine=affine)
    return Image(
        _scaled(header, array),
        spacing=spacing,
        value_range=_value_range(header),
        affine=affine,
    )


def _header(file: BinaryIO, name: str) -> Nifti1Header:
    import nibabel

    start = file.read(4)
    if len(start) < 4:
        raise Unreadable("cannot be decoded: it is truncated in its header")
    little = int.from_bytes(start, "little") in _JOINED
    size = int.from_bytes(start, "little" if little else "big")
    if size not in _JOINED:
        raise Unreadable("has no header of NIfTI 1 or 2")
    data = start + file.read(size - 4)
    if len(data) < size:
        raise Unreadable("cannot be decoded: it is truncated in its header")
    mark = data[344:348] if size == _FIRST else data[4:8]
    if mark != _JOINED[size]:
        if mark in (b"ni1\0", b"ni2\0") or name.endswith((".hdr", ".img")):
            raise Unreadable(
                "is one of a pair of files (.hdr and .img), which is not read: save it as one .nii"
            )
        raise Unreadable("has no mark of NIfTI in its header (Analyze 7.5 does not say what it is)")
    kind = nibabel.Nifti1Header if size == _FIRST else nibabel.Nifti2Header
    return kind(data, endianness="<" if little else ">", check=False)


def _axes(header: Nifti1Header, frame: int | None) -> tuple[tuple[int, ...], int]:
    """Shape of the image or volume, and how many there are."""
    declared = int(header["dim"][0])
    if not 1 <= declared <= 7:
        raise Unreadable(f"is damaged: its header declares {declared} axes")
    lengths = tuple(int(n) for n in header["dim"][1 : declared + 1])
    if min(lengths) < 1:
        raise Unreadable(f"has no pixels: its shape is {lengths}")
    while len(lengths) > 3 and lengths[-1] == 1:
        lengths = lengths[:-1]
    if len(lengths) < 2:
        raise Unreadable(f"has the shape {lengths}: an image or a volume is expected")
    if len(lengths) > 4:
        raise Unreadable(f"has {len(lengths)} axes, of the lengths {lengths}; up to 4 are read")
    frames = lengths[3] if len(lengths) == 4 else 1
    if frame is None and frames > 1:
        raise Unreadable(f"holds {frames} volumes; choose one by its frame, 0 to {frames - 1}")
    if frame is not None and not 0 <= frame < frames:
        raise Unreadable(f"has the frames 0 to {frames - 1}; there is no frame {frame}")
    return lengths[:3], frames


def _stored(
    file: BinaryIO,
    header: Nifti1Header,
    shape: tuple[int, ...],
    frames: int,
    frame: int,
    size: int,
    packed: bool,
) -> NDArray:
    from nibabel.nifti1 import data_type_codes

    code = int(header["datatype"])
    if code not in _READ:
        known = data_type_codes.label.get(code, f"unknown, {code}")
        raise Unreadable(f"holds values of the kind {known}, which are not read")
    dtype = header.get_data_dtype()
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise Unreadable(
            f"is damaged: it declares {dtype} values of {int(header['bitpix'])} bits each"
        )
    offset = float(header["vox_offset"])
    if not offset.is_integer() or not file.tell() + 4 <= offset:
        raise Unreadable(f"is damaged: its values begin at byte {offset:g}, inside its header")
    count = int(np.prod(shape, dtype=object))
    length = count * dtype.itemsize
    start, end = int(offset) + frame * length, int(offset) + frames * length
    if not packed and end > size:
        raise Unreadable(f"cannot be decoded: it is truncated to {size} bytes of {end}")
    require_room((*shape, frames), end, size)
    file.seek(start)
    data = file.read(length)
    file.seek(end)  # of what is not compressed, the size is known
    while packed and file.read(_CHUNK):  # to the end, where the checksum is
        pass
    if len(data) < length or file.tell() < end:
        raise Unreadable(f"cannot be decoded: it is truncated, {end} bytes are declared")
    return np.frombuffer(data, dtype).reshape(shape, order="F")


def _scaled(header: Nifti1Header, stored: NDArray) -> NDArray:
    """Values by slope and intercept; a slope of 0, or none, says that there is no scale."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        slope, intercept = 1.0, 0.0
    if not np.isfinite(slope) or not np.isfinite(intercept):
        raise Unreadable(f"is damaged: its slope is {slope} and its intercept {intercept}")
    native = stored.dtype.newbyteorder("=")
    if slope == 1 and intercept == 0:
        return np.ascontiguousarray(stored, native)
    info = np.iinfo(native) if native.kind in "iu" else None
    line = Linear(slope, intercept, None if info is None else (int(info.min), int(info.max)))
    out = np.empty(stored.shape, common_dtype([line]))
    for i in range(len(stored)):  # a part at a time: no copy of the whole in between
        apply_linear(stored[i], line, out[i])
    return out


def _geometry(
    header: Nifti1Header, axes: int
) -> tuple[tuple[float, ...] | None, NDArray[np.float64] | None]:
    """Spacing and affine in millimetres."""
    code = int(header["xyzt_units"]) & 7
    if code not in _MILLIMETRES:
        raise Unreadable(f"has lengths in the unknown unit {code}")
    scale = _MILLIMETRES[code]
    declared = tuple(abs(float(n)) * scale for n in header["pixdim"][1 : axes + 1])
    if not header["sform_code"] and not header["qform_code"]:  # it says how large, but not where
        return (declared if all(0 < n < np.inf for n in declared) else None), None
    try:
        affine = np.array(header.get_best_affine(), np.float64)
    except (ValueError, np.linalg.LinAlgError) as error:  # of quaternions, and of sizes
        raise Unreadable(f"is damaged: its affine cannot be computed ({error})") from None
    affine[:3] *= scale
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
        raise Unreadable(f"is damaged: its affine maps no volume, {affine[:3].tolist()}")
    sizes = tuple(float(n) for n in np.linalg.norm(affine[:3, :axes], axis=0))
    if np.allclose(sizes, declared, rtol=1e-5):  # the same, without the affine's rounding
        sizes = declared
    return sizes, affine


def _value_range(header: Nifti1Header) -> tuple[float, float] | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if -np.inf < low < high < np.inf else None


NIFTI = Reader("NIfTI", (".nii", ".nii.gz"), _matches, _read, read_frame=_read_frame)
