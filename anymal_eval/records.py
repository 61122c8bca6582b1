"""The frozen records that flow from data to table. Each stage makes the next one and never reaches back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MediaKind = Literal["image", "audio", "video", "imu"]
AnswerKind = Literal["caption", "short_answer", "choice", "yes_no"]
State = Literal["ok", "empty", "unparsable", "error"]
Finish = Literal["stop", "length", "ranked"]

ALL_MEDIA: frozenset[MediaKind] = frozenset({"image", "audio", "video", "imu"})


@dataclass(frozen=True, kw_only=True)
class Media:
    """A picture, sound, clip or motion, by name only: nothing is opened here.

    ``uri`` is a file path, or ``SOURCE#ROW`` for a medium that lives inside a data set's row; the source
    that made it can open it. ``start_s`` and ``end_s`` cut a clip, in seconds. ``digest`` is the SHA-256 of
    the bytes where the source knows it.
    """

    kind: MediaKind
    uri: str
    start_s: float | None = None
    end_s: float | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One item of a benchmark. ``references`` is None on a split without labels.

    ``label`` is an index into ``options``. ``context`` holds what belongs to an item besides its question
    (a hint, the words on a meme). ``groups`` names the sub-sets it counts in.
    """

    id: str
    cluster: str
    kind: AnswerKind
    media: tuple[Media, ...] = ()
    question: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    references: tuple[str, ...] | None = None
    label: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Message:
    """A turn of the prompt. The order of its parts is meaning: text and media interleave freely."""

    role: Literal["system", "user"]
    parts: tuple[str | Media, ...]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How text is generated: greedy at ``beams=1``, without sampling in any case."""

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a model sees. It holds no reference, so a model cannot see one even by mistake.

    With ``candidates`` the model ranks them by log-likelihood after ``answer_prefix``; without, it generates.
    """

    id: str
    messages: tuple[Message, ...]
    answer_prefix: str = ""
    candidates: tuple[str, ...] = ()
    length_normalise: bool = False
    decoding: Decoding = Decoding()
    frames: int = 8

    @property
    def media(self) -> tuple[Media, ...]:
        """All media of the prompt, in order."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, Media))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there is no answer: ``kind`` groups failures, ``message`` names the file or the cause."""

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a model returned: an answer, option scores, or a failure; never two of them, never none.

    ``option_scores`` are sums of log p, one a candidate; ``option_tokens`` their lengths in tokens.

    Raises:
        ValueError: it holds both an answer and a failure, or neither.
    """

    id: str
    answer: str | None = None
    failure: Failure | None = None
    option_scores: tuple[float, ...] | None = None
    option_tokens: tuple[int, ...] | None = None
    finish: Finish | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what would let a failure pass for an answer."""
        answered = self.answer is not None or self.option_scores is not None
        if answered == (self.failure is not None):
            raise ValueError(f"response {self.id!r} must hold either an answer or a failure")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response as the protocol reads it. ``choice`` indexes the options; ``p_yes`` is in [0, 1]."""

    state: State
    text: str = ""
    choice: int | None = None
    p_yes: float | None = None
