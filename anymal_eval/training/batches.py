"""Samples to what one step of the network takes, and the count of those that could not be read.

Shapes:  b rows · n tokens of a medium · e encoder width
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anymal_eval.anymal.tokenized_conversation import TokenizedConversation, tokenize_conversation
from anymal_eval.errors import BadData, ContextTooLong, IncompleteRun, RequestFailed, listed
from anymal_eval.models.anymal.media_inputs import media_key
from anymal_eval.training.features import FRAMES, Features
from anymal_eval.training.order import Order
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.model import AnyMAL

KEPT_LESSONS = 200_000


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One part of a step.

    Attributes:
        ids: of its samples.
        lessons: b, their words.
        media: of each row, in the order of its places, keys into ``features``.
        features: (n, e) by key.
        kinds: the medium of each key.
    """

    ids: tuple[str, ...]
    lessons: tuple[TokenizedConversation, ...]
    media: tuple[tuple[str, ...], ...]
    features: dict[str, Tensor]
    kinds: dict[str, str]

    @property
    def targets(self) -> int:
        """How many tokens carry the loss."""
        return sum(one.targets for one in self.lessons)


@dataclass(kw_only=True)
class Unreadable:
    """Samples that were left out of their steps, each with the reason; it goes into every saved state.

    Attributes:
        share: of all samples seen, how many may be.
        sources: which tell what they could not make a sample of.
        reasons: by where the sample stands.
        lines: what sources told before a stop.
        seen: samples that steps were to hold, counted anew in every pass.
    """

    share: float = 0.01
    sources: Sequence[TrainingData] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    seen: int = 0

    def told(self) -> dict[str, str]:
        """All that was left out, with the reason."""
        return {**self._lines(), **self.reasons}

    def position(self) -> dict[str, Any]:
        """What ``add`` needs."""
        return {"seen": self.seen, "reasons": self.reasons, "lines": self._lines()}

    def add(self, position: Mapping[str, Any]) -> None:
        """What was left out before a stop, by this process or by one that is no more."""
        self.seen += int(position["seen"])
        self.reasons |= position["reasons"]
        self.lines |= position["lines"]

    def _lines(self) -> dict[str, str]:
        lines = (line for source in self.sources for line in source.unreadable)
        return {**self.lines, **dict.fromkeys(lines, "no sample was made of it")}

    def check(self) -> None:
        """Stop where too many cannot be read. A handful is never too many while less than a hundred were seen.

        Raises:
            IncompleteRun: naming the first.
        """
        if len(self.reasons) > self.share * max(self.seen, 100 if self.share else 1):
            first = listed([f"{where}: {reason}" for where, reason in self.reasons.items()], shown=3, between="; ")
            raise IncompleteRun(
                f"{len(self.reasons)} of {self.seen} samples cannot be read, more than --max-unreadable "
                f"{self.share:.2%}: {first}"
            )


class Collator:
    """Samples to a :class:`Batch`; their words are tokenised once."""

    def __init__(self, network: AnyMAL, features: Features, unreadable: Unreadable) -> None:
        self._network, self._features, self.unreadable = network, features, unreadable
        self._lessons: dict[str, TokenizedConversation] = {}

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """What cannot be read is left out, counted and named; nothing takes its place.

        Raises:
            BadData: a conversation that the chat template cannot write. IncompleteRun: too many cannot be read.
        """
        found = self._features.of([media for sample in samples for media in sample.media])
        rows: list[tuple[Sample, TokenizedConversation, tuple[str, ...]]] = []
        self.unreadable.seen += len(samples)
        for sample in samples:
            keys = tuple(media_key(media, FRAMES) for media in sample.media)
            try:
                rows.append((sample, self._fitting(sample, keys, found), keys))
            except RequestFailed as error:
                self.unreadable.reasons[sample.where] = str(error)
        self.unreadable.check()
        kinds = {key: media.kind for sample, _, keys in rows for key, media in zip(keys, sample.media, strict=True)}
        return Batch(
            ids=tuple(sample.id for sample, _, _ in rows),
            lessons=tuple(words for _, words, _ in rows),
            media=tuple(keys for _, _, keys in rows),
            features={key: found[key] for key in kinds},  # type: ignore[misc]  # failures were left out
            kinds=dict(kinds),
        )

    def _fitting(
        self, sample: Sample, keys: Sequence[str], found: Mapping[str, Tensor | RequestFailed]
    ) -> TokenizedConversation:
        read: list[Tensor] = []
        for have in map(found.__getitem__, keys):
            if isinstance(have, RequestFailed):
                raise have
            read.append(have)
        words = self._lesson(sample)
        length = words.prompt.text_tokens + sum(
            self._tokens(media.kind, have) for media, have in zip(sample.media, read, strict=True)
        )
        if length > self._network.llm.context:
            raise ContextTooLong(f"{length} tokens, the model's context is {self._network.llm.context}")
        return words

    def _tokens(self, kind: str, features: Tensor) -> int:
        fixed = getattr(self._network.projectors[kind], "tokens", None)
        return int(fixed) if fixed is not None else len(features)

    def _lesson(self, sample: Sample) -> TokenizedConversation:
        have = self._lessons.get(sample.where + sample.id)
        if have is not None:
            return have
        try:
            made = tokenize_conversation(self._network.chat, sample.turns, self._network.llm.ends)
        except BadData as error:
            raise BadData(f"{sample.where}: {error}") from error
        if len(self._lessons) >= KEPT_LESSONS:
            self._lessons.clear()
        self._lessons[sample.where + sample.id] = made
        return made


class Batches:
    """All parts of all steps, in order: what the trainer reads from. ``start`` is the step to begin with."""

    def __init__(self, order: Order, collator: Collator, steps: int, accumulate: int) -> None:
        self.order, self.unreadable = order, collator.unreadable
        self._collator, self._steps, self._accumulate = collator, steps, accumulate
        self.start = 0

    def __len__(self) -> int:
        return self._steps * self._accumulate

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self._steps):
            for part in range(self._accumulate):
                yield self._collator(self.order.take(step, part))
