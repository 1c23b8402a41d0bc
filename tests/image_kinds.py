"""Images of every kind that a file can declare, and what each means, computed from the formats."""

import struct
import zlib

import numpy as np
from tiff_by_hand import Page

WHITE, BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
SHAPE = (20, 37)


def noise(bits, form=1, count=1, shape=SHAPE, seed=0):
    """Samples as stored."""
    rng = np.random.default_rng(seed)
    if form == 3:
        return rng.normal(size=(*shape, count)).astype(f"f{bits // 8}")
    width = next(n for n in (8, 16, 32, 64) if n >= bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if form == 2 else (0, 2**bits)
    kind = "i" if form == 2 else "u"
    return rng.integers(low, high - 1, (*shape, count), f"{kind}{width // 8}", endpoint=True)


def entries(bits, factor=257):
    """A palette, as colours and as its tag (all reds, then greens, then blues)."""
    full = 256 if factor > 1 else 65536
    colours = np.random.default_rng(1).integers(0, full, (2**bits, 3))
    return colours, {320: (3, tuple((colours * factor).T.ravel().tolist()))}


def multiplied(inks):
    """(1 - ink)(1 - black) in exact integers, rounded to the nearest."""
    full = int(np.iinfo(inks.dtype).max)
    light = full - inks.astype(object)
    exact = (2 * light[..., :3] * light[..., 3:] + full) // (2 * full)
    return exact.astype(inks.dtype)


def kinds():
    """Name, page without layout, expected array before orientation."""
    for bits in (1, 2, 4):
        grey = noise(bits)
        step = 255 // (2**bits - 1)
        yield f"grey {bits}", Page(grey, BLACK, bits), (grey[..., 0] * step).astype(np.uint8)
        white = ((2**bits - 1 - grey[..., 0]) * step).astype(np.uint8)
        yield f"white is zero {bits}", Page(grey, WHITE, bits), white
    for bits in (8, 12, 16, 32):
        grey = noise(bits)
        yield f"grey {bits}", Page(grey, BLACK, bits), grey[..., 0]
        yield f"white is zero {bits}", Page(grey, WHITE, bits), (2**bits - 1) - grey[..., 0]
    for bits in (8, 16, 32, 64):
        yield f"signed {bits}", Page(noise(bits, 2), BLACK, bits, 2), noise(bits, 2)[..., 0]
    for bits in (16, 32, 64):
        grey = noise(bits, 3)
        kept = grey[..., 0].astype(np.float32) if bits == 16 else grey[..., 0]
        yield f"float {bits}", Page(grey, BLACK, bits, 3), kept
    for bits in (8, 16):
        colour = noise(bits, 1, 3)
        yield f"RGB {bits}", Page(colour, RGB, bits), colour
        inks = noise(bits, 1, 4)
        yield f"CMYK {bits}", Page(inks, CMYK, bits), multiplied(inks)
    yield "RGB float", Page(noise(32, 3, 3), RGB, 32, 3), noise(32, 3, 3)
    yield "RGB signed", Page(noise(16, 2, 3), RGB, 16, 2), noise(16, 2, 3)
    for bits in (1, 2, 4, 8, 16):
        indices = noise(bits)
        for factor in (257, 256):
            colours, tag = entries(bits, factor)
            page = Page(indices, PALETTE, bits, tags=tag)
            yield f"palette {bits} x {factor}", page, colours.astype(np.uint8)[indices[..., 0]]
    colours, tag = entries(8, 1)
    page = Page(noise(8), PALETTE, 8, tags=tag)
    yield "deep palette", page, colours.astype(np.uint16)[noise(8)[..., 0]]
    ycc = noise(8, 1, 3)
    y, cb, cr = np.moveaxis(ycc.astype(float), -1, 0)
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    rgb = np.clip(np.rint(np.stack([red, green, blue], -1)), 0, 255).astype(np.uint8)
    yield "YCbCr", Page(ycc, YCBCR, 8, tags={530: (3, (1, 1))}), rgb


KINDS = {name: (page, expected) for name, page, expected in kinds()}


def upright(array, orientation):
    """By where EXIF says that row 0 and column 0 of what is stored lie in the picture."""
    top_left = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.rot90(np.fliplr(a)),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.fliplr(a), -1),
        8: np.rot90,
    }
    return top_left[orientation](array)


def same(image, expected):
    assert image.array.dtype == expected.dtype
    np.testing.assert_array_equal(image.array, expected)
    assert image.channel_axis == (-1 if expected.ndim == 3 else None)
    assert image.array.flags.c_contiguous and image.array.dtype.isnative


def put(path, data):
    path.write_bytes(data)
    return path


def png(depth, kind, rows, *chunks, size=None, interlaced=False):
    """A PNG by hand; `rows` are bytes of each row."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", *(size or (4, len(rows))), depth, kind, 0, 0, interlaced)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    for name, content in chunks:
        data += chunk(name, content)
    return (
        data
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def packed_rows(levels, bits):
    every = (levels[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(every.reshape(len(levels), -1).astype(np.uint8), axis=1)
