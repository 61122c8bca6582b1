"""Messages in the form of the chat API: text, images as data URLs, sounds as base64 WAV, clips as images."""

import base64
import wave
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anymal_eval.errors import WrongUse
from anymal_eval.media.broken import TooLarge, failures_of
from anymal_eval.media.budget import RAISE
from anymal_eval.media.pixels import ODD_EXIF, ORIENTATION
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media, Message

Part = dict[str, Any]
UNCHANGED_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
SENT_BYTES = 64 << 20  # of one medium in base64, or of the frames of a clip
UNCHANGED_BYTES = 8 << 20  # a larger file is encoded again, scaled or not
FRAME_QUALITY = 95  # frames come from a lossy codec; as PNG they would be ten times as large


class Content:
    """Opens and encodes media, in any thread.

    Args:
        reader: of the media; closed with this.
        max_side: larger images are scaled down to it; 0 leaves them at their size.
        sample_rate: of sounds, in Hz.
        most_bytes: of one medium as it is sent.
        whole_clips: whether the frames of a clip are one part, as vLLM takes them (``data:video/jpeg``).
    """

    def __init__(
        self, reader: MediaReader, *, max_side: int, sample_rate: int, most_bytes: int = SENT_BYTES,
        whole_clips: bool = False,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._whole_clips = whole_clips
        self._max_side = max_side
        self._sample_rate = sample_rate
        self._most_bytes = most_bytes

    def message(self, message: Message, frames: int) -> Part:
        """One message. Text alone is sent as a string, which every chat template takes.

        Raises:
            MediaError: a medium cannot be read.
        """
        if all(isinstance(part, str) for part in message.parts):
            return {"role": message.role, "content": "".join(str(part) for part in message.parts)}
        parts: list[Part] = []
        for part in message.parts:
            parts.extend([{"type": "text", "text": part}] if isinstance(part, str) else self._medium(part, frames))
        return {"role": message.role, "content": parts}

    def close(self) -> None:
        """Stop the decoder processes."""
        self._reader.close()

    def _medium(self, media: Media, frames: int) -> Sequence[Part]:
        with failures_of(media):
            return self._held(self._encoded_parts(media, frames))

    def _held(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The same parts, refused where they are more than a request may carry."""
        sent = [each for part in parts for each in part.values() if isinstance(each, dict)]
        size = sum(len(each.get("url", "")) + len(each.get("data", "")) for each in sent)
        if size > self._most_bytes:
            hint = f"lower max_image_side, or raise {RAISE}"
            raise TooLarge(f"{size} bytes to send are over {self._most_bytes} bytes; {hint}")
        return parts

    def _encoded_parts(self, media: Media, frames: int) -> Sequence[Part]:
        match media.kind:
            case "image":
                return [self._image(media)]
            case "audio":
                sound = wav(self._reader.audio(media, self._sample_rate), self._sample_rate)
                data = base64.b64encode(sound).decode("ascii")
                return [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
            case "video":
                pictures = [self._encoded(pixels, "JPEG") for pixels in self._reader.video(media, frames)]
                if self._whole_clips:
                    return [clip_part(pictures)]
                return [_image_part("image/jpeg", picture) for picture in pictures]
            case "imu":
                raise WrongUse("a chat server takes no motion data")

    def _image(self, media: Media) -> Part:
        # Decoded in any case: a truncated image must fail here, because a lenient server would answer it.
        pixels = self._reader.image(media)
        content = self._reader.read_bytes(media)
        kind = _unchanged_type(content) if max(pixels.shape[:2]) <= (self._max_side or max(pixels.shape[:2])) else None
        if kind is not None:
            return _image_part(kind, content)
        return _image_part("image/png", self._encoded(pixels, "PNG"))

    def _encoded(self, pixels: NDArray[np.uint8], kind: str) -> bytes:
        image = Image.fromarray(pixels)
        if self._max_side and max(image.size) > self._max_side:
            scale = self._max_side / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        out = BytesIO()
        image.save(out, kind, **({"quality": FRAME_QUALITY} if kind == "JPEG" else {}))
        return out.getvalue()


def wav(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Mono samples in [-1, 1] as a WAV file of 16 bits.

    >>> wav(np.zeros(8, np.float32), 16_000)[:4]
    b'RIFF'
    """
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
    return out.getvalue()


def clip_part(frames: Sequence[bytes]) -> Part:
    """JPEG frames as one clip, in the form of vLLM: base64 each, with commas."""
    data = ",".join(base64.b64encode(frame).decode("ascii") for frame in frames)
    return {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{data}"}}


def tiny_clip() -> Part:
    """Two frames of 64 x 64, to find out whether a server takes clips."""
    frames = []
    for shade in (64, 192):
        out = BytesIO()
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(out, "JPEG")
        frames.append(out.getvalue())
    return clip_part(frames)


def _unchanged_type(content: bytes) -> str | None:
    """The media type of a file that can be sent unchanged; None if servers may decode it to another image."""
    if len(content) > UNCHANGED_BYTES:
        return None
    with Image.open(BytesIO(content)) as image:
        if image.mode not in ("RGB", "L") or image.has_transparency_data or getattr(image, "n_frames", 1) > 1:
            return None
        try:
            turned = image.getexif().get(ORIENTATION, 1) != 1
        except ODD_EXIF:
            turned = True
        return None if turned else UNCHANGED_TYPES.get(image.format or "")


def _image_part(kind: str, content: bytes) -> Part:
    data = base64.b64encode(content).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
