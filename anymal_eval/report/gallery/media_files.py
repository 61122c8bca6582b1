"""Media as files that browsers show, each content once: images with thumbnails, audio, video, IMU recordings."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from anymal_eval.errors import MediaError
from anymal_eval.media.location import file_path
from anymal_eval.records import Media
from anymal_eval.report.gallery import clips, signals

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

MediaTag = Mapping[str, Any]
Key = tuple[str, str, float | None, float | None]

THUMB_SIDE = 176
SMALL_IMAGE = 12 << 10  # bytes; a smaller image is its own thumbnail
MAX_IMAGE = 32 << 10  # bytes; a larger image is scaled down; the limits below re-encode audio and video
MAX_AUDIO = 512 << 10
MAX_VIDEO = 16 << 20
VIDEO_SIDE = 480  # of a re-encoded video
QUALITY = 66  # of JPEG; keeps a report over 5,000 photographs under 200 MB
SOUND_RATE = 32_000
FRAME_SIDE, STRIP = 224, 16_384  # of a frame that the model saw; of all of a clip side by side
THREADS = 2


def key(media: Media) -> Key:
    """A key that is equal for references to the same content and window."""
    return media.kind, media.uri, media.start_s, media.end_s


class MediaFiles:
    """Writes media into ``folder/media``, named by SHA-256, so that each content is there once.

    Args:
        folder: the report's folder.
        reader: opens the media.
        picture_side: images are scaled down to fit into a square of this side; 0 copies them unchanged.
        frames: how many frames of each video the request samples; those of others are not shown.
    """

    def __init__(
        self, folder: Path, reader: MediaReader, picture_side: int, frames: Mapping[Key, int] | None = None
    ) -> None:
        self._folder = folder
        self._reader = reader
        self._side = picture_side
        self._frames = frames or {}

    def write(self, media: Iterable[Media], advance: Callable[[int], None]) -> dict[Key, MediaTag]:
        """Write each medium once; a medium that cannot be read gets a tag with an ``error``."""
        unique = {key(one): one for one in media}
        tags: dict[Key, MediaTag] = {}
        with ThreadPoolExecutor(THREADS) as threads:
            for name, tag in zip(unique, threads.map(self.one, unique.values()), strict=True):
                tags[name] = tag
                advance(1)
        return tags

    def one(self, media: Media) -> MediaTag:
        """Write one medium and return its tag: the data that the page needs to show it."""
        name = Path(media.uri).name
        base: dict[str, Any] = {"kind": media.kind, "name": name}
        if media.start_s is not None or media.end_s is not None:
            base["window"] = [media.start_s, media.end_s]
        try:
            return base | {"image": self._image, "audio": self._audio, "video": self._video, "imu": self._imu}[
                media.kind
            ](media)
        except MediaError as error:
            return base | {"error": str(error).replace(media.uri, name)}

    def put(self, content: bytes, ending: str) -> str:
        """Write bytes once; the file's path relative to the report's folder."""
        digest = hashlib.sha256(content).hexdigest()
        name = f"media/{digest[:2]}/{digest[2:34]}.{ending}"
        file = self._folder / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return name

    def _image(self, media: Media) -> dict[str, Any]:
        content = self._reader.read_bytes(media)
        pixels = self._reader.image(media)
        height, width = pixels.shape[:2]
        ending = clips.picture_ending(content)
        picture = Image.fromarray(pixels)
        tag: dict[str, Any] = {"width": width, "height": height}
        if ending and (not self._side or (len(content) <= MAX_IMAGE and max(width, height) <= 2 * self._side)):
            tag["file"] = self.put(content, ending)
        else:
            fitted = _fitted(picture, self._side or max(width, height))
            tag["file"] = self.put(_jpeg(fitted), "jpg")
            if fitted.size != (width, height):
                tag["note"] = f"{width} x {height}, shown smaller"
        small = ending and len(content) <= SMALL_IMAGE
        tag["thumb"] = tag["file"] if small else self.put(_jpeg(_fitted(picture, THUMB_SIDE)), "jpg")
        return tag

    def _audio(self, media: Media) -> dict[str, Any]:
        sound = self._reader.audio(media, SOUND_RATE)
        content = self._bytes_up_to(media, MAX_AUDIO)
        ending = clips.sound_ending(content)
        whole = media.start_s is None and media.end_s is None
        tag: dict[str, Any] = {"seconds": round(len(sound) / SOUND_RATE, 2)} | signals.waveform(sound)
        picture, top = signals.spectrogram(sound, SOUND_RATE)
        tag |= {"spectrogram": self.put(_jpeg(picture), "jpg"), "hertz": signals.ticks(top), "topHertz": round(top)}
        if ending and whole and len(content) <= MAX_AUDIO:
            return tag | {"file": self.put(content, ending)}
        return tag | {"file": self.put(clips.mp3(sound, SOUND_RATE), "mp3"), "note": "mixed to one channel, MP3"}

    def _video(self, media: Media) -> dict[str, Any]:
        seen = self._reader.video(media, self._frames.get(key(media), 1))
        middle = Image.fromarray(seen[len(seen) // 2])
        tag: dict[str, Any] = {"thumb": self.put(_jpeg(_fitted(middle, THUMB_SIDE)), "jpg")}
        tag["width"], tag["height"] = middle.size
        content = self._bytes_up_to(media, MAX_VIDEO)
        if key(media) in self._frames:
            start, each = media.start_s or 0.0, self._reader.timeline(media).length / len(seen)
            tag["frames"] = [round(start + (at + 0.5) * each, 2) for at in range(len(seen))]
            side = max(16, min(FRAME_SIDE, STRIP // len(seen)))
            strip = np.hstack([np.asarray(_fitted(Image.fromarray(frame), side)) for frame in seen])
            tag["strip"] = self.put(_jpeg(Image.fromarray(strip)), "jpg")
        ending = clips.clip_ending(content)
        if ending and len(content) <= MAX_VIDEO:
            return tag | {"file": self.put(content, ending)}
        seconds = clips.seconds_of(io.BytesIO(content) if content else media.uri, media)
        fitting = self._reader.budget.clip_pixels // (middle.width * middle.height)
        decoded = self._reader.video(media, max(1, min(clips.preview_frames(seconds), fitting)))
        frames = np.stack([np.asarray(_fitted(Image.fromarray(frame), VIDEO_SIDE)) for frame in decoded])
        why = "it is large" if ending or not content else "browsers do not play this file"
        tag["note"] = f"drawn again from {len(frames)} frames, without sound: {why}"
        return tag | {"file": self.put(clips.mp4(frames, len(frames) / seconds), "mp4"), "whole": True}

    def _bytes_up_to(self, media: Media, most: int) -> bytes:
        """A medium's bytes; none of a file of over ``most``, which may be too large to read as a whole."""
        path = file_path(media)
        return b"" if path is not None and path.stat().st_size > most else self._reader.read_bytes(media)

    def _imu(self, media: Media) -> dict[str, Any]:
        return signals.motion(self._reader.imu(media))


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    made = picture.copy()
    made.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return made


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
