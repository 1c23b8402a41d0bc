"""What files mean: compression x photometric x dtype x orientation x layout, against the formats.

References are computed from the declared meaning on arrays that are written by hand, by Pillow
(libtiff, libpng) or by OpenCV, never by the library that reads them.
"""

import io
import itertools
import struct
import warnings
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiff_by_hand import COMPRESSIONS, Page, write

from synthmed.io import Image, ImageWarning, Unreadable, encode, read_image, read_mask

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


@pytest.mark.parametrize("name", KINDS)
def test_tiff_grid(tmp_path, name):
    page, expected = KINDS[name]
    orientations = itertools.cycle(range(1, 9))
    layouts = ("strip", "tile", "planar") if page.samples.shape[-1] > 1 else ("strip", "tile")
    for page.compression, page.layout, order in itertools.product(COMPRESSIONS, layouts, "<>"):
        page.orientation = next(orientations)
        image = read_image(put(tmp_path / "a.tif", write([page], order)))
        same(image, upright(expected, page.orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format(tmp_path, orientation):
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    expected = upright(picture, orientation)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    same(read_image(tmp_path / "a.png"), expected)
    PIL.Image.fromarray(picture).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    same(read_image(tmp_path / "a.tif"), expected)
    deep = np.stack([picture.astype(np.uint16) * 257] * 3, -1)
    _, data = cv2.imencode(".png", deep)
    data = bytes(data)
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    after = put(tmp_path / "b.png", data[:-12] + chunk + data[-12:])  # behind the pixels
    same(read_image(after), upright(deep, orientation))
    large = np.kron(picture, np.ones((8, 8), np.uint8))
    PIL.Image.fromarray(large).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = read_image(tmp_path / "a.jpg").array
    assert np.abs(image.astype(int) - upright(large, orientation)).max() <= 2
    stack = [Page(noise(8, seed=i), BLACK, 8, orientation=orientation) for i in range(3)]
    volume = read_image(put(tmp_path / "v.tif", write(stack)))
    planes = [upright(noise(8, seed=i)[..., 0], orientation) for i in range(3)]
    np.testing.assert_array_equal(volume.array, np.stack(planes))
    assert volume.channel_axis is None


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_undefined_orientation_is_refused(tmp_path, orientation):
    page = Page(noise(8), BLACK, 8, orientation=orientation)
    with pytest.raises(Unreadable, match=f"orientation {orientation}; 1 to 8"):
        read_image(put(tmp_path / "a.tif", write([page])))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16", "I", "F"])
def test_what_libtiff_writes(tmp_path, mode, compression):
    colour = noise(8, 1, 3)
    picture = PIL.Image.fromarray(colour)
    if mode == "I;16":
        expected = noise(16)[..., 0]
        picture = PIL.Image.fromarray(expected)
    elif mode == "P":
        picture = picture.quantize(7)
        expected = np.array(picture.convert("RGB"))
    elif mode == "CMYK":
        inks = noise(8, 1, 4)
        picture = PIL.Image.fromarray(inks, "CMYK")
        expected = np.array(picture.convert("RGB"))
    else:
        picture = picture.convert(mode) if mode in ("1", "RGB") else picture.convert("L")
        picture = picture.convert(mode)
        expected = np.array(picture)
        expected = expected.astype(np.uint8) * 255 if mode == "1" else expected
    picture.save(tmp_path / "a.tif", compression=compression)
    same(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("dtype", ["uint16", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_opencv_writes(tmp_path, dtype, count, compression):
    bits, form = np.dtype(dtype).itemsize * 8, {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]
    array = noise(bits, form, count)
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), array[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    same(read_image(path), array if count == 3 else array[..., 0])


def test_fax_compressions_and_both_bit_orders(tmp_path):
    bits = noise(1, shape=(20, 40))[..., 0] > 0
    for compression, white in itertools.product(("group3", "group4"), (0, 1)):
        picture = PIL.Image.fromarray(bits)
        picture.save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 1 - white})
        same(read_image(tmp_path / "a.tif"), bits.astype(np.uint8) * np.uint8(255))
    page = Page(bits[..., None].astype(np.uint8), BLACK, 1, tags={266: (3, (2,))})
    data = bytearray(write([page]))
    flipped = [int(f"{byte:08b}"[::-1], 2) for byte in range(256)]
    offset = data.index(np.packbits(bits, axis=1)[:7].tobytes())
    for i in range(offset, offset + 102):  # two strips of 35 bytes and a pad byte, one of 30
        data[i] = flipped[data[i]]
    same(read_image(put(tmp_path / "b.tif", data)), bits.astype(np.uint8) * np.uint8(255))


def test_jpeg_in_tiff_is_brought_to_rgb(tmp_path):
    picture = np.full((32, 48, 3), (200, 60, 120), np.uint8)
    for compression in ("jpeg", None):
        PIL.Image.fromarray(picture).convert("YCbCr").save(
            tmp_path / "a.tif", compression=compression
        )
        image = read_image(tmp_path / "a.tif")
        assert np.abs(image.array.astype(int) - picture).max() <= 2 and image.channel_axis == -1


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


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_depth(tmp_path, bits):
    levels = noise(bits, shape=(5, 4))[..., 0]
    rows = [bytes(row) for row in np.split(_packed(levels, bits), 5)]
    step = 255 // (2**bits - 1) if bits < 8 else 1
    grey = (levels * step).astype(np.uint16 if bits == 16 else np.uint8)
    same(read_image(put(tmp_path / "a.png", png(bits, 0, rows))), grey)
    if bits <= 8:
        colours = np.random.default_rng(2).integers(0, 256, (2**bits, 3), np.uint8)
        data = png(bits, 3, rows, (b"PLTE", colours.tobytes()))
        same(read_image(put(tmp_path / "p.png", data)), colours[levels])
        with_alpha = png(bits, 3, rows, (b"PLTE", colours.tobytes()), (b"tRNS", b"\0"))
        with pytest.warns(ImageWarning, match="alpha channel"):
            same(read_image(put(tmp_path / "t.png", with_alpha)), colours[levels])


@pytest.mark.parametrize("kind, count", [(0, 1), (2, 3), (3, 1)])
def test_interlaced_png(tmp_path, kind, count):
    array = noise(8, count=count, shape=(9, 11))
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = [
        row.tobytes()
        for top, left, down, right in (*passes, (1, 0, 2, 1))
        for row in array[top::down, left::right]
    ]
    colours = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    palette = [(b"PLTE", colours.tobytes())] if kind == 3 else []
    data = png(8, kind, rows, *palette, size=(11, 9), interlaced=True)
    expected = {0: array[..., 0], 2: array, 3: colours[array[..., 0]]}[kind]
    same(read_image(put(tmp_path / "a.png", data)), expected)


def test_a_colour_beyond_the_palette_is_refused(tmp_path):
    data = png(8, 3, [bytes([0, 1, 2, 3])], (b"PLTE", bytes(9)))
    with pytest.raises(Unreadable, match="the colour 3 of a palette of 3"):
        read_image(put(tmp_path / "a.png", data))


def _packed(levels, bits):
    every = (levels[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(every.reshape(len(levels), -1).astype(np.uint8), axis=1)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("kind, count", [(2, 3), (4, 2), (6, 4)])
def test_colour_and_alpha_of_png_and_tiff(tmp_path, kind, count, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    array = noise(bits, count=count, shape=(5, 4))
    expected = array[..., 0] if count == 2 else array[..., :3]
    rows = [row.astype(f">{dtype}").tobytes() for row in array]
    put(tmp_path / "a.png", png(bits, kind, rows))
    photometric = BLACK if count == 2 else RGB
    names = ["a.png"]
    for layout in ("strip", "tile", "planar"):
        extra = () if count == 3 else (2,)
        names.append(f"{layout}.tif")
        page = Page(array, photometric, bits, layout=layout, extra=extra)
        put(tmp_path / names[-1], write([page]))
    for name in names:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            same(read_image(tmp_path / name), expected)
        said = [str(w.message) for w in caught]
        assert len(said) == (count != 3) and all(f"{name}: the alpha" in text for text in said)


def test_the_alpha_of_many_pages_is_said_once(tmp_path):
    pages = [Page(noise(8, count=4, seed=i), RGB, 8, extra=(1,)) for i in range(4)]
    with pytest.warns(ImageWarning) as caught:
        image = read_image(put(tmp_path / "a.tif", write(pages)))
    assert len(caught) == 1 and image.array.shape == (4, *SHAPE, 3)
    np.testing.assert_array_equal(image.array[3], pages[3].samples[..., :3])


@pytest.mark.parametrize("name", ["white is zero 8", "CMYK 16", "palette 8 x 257", "YCbCr"])
@pytest.mark.parametrize("layout", ["strip", "tile", "planar"])
def test_alpha_goes_with_any_meaning(tmp_path, name, layout):
    page, expected = KINDS[name]
    samples = np.concatenate([page.samples, page.samples[..., :1]], -1)
    with_alpha = Page(samples, page.photometric, page.bits, layout=layout, extra=(2,))
    with_alpha.tags = page.tags
    with pytest.warns(ImageWarning, match="alpha"):
        same(read_image(put(tmp_path / "a.tif", write([with_alpha]))), expected)


def test_cmyk_is_the_same_in_every_format(tmp_path):
    inks = np.full((16, 16, 4), (30, 200, 90, 40), np.uint8)
    expected = multiplied(inks)
    PIL.Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=100)
    PIL.Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif")
    same(read_image(tmp_path / "a.tif"), expected)
    assert np.abs(read_image(tmp_path / "a.jpg").array.astype(int) - expected).max() <= 1
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xee")
    bare = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]
    with pytest.raises(Unreadable, match="no Adobe marker"):
        read_image(put(tmp_path / "b.jpg", bare))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp(tmp_path, mode):
    picture = PIL.Image.fromarray(noise(8, 1, 3))
    picture = picture.quantize(9) if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / "a.bmp")
    expected = (
        picture.convert("RGB") if mode == "P" else picture.convert("RGB" if mode == "RGB" else "L")
    )
    same(read_image(tmp_path / "a.bmp"), np.array(expected))
    inverted = PIL.Image.fromarray(noise(8)[..., 0]).convert("P")
    inverted.putpalette([255 - v for v in range(256) for _ in range(3)])
    inverted.save(tmp_path / "b.bmp")
    same(read_image(tmp_path / "b.bmp"), 255 - noise(8)[..., 0])


def test_pyramids_are_read_at_full_resolution(tmp_path):
    full, half = noise(8), noise(8, shape=(10, 18))
    reduced = Page(half, BLACK, 8, tags={254: (4, (1,))})
    for pages in ([Page(full, BLACK, 8), reduced], [reduced, Page(full, BLACK, 8)]):
        same(read_image(put(tmp_path / "a.tif", write(pages))), full[..., 0])
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(full[..., 0], subifds=1, photometric="minisblack")
        file.write(half[..., 0], subfiletype=1, photometric="minisblack")
    same(read_image(tmp_path / "b.tif"), full[..., 0])


def test_a_slide_is_read_without_its_overviews(tmp_path):
    slide = noise(8, count=3, shape=(40, 50))
    with tifffile.TiffWriter(tmp_path / "a.svs.tif") as file:
        for part, said, kind in (
            (slide, "Aperio Image Library v1", 0),
            (slide[::2, ::2], "Aperio Image Library v1 thumbnail", 0),
            (slide[:20], "Aperio label", 1),
            (slide[:10], "Aperio macro", 9),
        ):
            tile = None if kind or len(part) < 40 else (16, 16)
            file.write(
                part,
                photometric="rgb",
                subfiletype=kind,
                description=said,
                tile=tile,
                metadata=None,
            )
    same(read_image(tmp_path / "a.svs.tif"), slide)


def test_equal_pages_are_a_volume_whatever_their_compression(tmp_path):
    pages = [Page(noise(16, seed=i), BLACK, 16, compression=c) for i, c in enumerate(COMPRESSIONS)]
    image = read_image(put(tmp_path / "a.tif", write(pages, ">")))
    assert image.channel_axis is None and image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, np.stack([p.samples[..., 0] for p in pages]))
    white = [Page(noise(8), WHITE, 8), Page(255 - noise(8), BLACK, 8)]
    first, second = read_image(put(tmp_path / "b.tif", write(white))).array
    np.testing.assert_array_equal(first, second)  # each page by what it declares
    stack = noise(16, count=4, shape=(30, 40)).transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "c.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif").array, stack)
    tifffile.imwrite(tmp_path / "d.tif", stack, truncate=True, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "d.tif").array, stack)  # of one page


GREY = noise(8)
REFUSED = {
    "pages of other shapes": (
        [Page(noise(8, shape=(8, 9)), BLACK, 8), Page(GREY, BLACK, 8)],
        r"pages that differ: 1 of 8 x 9 uint8, 1 of 20 x 37 uint8",
    ),
    "pages of other dtypes": (
        [Page(GREY, BLACK, 8), Page(noise(16), BLACK, 16)],
        r"pages that differ: .* uint8, .* uint16",
    ),
    "pages that lie otherwise": (
        [Page(GREY, BLACK, 8), Page(GREY, BLACK, 8, orientation=6)],
        "pages that differ",
    ),
    "grey and palette": (
        [Page(GREY, BLACK, 8), Page(GREY, PALETTE, 8, tags=entries(8)[1])],
        "pages that differ",
    ),
    "five bands": ([Page(noise(16, count=5), BLACK, 16, extra=(0,) * 4)], "5 samples a pixel"),
    "four bands of RGB": ([Page(noise(8, count=4), RGB, 8, extra=(0,))], "4 samples a pixel"),
    "undeclared alpha": ([Page(noise(8, count=4), RGB, 8)], "not declared as one alpha channel"),
    "two bands": ([Page(noise(8, count=2), RGB, 8)], "has 2 samples a pixel, RGB has 3"),
    "CIELab": ([Page(noise(8, count=3), 8, 8)], "is CIELab"),
    "mosaic": ([Page(GREY, 32803, 8)], "colour filter array"),
    "unknown": ([Page(GREY, 77, 8)], "photometric interpretation 77"),
    "complex": ([Page(noise(64), BLACK, 64, 6)], "holds complex numbers"),
    "undefined samples": ([Page(GREY, BLACK, 8, 4)], "holds undefined samples"),
    "white float": ([Page(noise(32, 3), WHITE, 32, 3)], "white at zero in float32"),
    "white signed": ([Page(noise(16, 2), WHITE, 16, 2)], "white at zero in int16"),
    "three bits": ([Page(noise(3), BLACK, 3)], "unsigned samples of 3 bits"),
    "no palette": ([Page(GREY, PALETTE, 8)], "palette"),
    "other inks": ([Page(noise(8, count=4), CMYK, 8, tags={332: (3, (2,))})], "has inks other"),
    "dots": ([Page(noise(8, count=4), CMYK, 8, tags={336: (3, (10, 240))})], "the dot range"),
    "subsampled": ([Page(noise(8, count=3), YCBCR, 8, tags={530: (3, (2, 2))})], "subsampling"),
    "old JPEG": ([Page(GREY, BLACK, 8, tags={259: (3, (6,))})], "old JPEG"),
    "compression": ([Page(GREY, BLACK, 8, tags={259: (3, (12345,))})], "12345"),
    "mixed bits": ([Page(noise(8, count=3), RGB, 8, tags={258: (3, (5, 6, 5))})], "differ: bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_undefined_is_refused_by_name(tmp_path, name):
    pages, said = REFUSED[name]
    with pytest.raises(Unreadable, match=rf"a\.tif: .*{said}"):
        read_image(put(tmp_path / "a.tif", write(pages)))


def test_series_are_refused_with_their_sizes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for n in (10, 20):
            file.write(noise(8, shape=(5, n, n))[..., 0], photometric="minisblack")
    with pytest.raises(Unreadable, match=r"2 series \(0: 5 x 10 x 10 uint8, 1: 5 x 20 x 20"):
        read_image(tmp_path / "a.tif")
    for axes, said in (("CYX", "5 channels"), ("TYX", "5 time points")):
        planes = noise(8, shape=(5, 20, 30))[..., 0]
        tifffile.imwrite(tmp_path / "b.tif", planes, imagej=True, metadata={"axes": axes})
        with pytest.raises(Unreadable, match=said):
            read_image(tmp_path / "b.tif")


def encoded(array, form, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


COLOUR = noise(8, 1, 3)
WHOLE = {
    "grey.png": encoded(GREY[..., 0], "PNG"),
    "deep.png": encode(Image(noise(16, count=3), -1), ".png"),
    "a.jpg": encoded(COLOUR, "JPEG"),
    "progressive.jpg": encoded(COLOUR, "JPEG", progressive=True),
    "a.bmp": encoded(COLOUR, "BMP"),
    "a.tif": encode(Image(noise(32, 3)[..., 0]), ".tif"),
    "lzw.tif": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "deflate.tif": write([Page(GREY, BLACK, 8, compression="deflate", layout="tile")]),
    # The last 16 bytes are a copy of tags' values that no page refers to.
    "stack.tif": encode(Image(noise(16, shape=(5, 8, 9))[..., 0]), ".tif")[:-16],
    "pages.tif": write([Page(noise(8, seed=i), BLACK, 8) for i in range(3)]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_anywhere_is_refused(tmp_path, name):
    whole = WHOLE[name]
    read_image(put(tmp_path / name, whole))
    for length in {
        *range(0, len(whole), max(1, len(whole) // 60)),
        *range(len(whole) - 5, len(whole)),
    }:
        with pytest.raises(Unreadable, match=name):
            read_image(put(tmp_path / name, whole[:length]))


def rewrite(data, tag, change):
    """A file of one page with other values of a tag of LONGs, of which it may keep fewer."""
    data = bytearray(data)
    (directory,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, directory)
    for at in range(directory + 2, directory + 2 + 12 * tags, 12):
        number, _, count, offset = struct.unpack_from("<HHII", data, at)
        if number == tag:
            offset = at + 8 if count == 1 else offset
            values = change(list(struct.unpack_from(f"<{count}I", data, offset)))
            struct.pack_into(f"<{len(values)}I", data, offset, *values)
            struct.pack_into("<I", data, at + 4, len(values))
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", ["strip", "tile"])
def test_strips_and_tiles_that_are_not_whole_are_refused(tmp_path, compression, layout):
    whole = write([Page(GREY, BLACK, 8, compression=compression, layout=layout)])
    offsets, counts = (324, 325) if layout == "tile" else (273, 279)
    for tag, change in (
        (counts, lambda values: [v // 2 for v in values]),
        (counts, lambda values: [*values[:-1], values[-1] // 2]),
        (counts, lambda values: [0, *values[1:]]),
        (counts, lambda values: values[:-1]),
        (offsets, lambda values: values[:-1]),
        (offsets, lambda values: [*values[:-1], 10**6]),
    ):
        with pytest.raises(Unreadable, match=r"a\.tif"):
            read_image(put(tmp_path / "a.tif", rewrite(whole, tag, change)))


def test_strips_that_contradict_their_rows_are_refused(tmp_path):
    page = Page(GREY, BLACK, 8, tags={278: (3, (20,))})  # one strip is said, three are written
    with pytest.raises(Unreadable, match="has 3 strips or tiles of 1"):
        read_image(put(tmp_path / "a.tif", write([page])))


def test_one_strip_that_is_too_short_is_refused(tmp_path):
    whole = write([Page(GREY[:7], BLACK, 8)])
    short = rewrite(whole, 279, lambda values: [values[0] - 1])
    with pytest.raises(Unreadable, match="has 258 bytes of data, 259 are needed"):
        read_image(put(tmp_path / "a.tif", short))


@given(st.sampled_from(sorted(WHOLE)), st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_either_refused_or_harmless_to_the_shape(tmp_path_factory, name, data):
    whole = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.getbasetemp() / name, whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        try:
            image = read_image(path)
        except Unreadable as error:
            assert str(path) in str(error)
        else:
            assert len(image.spatial_shape) in (2, 3) and image.array.size


def test_a_stack_says_that_it_is_truncated(tmp_path):
    for name in ("pages.tif", "stack.tif"):
        whole = WHOLE[name]
        with pytest.raises(Unreadable, match="truncated"):
            read_image(put(tmp_path / name, whole[: int(len(whole) * 0.7)]))


def test_animations_are_refused_by_name(tmp_path):
    frames = [PIL.Image.fromarray(noise(8, seed=i)[..., 0]) for i in range(3)]
    for name, said in (
        ("a.png", "animated, with 3 frames"),
        ("a.gif", "animated GIF of 3 frames"),
        ("a.webp", "animated WEBP of 3 frames"),
    ):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(Unreadable, match=rf"{name}: .*{said}"):
            read_image(tmp_path / name)


def test_several_pictures_in_a_jpeg_are_refused(tmp_path):
    frames = [PIL.Image.fromarray(noise(8, 1, 3, (32, 32), i)) for i in range(2)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    with pytest.raises(Unreadable, match=r"holds 2 pictures \(MPO"):
        read_image(tmp_path / "a.jpg")
    frames[0].save(tmp_path / "b.jpg", "MPO", save_all=True)
    assert read_image(tmp_path / "b.jpg").array.shape == (32, 32, 3)


def test_a_header_that_claims_gigabytes_is_refused_before_memory_is_asked_for(tmp_path):
    large = 30_000
    header = struct.pack(">IIBBBBB", large, large, 16, 2, 0, 0, 0)
    plain = png(8, 0, [b"abcd"])
    chunk = b"IHDR" + header
    whole = plain[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    size = {256: (4, (large,)), 257: (4, (large,)), 278: (4, (large,))}
    page = Page(noise(16, shape=(4, 4)), BLACK, 16, compression="deflate", tags=size)
    jpeg = bytearray(encoded(GREY[..., 0], "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", large, large)
    for name, data in (("a.png", whole), ("a.tif", write([page])), ("a.jpg", jpeg)):
        with pytest.raises(Unreadable, match=r"30000 x 30000 .* header is damaged"):
            read_image(put(tmp_path / name, data))


def test_what_exceeds_memory_is_refused_in_words(tmp_path):
    side = 2_000_000
    size = {256: (4, (side,)), 257: (4, (side,)), 278: (4, (side,)), 279: (4, (2**32 - 1,))}
    path = put(tmp_path / "a.tif", write([Page(GREY, BLACK, 8, compression="lzw", tags=size)]))
    with path.open("r+b") as file:
        file.truncate(2**33)  # a hole: nothing is stored
    with pytest.raises(Unreadable, match=r"too large for this computer: .* lower magnification"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_images_above_pillows_limit_are_read(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as much
    picture = noise(8, shape=(40, 50))[..., 0]
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), picture)
    same(read_image(tmp_path / f"a.{suffix}"), picture)
    cv2.imwrite(str(tmp_path / "a.jpg"), picture)
    assert read_image(tmp_path / "a.jpg").array.shape == (40, 50)


def test_masks_of_one_bit_are_the_same_in_every_compression(tmp_path):
    mask = noise(1)[..., 0] > 0
    for compression, photometric in itertools.product(COMPRESSIONS, (WHITE, BLACK)):
        stored = mask if photometric == BLACK else ~mask
        page = Page(stored[..., None].astype(np.uint8), photometric, 1, compression=compression)
        np.testing.assert_array_equal(read_mask(put(tmp_path / "a.tif", write([page]))), mask)


real = st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8"]).map(np.dtype)
sides = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)


@given(hnp.arrays(real, sides), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_read_back(tmp_path_factory, array, colour):
    array = np.stack([array] * 3, -1) if colour else array
    image = Image(array, channel_axis=-1 if colour else None)
    path = tmp_path_factory.getbasetemp() / "round.tif"
    back = read_image(put(path, encode(image, ".tif")))
    single = image.spatial_shape[0] == 1 and len(image.spatial_shape) == 3
    assert back.channel_axis == image.channel_axis and back.array.dtype == array.dtype
    np.testing.assert_array_equal(back.array, array[0] if single else array)


@given(
    st.sampled_from(["u1", "u2", "i2", "f4"])
    .map(np.dtype)
    .flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=20))
    ),
    st.sampled_from(list(COMPRESSIONS)),
    st.sampled_from(["strip", "tile", "planar"]),
    st.sampled_from("<>"),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_by_hand_is_read(
    tmp_path_factory, array, compression, layout, order, orientation
):
    array = np.stack([array[..., 0]] * 3, -1)
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    page = Page(array, RGB, 8 * array.itemsize, form, compression, layout, orientation)
    path = tmp_path_factory.getbasetemp() / "hand.tif"
    same(read_image(put(path, write([page], order))), upright(array, orientation))
