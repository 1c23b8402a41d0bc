"""What PNG, JPEG and BMP mean, alpha in every format, and which pages of TIFF are the image."""

import struct
import warnings
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from image_kinds import (
    BLACK,
    KINDS,
    RGB,
    SHAPE,
    WHITE,
    multiplied,
    noise,
    packed_rows,
    png,
    put,
    same,
    upright,
)
from tiff_by_hand import COMPRESSIONS, Page, write

from synthmed.io import ImageWarning, Unreadable, read_image


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


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_depth(tmp_path, bits):
    levels = noise(bits, shape=(5, 4))[..., 0]
    rows = [bytes(row) for row in np.split(packed_rows(levels, bits), 5)]
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
