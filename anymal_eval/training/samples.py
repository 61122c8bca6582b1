"""One training sample: a conversation with its media, from any layout."""

from collections.abc import Collection
from dataclasses import dataclass

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData
from anymal_eval.records import Media


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One conversation. Only the text of its assistant turns carries the loss.

    Attributes:
        id: names it within its data.
        where: file and row, for messages.
        media: one for each :class:`Slot` of the turns, in their order.
        turns: the last one is the assistant's.

    Raises:
        BadData: slots and media do not match, or the last turn is not the assistant's.
    """

    id: str
    where: str
    media: tuple[Media, ...]
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        """Check slots and turns."""
        slots = [part.medium for turn in self.turns for part in turn.parts if isinstance(part, Slot)]
        kinds = [medium.kind for medium in self.media]
        if slots != kinds:
            raise BadData(f"{self.where}: the conversation has places for {slots}, and media {kinds} are given")
        if not self.turns or self.turns[-1].role != "assistant":
            raise BadData(f"{self.where}: the conversation must end with what the assistant says")

    def require_encoders(self, kinds: Collection[str]) -> None:
        """Make sure that a network with encoders for these media takes the sample.

        Raises:
            BadData: it does not.
        """
        for media in self.media:
            if media.kind not in kinds:
                raise BadData(
                    f"{self.where}: this network takes {', '.join(sorted(kinds))}, no {media.kind}: leave such rows "
                    "out, or train a network that has an encoder for it"
                )
