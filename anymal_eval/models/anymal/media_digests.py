"""The digests of media files, remembered beside their features: an unchanged file is not opened for its digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval.errors import MediaError, reason
from anymal_eval.fingerprint import RememberedDigests
from anymal_eval.media.location import file_path
from anymal_eval.records import Media

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

NAME = "digests.jsonl"


class MediaDigests:
    """Digests of media, remembered in ``folder`` where one is given. For any number of threads and processes."""

    def __init__(self, reader: MediaReader, folder: Path | None) -> None:
        self._reader = reader
        self._remembered = RememberedDigests(folder / NAME) if folder is not None else None

    def of(self, media: Media) -> str:
        """SHA-256 of a medium's bytes.

        Raises:
            MediaError: it cannot be read.
        """
        path = file_path(media) if self._remembered is not None and media.digest is None else None
        if self._remembered is None or path is None:
            return self._reader.digest(media)
        try:
            return self._remembered.of(path, lambda _: self._reader.digest(media))
        except OSError as error:
            raise MediaError(f"{media.uri}: {reason(error)}") from error
