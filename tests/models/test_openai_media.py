"""What a chat server is sent of pictures, sounds and clips."""

import base64
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from anymal_eval.errors import MediaError
from anymal_eval.models import Model
from anymal_eval.records import Media, Message, Request
from tests.models.serving import Address, model, respond, serving

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def served(server: Address) -> Iterator[Model]:
    made = model(server, media="image,audio,video", max_image_side=50)
    yield made
    made.close()


@pytest.fixture(scope="module")
def at_size(server: Address) -> Iterator[Model]:
    made = model(server)
    yield made
    made.close()


def parts(served: Model, *given: str | Media, frames: int = 8) -> Any:
    ready: Any = served.prepare(Request(id="1", messages=(Message(role="user", parts=given),), frames=frames))
    return ready.body["messages"][0]["content"]


def content(part: Any) -> tuple[str, bytes]:
    assert part["type"] == "image_url"
    kind, _, data = part["image_url"]["url"].partition(";base64,")
    return kind, base64.b64decode(data)


def picture(folder: Path, name: str, **saved: Any) -> Media:
    image = Image.fromarray(PIXELS)
    if "mode" in saved:
        image = image.convert(saved.pop("mode"))
    image.save(folder / name, **saved)
    return Media(kind="image", uri=str(folder / name))


@pytest.mark.parametrize(("name", "kind"), [("a.png", "png"), ("a.jpg", "jpeg"), ("a.webp", "webp")])
def test_files_that_every_server_reads_are_passed_on(tmp_path: Path, at_size: Model, name: str, kind: str) -> None:
    medium = picture(tmp_path, name)
    found = parts(at_size, medium, "what is it?")
    assert content(found[0]) == (f"data:image/{kind}", Path(medium.uri).read_bytes())
    assert found[1] == {"type": "text", "text": "what is it?"}


def test_all_others_are_sent_anew_as_people_see_them(tmp_path: Path, at_size: Model) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg = picture(tmp_path, "turned.jpg", exif=turned.tobytes())
    kind, data = content(parts(at_size, jpeg)[0])
    assert kind == "data:image/png"
    with Image.open(BytesIO(data)) as sent, Image.open(jpeg.uri) as own:
        assert sent.size == (40, 60)
        assert np.array_equal(np.asarray(sent), np.asarray(own.transpose(Image.Transpose.ROTATE_270)))
    for name, mode in (("a.gif", "P"), ("a.bmp", "RGB"), ("a.tiff", "CMYK"), ("clear.png", "RGBA"), ("p.png", "P")):
        kind, data = content(parts(at_size, picture(tmp_path, name, mode=mode))[0])
        assert kind == "data:image/png", name
        with Image.open(BytesIO(data)) as sent:
            assert (sent.mode, sent.size) == ("RGB", (60, 40))


def test_large_pictures_are_scaled_to_the_side_that_was_given(tmp_path: Path, served: Model) -> None:
    kind, data = content(parts(served, picture(tmp_path, "a.jpg"))[0])
    with Image.open(BytesIO(data)) as sent:
        assert (kind, sent.size) == ("data:image/png", (50, 33))


def test_half_a_picture_is_a_failure_and_not_sent(tmp_path: Path, at_size: Model) -> None:
    medium = picture(tmp_path, "a.jpg")
    whole = Path(medium.uri).read_bytes()
    Path(medium.uri).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"a\.jpg: the picture cannot be decoded"):
        parts(at_size, medium)


def test_sounds_are_sent_as_wav(tmp_path: Path, served: Model) -> None:
    tone = 0.5 * np.sin(np.arange(48_000) / 48_000 * 2 * np.pi * 440)
    soundfile.write(tmp_path / "a.flac", tone, 48_000)
    (found, _) = parts(served, Media(kind="audio", uri=str(tmp_path / "a.flac"), start_s=0.25, end_s=0.75), "what?")
    assert found["type"] == "input_audio"
    assert found["input_audio"]["format"] == "wav"
    with wave.open(BytesIO(base64.b64decode(found["input_audio"]["data"]))) as sent:
        assert (sent.getnchannels(), sent.getsampwidth(), sent.getframerate()) == (1, 2, 16_000)
        assert sent.getnframes() == 8_000
        samples = np.frombuffer(sent.readframes(8_000), "<i2")
    assert 0.45 < np.abs(samples).max() / 32767 < 0.55


def test_clips_are_sent_as_pictures(tmp_path: Path, served: Model, server: Address) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as made:
        stream = made.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 12, np.uint8), format="rgb24")
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    found = parts(served, Media(kind="video", uri=str(tmp_path / "a.mp4")), "what?", frames=4)
    assert [part["type"] for part in found] == ["image_url"] * 4 + ["text"]
    means = []
    for part in found[:4]:
        kind, data = content(part)
        with Image.open(BytesIO(data)) as sent:
            assert (kind, sent.size) == ("data:image/jpeg", (50, 38))
            means.append(np.asarray(sent).mean())
    assert means == sorted(means)
    assert means[0] < means[3] - 50
    clip = Media(kind="video", uri=str(tmp_path / "a.mp4"))
    respond(served, [Request(id="2", messages=(Message(role="user", parts=(clip, "and?")),), frames=4)])
    assert server.stats()["last"]["messages"][0]["content"][:4] == found[:4]


def test_text_alone_is_a_string_and_the_order_of_parts_is_kept(tmp_path: Path, at_size: Model) -> None:
    medium = picture(tmp_path, "a.png")
    assert parts(at_size, "one ", "two") == "one two"
    kinds = [part["type"] for part in parts(at_size, "see", medium, "and", medium)]
    assert kinds == ["text", "image_url", "text", "image_url"]
