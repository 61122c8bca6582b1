"""The frozen records that flow from data to table. Each stage makes the next record and reads no earlier one."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, dataclass_transform

MediaKind = Literal["image", "audio", "video", "imu"]
AnswerKind = Literal["caption", "short_answer", "choice", "yes_no"]
State = Literal["ok", "empty", "unparsable", "error"]
Finish = Literal["stop", "length", "ranked"]
# Where the media of a prompt are: before the user's text, after it (AnyMAL trains on "<instruction> <modality tokens>",
# arXiv:2309.16058), or at the end of the system message, before the instruction (its prompts of evaluation).
MediaOrder = Literal["media-first", "instruction-first", "system-first"]
M = TypeVar("M")

# Failures that time, another machine or a restart may end: a server's fault, a deadline, memory, a lost worker.
# All others (broken media, refusals, prompts beyond the context, missing answers ...) come again with the same input.
PASSING_KINDS = frozenset({"server", "timeout", "memory", "worker"})
FRAMES = 8  # of a clip, where no task says another number

_T = TypeVar("_T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def record(of: type[_T]) -> type[_T]:
    """A frozen dataclass with slots and keywords only, cheap enough to make hundreds of thousands.

    The constructor of a frozen dataclass sets each field by ``object.__setattr__``, which takes most of its time. In
    this one the new object is, until it has its fields, of a class with the same slots that is not frozen; it is else
    the same.
    """
    made: Any = dataclass(frozen=True, kw_only=True, slots=True)(of)
    thawed = type(f"{made.__name__}InTheMaking", (), {"__slots__": made.__slots__})
    names: dict[str, Any] = {"made": made, "thawed": thawed, "set_class": vars(object)["__class__"].__set__}
    names["plain"] = made.__init__
    parameters, given, lines = [], [], ["    set_class(self, thawed)"]
    for item in fields(made):
        name = value = item.name
        if item.default_factory is not MISSING:
            names[f"default_{name}"], names[f"make_{name}"] = MISSING, item.default_factory
            value = f"make_{name}() if {name} is default_{name} else {name}"
        elif item.default is not MISSING:
            names[f"default_{name}"] = item.default
        parameters.append(f"{name}=default_{name}" if f"default_{name}" in names else name)
        given.append(f"{name}={value}")
        lines.append(f"    self.{name} = {value}")
    lines.append("    self.__class__ = made")
    if hasattr(made, "__post_init__"):
        lines.append("    self.__post_init__()")
    of_subclass = f"    if self.__class__ is not made: return plain(self, {', '.join(given)})"
    code = "\n".join([f"def __init__(self, *, {', '.join(parameters)}):", of_subclass, *lines])
    exec(code, names)  # noqa: S102  # as dataclass does; its text is made of the fields' names alone
    quick: Any = names["__init__"]
    quick.__wrapped__, quick.__qualname__ = made.__init__, f"{made.__qualname__}.__init__"
    made.__init__ = quick
    return made  # type: ignore[no-any-return]


ALL_MEDIA: frozenset[MediaKind] = frozenset({"image", "audio", "video", "imu"})


@record
class Media:
    """A reference to an image, audio, video or IMU recording; nothing is opened here.

    ``uri`` is a file path, or ``row:SOURCE#ROW`` for a medium inside a data set's row, which only the source that made
    the reference can open. ``start_s`` and ``end_s`` select a window, in seconds. ``digest`` is the SHA-256 of the
    bytes where the source knows it.
    """

    kind: MediaKind
    uri: str
    start_s: float | None = None
    end_s: float | None = None
    digest: str | None = None


@record
class Example:
    """One item of a benchmark. ``references`` is None on a split without labels.

    ``label`` is an index into ``options``. ``context`` holds further inputs (a hint, the text of a meme). ``groups``
    maps each grouping to the subset that the item belongs to. ``cluster`` names its image, clip or video: examples of
    one cluster are statistically dependent. ``key`` pairs the item with itself in another copy of the benchmark, where
    copies have other ids; empty where the id does.
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
    key: str = ""


@record
class Message:
    """A turn of the prompt: text and media in order, interleaved freely."""

    role: Literal["system", "user"]
    parts: tuple[str | Media, ...]


def with_media(messages: Sequence[M], media: Sequence[Any], order: MediaOrder) -> tuple[M, ...]:
    """Messages with media where an order puts them: in the first user message, or at the end of the system message.

    Args:
        messages: records with ``role`` and ``parts``, at least one of the user's; a system message comes first.
        media: or places of media.
        order: ``system-first`` adds a system message where there is none.
    """
    roles = [message.role for message in messages]  # type: ignore[attr-defined]
    if order == "system-first" and "system" not in roles:
        return (type(messages[0])(role="system", parts=tuple(media)), *messages)  # type: ignore[call-arg]
    place = roles.index("system" if order == "system-first" else "user")
    old: Any = messages[place]
    made = (*media, *old.parts) if order == "media-first" else (*old.parts, *media)
    new: Any = Message(role=old.role, parts=made) if type(old) is Message else replace(old, parts=made)
    return (*messages[:place], new, *messages[place + 1 :])


def media_order(messages: Sequence[Any]) -> MediaOrder | None:
    """Where the media of a prompt are.

    Args:
        messages: with ``role`` and ``parts``; a part that is no text is a medium or the place of one.

    Returns:
        None where no text shows it: no media, media alone, or media inside the user's text.

    >>> media_order([Message(role="user", parts=("What is ", Media(kind="image", uri="a.png")))])
    'instruction-first'
    """
    for message in messages:
        at = [place for place, part in enumerate(message.parts) if not isinstance(part, str)]
        if at and message.role == "system":
            return "system-first"
        if at:
            before = any(part.strip() for part in message.parts[: at[0]] if isinstance(part, str))
            after = any(part.strip() for part in message.parts[at[0] :] if isinstance(part, str))
            return None if before == after else "instruction-first" if before else "media-first"
    return None


@record
class Decoding:
    """How text is generated: greedily, by beam search, or by sampling where ``temperature`` is not 0.

    Attributes:
        max_new_tokens: of the answer, without the thinking before it.
        temperature, top_p, seed: of sampling. What is drawn depends on the seed and the request's id alone.
        thinking: whether a reasoning model thinks first; ``auto`` leaves that to its chat template.
        thinking_tokens: the most tokens of thinking; None for the default.
    """

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    thinking: Literal["auto", "on", "off"] = "auto"
    thinking_tokens: int | None = None

    @property
    def most_new_tokens(self) -> int:
        """The most tokens that are generated, those of thinking included."""
        return self.max_new_tokens + (self.thinking_tokens or 0)


@record
class Request:
    """The input of a model. It holds no reference answers, so a model cannot see one even by mistake.

    With ``candidates`` the model ranks them by log-likelihood after ``answer_prefix``; without, it generates text.
    """

    id: str
    messages: tuple[Message, ...]
    answer_prefix: str = ""
    candidates: tuple[str, ...] = ()
    length_normalise: bool = False
    decoding: Decoding = Decoding()
    frames: int = FRAMES

    @property
    def media(self) -> tuple[Media, ...]:
        """All media of the prompt, in order."""
        return tuple([part for message in self.messages for part in message.parts if isinstance(part, Media)])


@record
class Failure:
    """The reason for a missing answer: ``kind`` groups failures, ``message`` names the file or the cause.

    A resumed run requests every failed example again, because a file may have been repaired or a server changed. Only a
    failure that may pass by itself is announced as one that the same command tries again.
    """

    kind: str
    message: str

    @property
    def may_pass(self) -> bool:
        """Whether another try may succeed although data, model and prompt stay the same."""
        return self.kind in PASSING_KINDS


@record
class Response:
    """What a model returned: an answer, option scores, or a failure; exactly one of them.

    ``option_scores`` are summed log-probabilities, one per candidate; ``option_tokens`` the candidates' lengths.
    ``answer`` is all that the model wrote, thinking included; ``thinking`` is what a server gave apart from it.

    Raises:
        ValueError: it holds both an answer and a failure, or neither.
    """

    id: str
    answer: str | None = None
    failure: Failure | None = None
    option_scores: tuple[float, ...] | None = None
    option_tokens: tuple[int, ...] | None = None
    finish: Finish | None = None
    thinking: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Ensure that a failure cannot pass for an answer."""
        answered = self.answer is not None or self.option_scores is not None
        if answered == (self.failure is not None):
            raise ValueError(f"response {self.id!r} must hold either an answer or a failure")


@record
class Answer:
    """A response as the protocol reads it. ``choice`` is an index into the options; ``p_yes`` is in [0, 1]."""

    state: State
    text: str = ""
    choice: int | None = None
    p_yes: float | None = None
