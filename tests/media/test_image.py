"""Pictures of every mode, and bytes that are none."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anymal_eval.errors import MediaError
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.pixels import FORMATS, ORIENTATION
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media


def media(path: Path) -> Media:
    return Media(kind="image", uri=str(path))


def load_image(item: Media) -> NDArray[np.uint8]:
    with MediaReader() as reader:
        return reader.image(item)


def save(path: Path, image: Image.Image, **how: Any) -> Media:
    image.save(path, **how)
    return media(path)


def gradient(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8, columns * 7, (rows + columns) * 4], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_lossless_kinds_are_exact_and_writable(tmp_path: Path, suffix: str) -> None:
    pixels = load_image(save(tmp_path / f"a.{suffix}", Image.fromarray(gradient())))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    item = save(tmp_path / "a.png", Image.fromarray(gradient()), exif=exif)
    with Image.open(item.uri) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(load_image(item), expected)


def test_exif_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    item = save(tmp_path / "a.png", Image.fromarray(gradient()), exif=b"Exif\0\0II*\0\xff\xff")
    np.testing.assert_array_equal(load_image(item), gradient())


def test_cmyk_is_converted(tmp_path: Path) -> None:
    item = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    np.testing.assert_allclose(load_image(item)[8, 8], (255, 0, 0), atol=3)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 256, 257, 32768, 65278, 65535]], np.uint16)
    pixels = load_image(save(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    assert pixels[0].tolist() == [[value] * 3 for value in (0, 1, 1, 128, 254, 255)]


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    item = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (load_image(item) == (255, 0, 0)).all()


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    for column, pixel in enumerate([(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 128)]):
        image.putpixel((column, 0), pixel)
    assert load_image(save(tmp_path / "a.png", image))[0].tolist() == [[255] * 3, [0] * 3, [255, 127, 127]]


def test_palettes_with_and_without_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert load_image(save(tmp_path / "a.png", image))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert load_image(save(tmp_path / "b.png", image, transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (5, 4), "white").convert(mode)
    item = save(tmp_path / ("a.jpg" if mode == "YCbCr" else "a.png"), image)
    assert load_image(item).shape == (4, 5, 3)
    assert load_image(item).min() >= 254


def refused(item: Media, match: str) -> None:
    with pytest.raises(MediaError, match=match) as caught:
        load_image(item)
    assert str(caught.value).startswith(item.uri)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    refused(media(tmp_path / "empty.jpg"), "0 bytes")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    refused(media(tmp_path / "text.jpg"), "not a picture")
    refused(media(tmp_path / "missing.jpg"), "No such file")
    refused(media(tmp_path), "not a file")
    refused(media(tmp_path / "nul\0.jpg"), "null byte")
    refused(save(tmp_path / "pixel.png", Image.new("RGB", (1, 1))), "single pixel")
    refused(save(tmp_path / "float.tiff", Image.new("F", (4, 4))), "no known white")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    item = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    content = Path(item.uri).read_bytes()
    Path(item.uri).write_bytes(content[: int(len(content) * part)])
    refused(item, "decoded|not a picture")


def bomb(side: int) -> bytes:
    """A PNG of side x side white pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" * (side // 8 + 1) * 64, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 50_000])
def test_a_bomb_is_refused_by_its_size(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    refused(media(tmp_path / "bomb.png"), "refused for its size")


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    item = save(tmp_path / "a.png", Image.fromarray(gradient()))
    with MediaReader(budget=MediaBudget(pixels=24 * 32)) as reader:
        assert reader.image(item).shape == (24, 32, 3)
    with (
        MediaReader(budget=MediaBudget(pixels=24 * 32 - 1)) as reader,
        pytest.raises(MediaError, match="32 x 24 is over 767"),
    ):
        reader.image(item)


def test_the_memory_of_a_large_picture_serves_the_next(tmp_path: Path) -> None:
    """Else the system clears its pages for each; PIL counts the blocks that it allocates and uses again."""
    stats: Any = Image.core.get_stats  # type: ignore[attr-defined]
    item = save(tmp_path / "a.jpg", Image.fromarray(gradient(2200, 2000)))
    load_image(item)
    before = stats()
    load_image(item)
    now = stats()
    assert now["reused_blocks"] > before["reused_blocks"]
    assert now["allocated_blocks"] == before["allocated_blocks"]


@pytest.mark.filterwarnings("ignore")  # PIL warns of odd metadata and continues, as it should
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("AVIF", "JPEG2000")])
def test_damaged_bytes_raise_nothing_else(kind: str) -> None:
    """300 random damages a kind: a picture or a MediaError, never another exception."""
    buffer, rng = io.BytesIO(), np.random.default_rng(7)
    Image.fromarray(gradient()).save(buffer, kind)
    whole = buffer.getvalue()
    messages = []
    now = b""
    with MediaReader(opener=lambda _: now, budget=MediaBudget(pixels=1_000_000)) as reader:
        for number in range(300):
            content = bytearray(whole[: rng.integers(1, len(whole) + 1)] if number % 3 == 0 else whole)
            for place in rng.integers(0, min(len(content), 200 if number % 2 else len(content)), number % 8):
                content[place] = rng.integers(0, 256)
            now = bytes(content)
            try:
                reader.image(Media(kind="image", uri="row:a#1"))
            except MediaError as error:
                messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith("row:a#1: ") and "\n" not in message for message in messages)
