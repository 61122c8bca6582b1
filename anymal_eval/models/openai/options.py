"""The options that every model behind a chat server has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """How requests are sent, and media in them.

    Attributes:
        checkpoint: the model's name on the server.
        concurrency: requests in flight at once.
        timeout: seconds of one try, from the first byte sent to the last one read.
        retries: further tries after a 429, a 5xx, a time-out or a cut connection.
        retry_budget: seconds that the run may spend on failed tries and the waits after them, averaged over the
            requests in flight; when it is spent, nothing is repeated until the run is resumed.
        video: a clip as its frames, each an image, or native: as one part, for which a model has a path of its own.
        max_image_side: larger images are scaled down to it; 0 sends them as they are.
        sample_rate: of the sounds sent, in Hz.
        media_timeout: seconds after which a decoder is killed.
        media_budget: multiplies the limits of one medium (pixels, samples, memory) and of one request (bytes).
    """

    checkpoint: str
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 5
    retry_budget: float = 7200.0
    video: Literal["frames", "native"] = "frames"
    max_image_side: int = 0
    sample_rate: int = 16_000
    media_timeout: float = 60.0
    media_budget: float = 1.0
