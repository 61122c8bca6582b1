"""What is learnt from: one conversation with its media, whichever file it came from."""

from dataclasses import dataclass

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData
from anymal_eval.records import Media


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One conversation. The words of its assistant turns carry the loss, nothing else does.

    Attributes:
        id: names it within its source.
        where: file and row, for messages.
        media: one for each :class:`Slot` of the turns, in their order.
        turns: the last one is the assistant's.

    Raises:
        BadData: places and media do not agree, or nothing is to be learnt.
    """

    id: str
    where: str
    media: tuple[Media, ...]
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be learnt from."""
        slots = [part.medium for turn in self.turns for part in turn.parts if isinstance(part, Slot)]
        kinds = [medium.kind for medium in self.media]
        if slots != kinds:
            raise BadData(f"{self.where}: the conversation has places for {slots}, and media {kinds} are given")
        if not self.turns or self.turns[-1].role != "assistant":
            raise BadData(f"{self.where}: the conversation must end with what the assistant says")
