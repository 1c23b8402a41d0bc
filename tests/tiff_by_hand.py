"""TIFF files written from the specification, byte by byte: a reference that no library shares."""

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

TYPES = {3: ("H", 2), 4: ("I", 4), 5: ("I", 4)}  # SHORT, LONG, RATIONAL (two numbers each)


@dataclass
class Page:
    """Samples as stored, (H, W, samples) of any integer or float dtype, and what is declared."""

    samples: np.ndarray
    photometric: int
    bits: int
    form: int = 1
    compression: str = "none"
    layout: str = "strip"  # or "tile", "planar"
    orientation: int | None = None
    extra: tuple[int, ...] = ()
    tags: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)


def lzw(data: bytes) -> bytes:
    """Literals alone, with a clear code before the codes grow beyond 9 bits."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def packbits(data: bytes) -> bytes:
    out = b""
    for start in range(0, len(data), 128):
        part = data[start : start + 128]
        if len(part) > 1 and len(set(part)) == 1:
            out += bytes([257 - len(part), part[0]])
        else:
            out += bytes([len(part) - 1]) + part
    return out


def zstd(data: bytes) -> bytes:
    """A frame of raw blocks (RFC 8878), which is what an encoder does with noise."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + struct.pack("<I", len(data))
    size = 2**16
    starts = range(0, max(1, len(data)), size)
    for start in starts:
        block = data[start : start + size]
        last = start + size >= len(data)
        frame += struct.pack("<I", (len(block) << 3) | last)[:3] + block
    return frame


COMPRESSIONS = {
    "none": (1, bytes),
    "lzw": (5, lzw),
    "deflate": (8, zlib.compress),
    "packbits": (32773, packbits),
    "zstd": (50000, zstd),
}


def packed(block: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples, each row beginning at a byte."""
    if bits % 8 == 0:
        return block.astype(block.dtype.newbyteorder(order)).tobytes()
    rows = block.reshape(len(block), -1).astype(np.uint32)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
    every = ((rows[..., None] >> shifts) & 1).reshape(len(rows), -1).astype(np.uint8)
    return np.packbits(every, axis=1).tobytes()


def segments(page: Page, order: str) -> tuple[list[bytes], dict[int, tuple[int, tuple[int, ...]]]]:
    height, width, count = page.samples.shape
    if page.layout == "tile":
        padded = np.pad(page.samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
        blocks = [
            padded[y : y + 16, x : x + 16]
            for y in range(0, height, 16)
            for x in range(0, width, 16)
        ]
        return [packed(b, page.bits, order) for b in blocks], {322: (3, (16,)), 323: (3, (16,))}
    planes = [page.samples]
    if page.layout == "planar":
        planes = [page.samples[..., i : i + 1] for i in range(count)]
    rows = 7  # the last strip is shorter
    strips = [p[y : y + rows] for p in planes for y in range(0, height, rows)]
    return [packed(s, page.bits, order) for s in strips], {278: (3, (rows,))}


def write(pages: list[Page], order: str = "<") -> bytes:
    """The bytes of a file; its pages' data precede their directories."""
    data = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 0))
    link = 4
    for page in pages:
        height, width, count = page.samples.shape
        number, compress = COMPRESSIONS[page.compression]
        raw, tags = segments(page, order)
        parts = [compress(part) for part in raw]
        offsets = []
        for part in parts:
            offsets.append(len(data))
            data += part + b"\0" * (len(part) % 2)
        tiled = page.layout == "tile"
        tags |= {
            256: (3, (width,)),
            257: (3, (height,)),
            258: (3, (page.bits,) * count),
            259: (3, (number,)),
            262: (3, (page.photometric,)),
            324 if tiled else 273: (4, tuple(offsets)),
            325 if tiled else 279: (4, tuple(len(p) for p in parts)),
            277: (3, (count,)),
            284: (3, (2 if page.layout == "planar" else 1,)),
            339: (3, (page.form,) * count),
        }
        if page.orientation is not None:
            tags[274] = (3, (page.orientation,))
        if page.extra:
            tags[338] = (3, page.extra)
        tags |= page.tags
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            letter, _ = TYPES[kind]
            value = struct.pack(f"{order}{len(values)}{letter}", *values)
            length = len(values) // (2 if kind == 5 else 1)
            if len(value) > 4:
                offset = len(data)
                data += value
                value = struct.pack(order + "I", offset)
            entries += struct.pack(order + "HHI", tag, kind, length) + value.ljust(4, b"\0")
        struct.pack_into(order + "I", data, link, len(data))
        data += struct.pack(order + "H", len(tags)) + entries
        link = len(data)
        data += bytes(4)
    return bytes(data)
