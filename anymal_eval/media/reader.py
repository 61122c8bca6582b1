"""The object through which models read media."""

import warnings
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anymal_eval.media.audio import load_audio
from anymal_eval.media.budget import DEFAULT, MediaBudget
from anymal_eval.media.image import load_image
from anymal_eval.media.imu import load_imu
from anymal_eval.media.location import Opener, digest, read_bytes
from anymal_eval.media.pool import DecoderPool
from anymal_eval.media.video import Timeline, load_frames, load_timeline, load_video
from anymal_eval.records import Media


class MediaReader:
    """Opens media lazily; thread-safe. Close it, or use it in a ``with`` statement, to stop the decoder processes.

    ``opener`` reads media inside data set rows (``row:SOURCE#ROW``). ``timeout_s`` limits the decoding of one medium in
    a decoder process: of every video, and of large media of other kinds. At most ``processes`` such processes run; the
    first starts when it is needed. A medium over the ``budget`` is refused, mostly by its header.

    Every method raises MediaError, whose message names the file, for anything wrong with a medium: MediaTruncated where
    it holds less than it declares, and MediaTimeout where a decoder exceeds its time.
    """

    def __init__(
        self,
        opener: Opener | None = None,
        *,
        timeout_s: float = 60.0,
        budget: MediaBudget = DEFAULT,
        processes: int = 1,
    ) -> None:
        # PIL would print a warning about a picture of 89 to 179 megapixels; the budget decides on it.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        self._opener = opener
        self._pool = DecoderPool(timeout_s=timeout_s, budget=budget, processes=processes)

    @property
    def budget(self) -> MediaBudget:
        """The limits of one medium."""
        return self._pool.budget

    def image(self, media: Media, least: int = 0) -> NDArray[np.uint8]:
        """uint8 (height, width, 3) RGB; see ``load_image``."""
        return load_image(media, self._pool, self._opener, least)

    def audio(self, media: Media, sample_rate: int) -> NDArray[np.float32]:
        """float32 (samples,) in [-1, 1], mono at ``sample_rate`` Hz; see ``load_audio``."""
        return load_audio(media, sample_rate, self._pool, self._opener)

    def video(self, media: Media, frames: int) -> NDArray[np.uint8]:
        """uint8 (frames, height, width, 3) RGB; see ``load_video``."""
        return load_video(media, frames, self._pool, self._opener)

    def timeline(self, media: Media) -> Timeline:
        """When the frames of a video appear; see ``load_timeline``."""
        return load_timeline(media, self._pool, self._opener)

    def frames(self, media: Media, places: Sequence[int]) -> NDArray[np.uint8]:
        """Frames of a video by their place in its timeline; see ``load_frames``."""
        return load_frames(media, places, self._pool, self._opener)

    def imu(self, media: Media) -> NDArray[np.float32]:
        """float32 (6, samples) at 200 Hz; see ``load_imu``."""
        return load_imu(media, self._pool, self._opener)

    def read_bytes(self, media: Media) -> bytes:
        """The medium's bytes, at least one and no more than the budget has."""
        return read_bytes(media, self._opener, budget=self.budget)

    def digest(self, media: Media) -> str:
        """The SHA-256 of the medium's whole content in hex."""
        return digest(media, self._opener)

    def close(self) -> None:
        """Stop the decoder processes; later requests for videos are refused. Calling it again does nothing."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
