"""Every picture a user may hand in is opened as they see it, or refused in one line."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tuwen.vision import PictureError, PictureLimits, open_picture, picture_size


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def claimed_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    image = (
        PIL.Image.new("I;16", (5, 4), 30000) if mode == "I;16" else PIL.Image.new("RGB", (5, 4), "teal").convert(mode)
    )
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG", "F": "TIFF", "LAB": "TIFF", "HSV": None}.get(mode, "PNG")
    opened = open_picture(encoded(image, kind)) if kind else open_picture(image)
    assert (opened.mode, opened.size) == ("RGB", (5, 4))


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    opened = open_picture(encoded(PIL.Image.fromarray(values)))
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(mode: str) -> None:
    image = PIL.Image.new("RGBA", (2, 2), (0, 0, 0, 0)).convert(mode)
    assert open_picture(encoded(image)).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_palette_is_white() -> None:
    image = PIL.Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30] + [0] * 765)
    assert open_picture(encoded(image, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_animations_give_their_first_frame() -> None:
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data).getpixel((0, 0)) == (255, 0, 0)  # type: ignore[comparison-overlap]


def test_exif_turns_the_picture_and_its_size() -> None:
    image = PIL.Image.new("RGB", (6, 3), "red")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = encoded(image, "JPEG", exif=exif)
    assert open_picture(data).size == picture_size(data) == (3, 6)


def test_one_pixel_is_a_picture() -> None:
    assert open_picture(encoded(PIL.Image.new("RGB", (1, 1)))).size == (1, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a picture; expected one of PNG"),
        (b"%PDF-1.4 nothing", "not a picture"),
        (claimed_png(20000, 20000), "400,000,000 pixels; at most 100,000,000"),
        (claimed_png(12000, 12000), "12000x12000 are 144,000,000 pixels; at most 100,000,000"),
        (claimed_png(40000, 2), "40000x2 pixels; a side may have at most 32,768"),
        (claimed_png(200000, 200000), "pixels"),
        (claimed_png(64, 64), "broken or cut off"),
        (encoded(PIL.Image.effect_noise((64, 64), 90), "JPEG")[:400], "broken or cut off"),
    ],
)
def test_bad_pictures_are_refused_in_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad picture.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=message) as caught:
        open_picture(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"no\.png: cannot be read"):
        open_picture(tmp_path / "no.png")
    with pytest.raises(PictureError, match="is a folder"):
        open_picture(str(tmp_path))
    with pytest.raises(PictureError, match="http://127.0.0.1/a.png: cannot be read"):
        open_picture("http://127.0.0.1/a.png")


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(PIL.Image.new("RGB", (40, 40))))
    with pytest.raises(PictureError, match="at most 50 are taken"):
        open_picture(path, PictureLimits(max_bytes=50))


def test_sizes_are_read_without_decoding() -> None:
    assert picture_size(claimed_png(300, 200)) == (300, 200)


def test_an_open_picture_is_treated_as_its_file_is() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = encoded(PIL.Image.effect_noise((6, 3), 90), "PNG", exif=exif)
    from_bytes, from_open = open_picture(data), open_picture(PIL.Image.open(io.BytesIO(data)))
    assert from_open.size == picture_size(PIL.Image.open(io.BytesIO(data))) == (3, 6)
    assert np.array_equal(np.asarray(from_open), np.asarray(from_bytes))
    assert open_picture(from_open).size == (3, 6), "turned once, not at every opening"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_open_picture_that_is_cut_off_is_refused(mode: str) -> None:
    data = encoded(PIL.Image.effect_noise((64, 64), 90).convert(mode), "JPEG")
    with pytest.raises(PictureError, match="broken or cut off"):
        open_picture(PIL.Image.open(io.BytesIO(data[: len(data) // 2])))


def test_the_size_of_an_open_picture_is_limited_too() -> None:
    with pytest.raises(PictureError, match="5x4 are 20 pixels; at most 19"):
        picture_size(PIL.Image.new("RGB", (5, 4)), PictureLimits(max_pixels=19))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_endless_files_are_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (Path("/dev/null"), tmp_path / "pipe.png"):
        with pytest.raises(PictureError, match="is a device, pipe or socket"):
            open_picture(path)


def test_a_refusal_says_its_file_once(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"x" * 60)
    for source, limits in ((path, PictureLimits(max_bytes=50)), (tmp_path, PictureLimits())):
        with pytest.raises(PictureError) as caught:
            open_picture(source, limits)
        assert str(caught.value).startswith(f"{source}: ")
        assert str(caught.value).count(str(source)) == 1


@pytest.mark.parametrize("source", [None, 5, bytearray(b"x")])
def test_other_things_are_not_pictures(source: object) -> None:
    with pytest.raises(PictureError, match="expected a path, bytes or an open picture, found"):
        open_picture(source)  # type: ignore[arg-type]


def test_sixteen_bit_transparency_is_white() -> None:
    values = np.array([[0, 257 * 100]], dtype=np.uint16)
    opened = open_picture(encoded(PIL.Image.fromarray(values), transparency=0))
    assert np.asarray(opened)[0, :, 0].tolist() == [255, 100]


def test_damage_of_any_kind_gives_a_picture_or_a_refusal() -> None:
    chance = random.Random(0)
    noise = PIL.Image.effect_noise((24, 24), 90)
    whole = [encoded(noise.convert("RGB"), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")]
    limit = PIL.Image.MAX_IMAGE_PIXELS
    refused = 0
    for _ in range(700):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(min(len(data), chance.choice((60, 2000))))] = chance.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert open_picture(bytes(data)).mode == "RGB"
            except PictureError as error:
                refused += "\n" not in str(error)
    assert refused > 50
    assert limit == PIL.Image.MAX_IMAGE_PIXELS


def test_a_size_is_known_from_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path, quality=95)
    whole = path.read_bytes()
    # Nothing behind the header is there any more.
    path.write_bytes(whole[:2000])
    assert picture_size(path) == (1200, 900)
    with pytest.raises(PictureError, match="broken or cut off"):
        open_picture(path)


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_a_turned_png_has_the_size_that_it_is_opened_with(behind: bool, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = encoded(PIL.Image.new("RGB", (30, 20), "teal"), exif=exif)
    start = data.index(b"eXIf") - 4
    stop = start + struct.unpack(">I", data[start : start + 4])[0] + 12
    end = data.index(b"IEND") - 4
    if behind:
        data = data[:start] + data[stop:end] + data[start:stop] + data[end:]
    path = tmp_path / "turned.png"
    path.write_bytes(data)
    assert picture_size(path) == picture_size(data) == open_picture(path).size == (20, 30)
