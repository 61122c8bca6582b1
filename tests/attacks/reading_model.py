"""A model that opens the media of its requests as others do, and answers with one word. No network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anymal_eval.media.reader import MediaReader
from anymal_eval.models import PLAIN_WORDING, PlainText, Prepared
from anymal_eval.records import ALL_MEDIA, Media, Request, Response


class Reads:
    """``--model tests.attacks.reading_model:Reads``."""

    accepts = ALL_MEDIA
    wording = PLAIN_WORDING
    fingerprint = "reads"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: object) -> None:
        self._reader = MediaReader(timeout_s=30, processes=1)

    def prepare(self, request: Request) -> Prepared:
        for media in request.media:
            read(self._reader, media, request.frames)
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        return [Response(id=item.request.id, answer="seen", finish="stop") for item in batch]

    def close(self) -> None:
        self._reader.close()


def read(reader: MediaReader, media: Media, frames: int = 8) -> int:
    """Decode a medium as models do; the bytes of the result."""
    match media.kind:
        case "image":
            return reader.image(media).nbytes
        case "audio":
            return reader.audio(media, 48_000).nbytes
        case "video":
            return reader.video(media, frames).nbytes
        case "imu":
            return reader.imu(media).nbytes
