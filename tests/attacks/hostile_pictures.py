"""Pictures that are damaged, or that a header makes enormous: each a few kilobytes, named after its attack."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.attacks.hostile import Attack

CODINGS: dict[str, dict[str, Any]] = {
    "baseline": {"quality": 85},
    "optimized": {"quality": 85, "optimize": True},
    "full_colour": {"quality": 90, "subsampling": 0},
    "restarts": {"quality": 85, "restart_marker_rows": 1},
    "progressive": {"quality": 85, "progressive": True},
}
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 90}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw.tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate.tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "ppm": ("PPM", {}),
    "jp2": ("JPEG2000", {}),
    "avif": ("AVIF", {"quality": 90}),
    "tga": ("TGA", {}),
}


def photograph(height: int = 240, width: int = 320, seed: int = 0) -> Image.Image:
    """Smooth areas with noise, as a camera's."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((wide + rng.integers(-6, 7, wide.shape)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def jpegs() -> dict[str, bytes]:
    """A JPEG file of each coding."""
    image = photograph()
    found = {name: encoded(image, "JPEG", **how) for name, how in CODINGS.items()}
    found["grey"] = encoded(image.convert("L"), "JPEG")
    found["cmyk"] = encoded(image.convert("CMYK"), "JPEG")
    return found


def png(width: int, height: int, rows: bytes, *chunks: tuple[bytes, bytes], bits: int = 8, colour: int = 2) -> bytes:
    """A PNG file with any header over any compressed rows."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def cuts() -> Iterator[Attack]:
    for name, (kind, how) in FILES.items():
        whole = encoded(photograph(), kind, **how)
        for part in (0.6, 0.9):
            yield Attack("image", f"cut_to_{part:.0%}.{name}", whole[: int(len(whole) * part)])
    for name, whole in jpegs().items():
        yield Attack("image", f"cut_{name}.jpg", whole[: int(len(whole) * 0.7)])
        for part in (0.4, 0.6, 0.8):
            yield Attack(
                "image", f"cut_to_{part:.0%}_and_closed_{name}.jpg", whole[: int(len(whole) * part)] + b"\xff\xd9"
            )
        yield Attack("image", f"hole_of_zeros_{name}.jpg", hole(whole, 0.5, len(whole) // 10))
        yield Attack("image", f"noise_{name}.jpg", hole(whole, 0.5, len(whole) // 5, b"\x5a\xc3"))


def hole(whole: bytes, at: float, length: int, filled: bytes = b"\0") -> bytes:
    start = int(len(whole) * at)
    return whole[:start] + (filled * length)[:length] + whole[start + length :]


def bombs() -> Iterator[Attack]:
    yield Attack("image", "60000_x_60000.png", png(60_000, 60_000, bytes(1000)))
    yield Attack("image", "4_billion_x_1.png", png(0x7FFFFFFF, 1, bytes(1000)))
    yield Attack("image", "1_x_200000.png", png(1, 200_000, bytes(4 * 200_000)))
    yield Attack("image", "200000_x_1.png", png(200_000, 1, bytes(3 * 200_000 + 1)))
    yield Attack("image", "2_x_30000.png", png(2, 30_000, bytes(7 * 30_000)))
    yield Attack("image", "one_bit_50000_x_50000.png", png(50_000, 50_000, bytes(100_000), bits=1, colour=0))
    yield Attack(
        "image", "text_of_100_mb.png", png(8, 8, bytes(200), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9)))
    )
    yield Attack(
        "image", "65535_x_65535.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + gif_frame(65535)
    )
    yield Attack("image", "frame_over_screen.gif", b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + gif_frame(30_000))
    yield Attack("image", "40000_x_40000.bmp", bmp(40_000, 40_000))
    yield Attack("image", "negative_height.bmp", bmp(40_000, -40_000))
    yield Attack("image", "100000_x_100000.ppm", b"P6 100000 100000 255\n" + bytes(100))
    yield Attack(
        "image", "65535_x_65535.tga", struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 0)
    )
    yield Attack("image", "65500_x_65500.jpg", sized_jpeg(65_500, 65_500))
    yield Attack("image", "9000_x_9000.jpg", sized_jpeg(9_000, 9_000))
    yield Attack("image", "tile_of_2_gb.tiff", tiled_tiff())
    yield Attack(
        "image", "strips_of_2_gb.tiff", tiff({256: 30_000, 257: 30_000, 258: 8, 259: 1, 262: 1, 273: 8, 278: 30_000})
    )
    yield Attack("image", "12000_x_12000_in_16_x_16.ico", icon(12_000))
    yield Attack("image", "16383_x_16383.webp", sized_webp(16_383, 16_383))
    yield Attack("image", "many_scans.jpg", many_scans())
    yield Attack("image", "sparse_tb.jpg", b"\xff\xd8\xff", sparse=1 << 40)
    yield Attack("image", "sparse_gb.png", encoded(photograph(), "PNG"), sparse=1 << 30)


def oddities() -> Iterator[Attack]:
    yield Attack("image", "empty.jpg", b"")
    yield Attack("image", "page.jpg", b"<html>404 not found</html>\n")
    yield Attack("image", "one_pixel.png", encoded(Image.new("RGB", (1, 1)), "PNG"))
    yield Attack("image", "float.tiff", encoded(Image.new("F", (8, 8)), "TIFF"))
    yield Attack("image", "noise.png", b"\x89PNG\r\n\x1a\n" + np.random.default_rng(1).bytes(2000))
    yield Attack("image", "noise.jpg", b"\xff\xd8\xff\xe0" + np.random.default_rng(2).bytes(2000))
    yield Attack("image", "noise.webp", b"RIFF\xd0\x07\0\0WEBPVP8 " + np.random.default_rng(3).bytes(2000))
    yield Attack("image", "noise.tiff", b"II*\0\x08\0\0\0" + np.random.default_rng(4).bytes(2000))
    yield Attack("image", "noise.gif", b"GIF89a" + np.random.default_rng(5).bytes(2000))
    yield Attack("image", "flipped_data.png", flip(encoded(photograph(), "PNG"), 0.5))
    yield Attack("image", "zero_x_zero.png", png(0, 0, b""))
    yield Attack("image", "eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    yield Attack("image", "vector.jpg", b'<svg xmlns="http://www.w3.org/2000/svg" width="1e9" height="1e9"/>')
    yield Attack("image", "without_scan.jpg", jpegs()["baseline"][:400] + b"\xff\xd9")
    yield Attack("image", "only_first_scan.jpg", first_scan(jpegs()["progressive"]))


def flip(whole: bytes, at: float) -> bytes:
    place = int(len(whole) * at)
    return whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]


def gif_frame(side: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, side, side, 0x80) + bytes(6) + b"\x02\x02\x4c\x01\x00;"


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100)
    )


def sized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG file whose header states another size."""
    whole = bytearray(encoded(Image.new("RGB", (16, 16), "red"), "JPEG"))
    place = whole.index(b"\xff\xc0")
    whole[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(whole)


def sized_webp(width: int, height: int) -> bytes:
    whole = bytearray(encoded(Image.new("RGB", (16, 16), "red"), "WEBP"))
    place = whole.index(b"\x9d\x01\x2a") + 3
    whole[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(whole)


def tiff(tags: dict[int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(500)


def tiled_tiff() -> bytes:
    return tiff({256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 32768, 323: 65520, 324: 200, 325: 100})


def icon(side: int) -> bytes:
    inner = png(side, side, bytes((side // 8 + 1) * side), bits=1, colour=0)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def first_scan(whole: bytes) -> bytes:
    """A progressive JPEG file up to its second scan."""
    second = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    return whole[:second] + b"\xff\xd9"


def many_scans() -> bytes:
    """3,000 scans of one bit over 36 megapixels: libjpeg walks over all blocks in each."""
    whole = bytearray(encoded(Image.new("L", (64, 64), 90), "JPEG", progressive=True))
    place = whole.index(b"\xff\xc2")
    whole[place + 5 : place + 9] = struct.pack(">HH", 6000, 6000)
    last = bytes(whole[whole.rindex(b"\xff\xda") : whole.rindex(b"\xff\xd9")])
    return bytes(whole[: whole.rindex(b"\xff\xd9")]) + last * 3000 + b"\xff\xd9"


def attacks(_: Path) -> Iterator[Attack]:
    """All of them."""
    yield from cuts()
    yield from bombs()
    yield from oddities()
