"""Samples to batches, and the record of samples that could not be read.

Shapes:  b rows · n tokens of a medium · e encoder width
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anymal_eval.anymal.tokenized_conversation import TokenizedConversation, tokenize_conversation
from anymal_eval.errors import BadData, ContextTooLong, IncompleteRun, RequestFailed, listed
from anymal_eval.models import media_key
from anymal_eval.records import FRAMES
from anymal_eval.training.ahead import Ahead
from anymal_eval.training.features import FeatureEncoder, Prepared
from anymal_eval.training.mixture import SampleOrder
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import NO_SAMPLE, TrainingData

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.conversation import Turn
    from anymal_eval.anymal.model import AnyMAL

MOST_CONVERSATIONS = 200_000  # kept tokenized
AHEAD = 4  # micro-batches


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch.

    Attributes:
        ids: of its samples.
        conversations: b, tokenized.
        media: for each row, in the order of its slots, keys into ``features``.
        features: (n, e) by key.
        kinds: the medium of each key.
    """

    ids: tuple[str, ...]
    conversations: tuple[TokenizedConversation, ...]
    media: tuple[tuple[str, ...], ...]
    features: dict[str, Tensor]
    kinds: dict[str, str]

    @property
    def targets(self) -> int:
        """How many tokens carry the loss."""
        return sum(one.targets for one in self.conversations)

    def split(self, rows: int | None) -> list[Batch]:
        """In parts of at most so many rows; None for one part."""
        count = len(self.conversations)
        if rows is None or count <= rows:
            return [self]
        return [self._part(slice(start, start + rows)) for start in range(0, count, rows)]

    def _part(self, rows: slice) -> Batch:
        media = self.media[rows]
        keys = {key for row in media for key in row}
        return Batch(
            ids=self.ids[rows],
            conversations=self.conversations[rows],
            media=media,
            features={key: value for key, value in self.features.items() if key in keys},
            kinds={key: kind for key, kind in self.kinds.items() if key in keys},
        )


@dataclass(kw_only=True)
class UnreadableSamples:
    """Samples that were skipped, each with the reason; part of every saved state.

    Attributes:
        limit: the fraction of all samples seen that may be skipped.
        data: with lines of their own for what they could not read.
        reasons: by the sample's file and row.
        lines: of the data, from before a resume.
        bad: rows of shards that hold no sample, from before a resume.
        seen: samples that batches should have held, counted again in every epoch.
        marks: of the reasons and lines of each of ``data``, how many count yet: shards are read ahead. None: all.
    """

    limit: float = 0.01
    data: Sequence[TrainingData] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    marks: Sequence[tuple[int, int]] | None = None

    def marks_now(self) -> list[tuple[int, int]]:
        """How many reasons and lines the data have now."""
        return [(len(each.bad.reasons), len(each.unreadable)) for each in self.data]

    def all_reasons(self) -> dict[str, str]:
        """All that was skipped, with the reason."""
        return {**self._lines(), **self._bad(), **self.reasons}

    def state_dict(self) -> dict[str, Any]:
        """What ``add_state_dict`` needs to resume."""
        bad = self._bad(streamed=True)
        return {"seen": self.seen, "reasons": self.reasons, "lines": self._lines(), **({"bad": bad} if bad else {})}

    def add_state_dict(self, state: Mapping[str, Any]) -> None:
        """Add what this process, or one that the resumed training does not have, skipped before."""
        self.seen += int(state["seen"])
        self.reasons |= state["reasons"]
        self.lines |= state["lines"]
        self.bad |= state.get("bad", {})  # version 0.2.0 and before counted no rows

    def require_few(self) -> None:
        """Stop if too many samples cannot be read. A fraction counts from a hundred samples on, unless it is 0.

        Bad rows of a table, which are known before training, count in proportion to the samples seen, so that a large
        table with few of them is not stopped at its first batch. Those of shards are known when a shard is opened, and
        count among all its rows.

        Raises:
            IncompleteRun: naming the first.
        """
        rows = sum(each.bad.rows for each in self.data if each.samples is not None)
        tables = sum(len(each.bad.reasons) for each in self.data if each.samples is not None)
        share = min(1.0, self.seen / rows) if rows else 0.0
        bad = len(self._bad(streamed=True)) + share * tables
        opened = sum(each.bad.rows for each in self.data if each.samples is None)
        count, seen = len(self.reasons) + bad, math.ceil(max(self.seen + bad, opened))
        if count > self.limit * max(seen, 100 if self.limit else 1):
            all_bad = {**self.reasons, **self._bad()}
            first = listed([f"{where}: {reason}" for where, reason in all_bad.items()], shown=3, between="; ")
            raise IncompleteRun(
                f"{math.ceil(count)} of {seen} samples cannot be read, more than --max-unreadable "
                f"{self.limit:.2%}: {first}"
            )

    def _bad(self, *, streamed: bool = False) -> dict[str, str]:
        """Rows that hold no sample: of all data, or of shards alone."""
        found = dict(self.bad)
        for each, (count, _) in zip(self.data, self.marks or self.marks_now(), strict=True):
            if each.samples is None or not streamed:
                # A copy: the thread that reads ahead may add a reason meanwhile.
                found.update(itertools.islice(each.bad.reasons.copy().items(), count))
        return found

    def _lines(self) -> dict[str, str]:
        marks = self.marks or self.marks_now()
        lines = (line for each, (_, count) in zip(self.data, marks, strict=True) for line in each.unreadable[:count])
        return {**self.lines, **dict.fromkeys(lines, NO_SAMPLE)}


def require_few_bad_rows(data: Sequence[TrainingData], limit: float) -> None:
    """Refuse tables of whose rows too many hold no sample, before training; as :class:`UnreadableSamples` counts.

    Raises:
        BadData: naming the first.
    """
    rows = sum(each.bad.rows for each in data)
    reasons = {where: reason for each in data for where, reason in each.bad.reasons.items()}
    if len(reasons) > limit * max(rows, 100 if limit else 1):
        first = listed([f"{where}: {reason}" for where, reason in reasons.items()], shown=3, between="; ")
        if len(reasons) > 1 or limit:
            first += f" ({len(reasons)} of {rows} rows hold no sample, more than --max-unreadable {limit:.2%})"
        raise BadData(first)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A micro-batch that is being read.

    Attributes:
        samples: all that it should hold.
        media: theirs.
        texts: of each sample, tokenized, or why it cannot be.
        order: the state of the order after it.
        marks: of :class:`UnreadableSamples`, after it.
    """

    samples: Sequence[Sample]
    media: Prepared
    texts: Sequence[TokenizedConversation | BadData | RequestFailed]
    order: Mapping[str, Any]
    marks: Sequence[tuple[int, int]]


class Collator:
    """Samples to a :class:`Batch`, in two steps; a conversation is tokenized once."""

    def __init__(self, network: AnyMAL, encoder: FeatureEncoder, unreadable: UnreadableSamples) -> None:
        self._network, self.encoder, self.unreadable = network, encoder, unreadable
        # By what they say: samples of two data may share a file, a row and an id, and say different things.
        self._conversations: dict[tuple[Turn, ...], TokenizedConversation] = {}

    def plan(self, order: SampleOrder, step: int, micro_batch: int) -> Planned:
        """Take the samples of a micro-batch, start to read their media, and tokenize them."""
        samples = order.take(step, micro_batch)
        media = self.encoder.prepare([media for sample in samples for media in sample.media])
        texts = [self._tokenized(sample) for sample in samples]
        marks = self.unreadable.marks_now()
        return Planned(samples=samples, media=media, texts=texts, order=order.state_dict(), marks=marks)

    def finish(self, planned: Planned) -> Batch:
        """A batch without the samples that cannot be read; those are recorded and not replaced.

        Raises:
            IncompleteRun: too many cannot be read, or the chat template refuses them.
        """
        found = self.encoder.finish(planned.media)
        rows: list[tuple[Sample, TokenizedConversation, tuple[str, ...]]] = []
        self.unreadable.seen += len(planned.samples)
        self.unreadable.marks = planned.marks
        for sample, text in zip(planned.samples, planned.texts, strict=True):
            keys = tuple(media_key(media, FRAMES) for media in sample.media)
            try:
                rows.append((sample, self._fitting(sample, text, [found[key] for key in keys]), keys))
            except (RequestFailed, BadData) as error:
                self.unreadable.reasons[sample.where] = str(error).removeprefix(f"{sample.where}: ")
        self.unreadable.require_few()
        kinds = {key: media.kind for sample, _, keys in rows for key, media in zip(keys, sample.media, strict=True)}
        return Batch(
            ids=tuple(sample.id for sample, _, _ in rows),
            conversations=tuple(conversation for _, conversation, _ in rows),
            media=tuple(keys for _, _, keys in rows),
            features={key: found[key] for key in kinds},  # type: ignore[misc]  # rows have no failures
            kinds=dict(kinds),
        )

    def _fitting(
        self,
        sample: Sample,
        text: TokenizedConversation | BadData | RequestFailed,
        found: Sequence[Tensor | RequestFailed],
    ) -> TokenizedConversation:
        length = 0
        for media, features in zip(sample.media, found, strict=True):
            if isinstance(features, RequestFailed):
                raise features
            fixed = getattr(self._network.projectors[media.kind], "tokens", None)
            length += int(fixed) if fixed is not None else len(features)
        if isinstance(text, BadData | RequestFailed):
            raise text
        length += text.prompt.text_tokens
        if length > self._network.llm.context:
            raise ContextTooLong(f"{length} tokens, the model's context is {self._network.llm.context}")
        return text

    def _tokenized(self, sample: Sample) -> TokenizedConversation | BadData | RequestFailed:
        if sample.turns not in self._conversations:
            try:
                made = tokenize_conversation(self._network.chat, sample.turns, self._network.llm.ends)
            except (RequestFailed, BadData) as error:
                return type(error)(*error.args)
            if len(self._conversations) >= MOST_CONVERSATIONS:
                self._conversations.clear()
            self._conversations[sample.turns] = made
        return self._conversations[sample.turns]


class Batches:
    """All micro-batches of all steps from ``start``: what the trainer iterates over. They are read ahead.

    Attributes:
        order: of the samples; ahead of the batches that were taken.
        start: the first step.
    """

    def __init__(self, order: SampleOrder, collator: Collator, steps: int, accumulate: int, ahead: int = AHEAD) -> None:
        """``ahead``: micro-batches that are read before they are needed."""
        self.order, self.unreadable = order, collator.unreadable
        self._collator, self._steps, self._accumulate, self._count = collator, steps, accumulate, ahead
        self.start = 0
        self._position: Mapping[str, Any] | None = None
        self._ahead: Ahead[Planned] | None = None
        self._waited = 0.0
        self._marked = time.perf_counter(), 0.0

    def __len__(self) -> int:
        return self._steps * self._accumulate

    def __iter__(self) -> Iterator[Batch]:
        self.close()
        self._ahead = ahead = Ahead(self._plans(), self._count, self._collator.encoder.wait_for_room)
        self.input_wait()
        while True:
            start = time.perf_counter()
            planned = next(ahead, None)
            self._waited += time.perf_counter() - start
            if planned is None:
                return
            batch = self._collator.finish(planned)
            self._position = planned.order
            yield batch

    @property
    def position(self) -> Mapping[str, Any]:
        """The state of the order after the last batch that was taken, to resume from."""
        return self.order.state_dict() if self._position is None else self._position

    def rewind(self, position: Mapping[str, Any]) -> None:
        """Take a position from before batches that were taken, but not trained on."""
        self._position = position

    def input_wait(self) -> float:
        """The fraction of the time since the last call in which the trainer waited for input to be read."""
        now, waited = time.perf_counter(), self._waited + self._collator.encoder.waited
        (before, waited_before), self._marked = self._marked, (now, waited)
        return (waited - waited_before) / max(now - before, 1e-9)

    def leave_out(self, seconds: float) -> None:
        """Do not count seconds in which the network was evaluated or saved, for :meth:`input_wait`."""
        before, waited = self._marked
        self._marked = (before + seconds, waited)

    def close(self) -> None:
        """End the thread that reads ahead."""
        if self._ahead is not None:
            self._ahead.close()

    def _plans(self) -> Iterator[Planned]:
        for step in range(self.start, self._steps):
            for micro_batch in range(self._accumulate):
                yield self._collator.plan(self.order, step, micro_batch)
