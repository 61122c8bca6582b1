"""Gives the same answer to every request: the chance baseline, and the model of many tests."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from anymal_eval.models._protocols import PLAIN_WORDING, Model, PlainText, Prepared
from anymal_eval.protocols import Wording
from anymal_eval.records import ALL_MEDIA, MediaKind, Request, Response


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        says: the answer.
        seconds: how long it takes over a batch, to try out a slow model.
    """

    says: str = "yes"
    seconds: float = 0.0


opens_media = False  # answers without looking


def accepts(options: Options) -> frozenset[MediaKind]:
    """Every kind of medium: none is opened."""
    del options
    return ALL_MEDIA


def load(options: Options) -> Model:
    """Make the model."""
    return _Constant(options)


class _Constant:
    prepares_nothing = True

    def __init__(self, options: Options) -> None:
        self._says = options.says
        self._seconds = options.seconds
        self.fingerprint = f"constant:{options.says}"
        self.accepts = ALL_MEDIA
        self.wording: Wording = PLAIN_WORDING

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        if self._seconds:
            time.sleep(self._seconds)
        return [self._respond(item.request) for item in batch]

    def close(self) -> None:
        pass

    def _respond(self, request: Request) -> Response:
        if not request.candidates:
            return Response(id=request.id, answer=self._says, finish="stop")
        # Candidates are equally likely: ranking them is a guess, and the first of equals is taken.
        even = -math.log(len(request.candidates))
        return Response(id=request.id, option_scores=(even,) * len(request.candidates), finish="ranked")
