"""Names the strongest of red, green and blue in a picture: no network, but a whole model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.media.reader import MediaReader
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.records import Request, Response


@dataclass(frozen=True)
class PreparedPicture(PlainText):
    """``pixels``: uint8 (height, width, 3)."""

    pixels: Any = None


class Strongest:
    """Answers every question with a colour."""

    accepts = frozenset({"image"})
    wording = PLAIN_WORDING

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """``article`` stands before the colour."""

        article: str = ""

    def __init__(self, options: Options) -> None:
        """Open the reader of media."""
        self.options, self.reader = options, MediaReader()
        self.fingerprint = f"strongest-1:{options.article}"

    def prepare(self, request: Request) -> PreparedPicture:
        """Decode the picture; called from many threads."""
        return PreparedPicture(request, pixels=self.reader.image(request.media[0]))

    def answer(self, batch: Sequence[PreparedPicture]) -> list[Response]:
        """One response a request, in their order."""
        return [Response(id=item.request.id, answer=self.name(item.pixels), finish="stop") for item in batch]

    def name(self, pixels: Any) -> str:
        """The colour with the highest mean."""
        colour = ("red", "green", "blue")[int(pixels.mean(axis=(0, 1)).argmax())]
        return f"{self.options.article} {colour}".strip()

    def close(self) -> None:
        """Stop the reader."""
        self.reader.close()
