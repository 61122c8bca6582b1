"""The requests of a task: their prompts hashed once, each built when it is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import overload

from anymal_eval import fingerprint
from anymal_eval.codec import encode, write_json
from anymal_eval.protocols import Protocol, Wording
from anymal_eval.protocols.prompting import RequestBuilder, candidates
from anymal_eval.records import Decoding, Example, Media, Message, Request, media_order
from anymal_eval.sources.ablation import ablated
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.sources.load import collector_resting
from anymal_eval.sources.remembering import remembered

SETTINGS_OF_0_1 = frozenset({"max_new_tokens", "min_new_tokens", "beams", "length_penalty", "stop"})


class Requests(Sequence[Request]):
    """The requests of examples. None is kept: a resumed run builds those that have no answer, and no other."""

    def __init__(self, examples: Sequence[Example], builder: RequestBuilder) -> None:
        """``builder``: of their task, which has built the prompt of each before."""
        self._examples, self._builder = examples, builder

    def __len__(self) -> int:
        """The number of requests."""
        return len(self._examples)

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | Sequence[Request]:
        """A request, built anew each time; of a slice, the requests of its examples."""
        if isinstance(at, slice):
            return Requests(self._examples[at], self._builder)
        return self._builder.build(self._examples[at])

    def __iter__(self) -> Iterator[Request]:
        """The requests, in order, each built when it is reached."""
        return map(self._builder.build, self._examples)

    def one_of_each_kind(self) -> list[Request]:
        """One with media and one without, one with options and one without, as far as there are such."""
        found = {(bool(example.media), bool(example.options)): example for example in self._examples}
        return [self._builder.build(example) for example in found.values()]

    def without(self, answered: Collection[str]) -> list[Request]:
        """The requests whose ids are not among these, in order."""
        build = self._builder.build
        with collector_resting():
            return [build(example) for example in self._examples if example.id not in answered]


@dataclass(frozen=True, kw_only=True)
class TaskRequests:
    """The requests of one task.

    Attributes:
        wording, protocol, ablate: what they were built with.
        requests: in the order of the dataset's examples.
        prompts: the hash of all prompts, as they are sent.
    """

    dataset: TaskDataset
    wording: Wording
    protocol: Protocol
    ablate: str
    requests: Requests
    prompts: str

    @cached_property
    def orders(self) -> frozenset[str]:
        """Where the prompts have their media, of those that show it."""
        found = (media_order(request.messages) for request in self.requests)
        return frozenset(order for order in found if order is not None)


def build_requests(dataset: TaskDataset, wording: Wording, protocol: Protocol, ablate: str) -> TaskRequests:
    """Put every example into words, once, and hash the prompts.

    Args:
        dataset: the examples.
        wording: the model's own words, for what the protocol does not word.
        protocol: whose words go first.
        ablate: ``none``, ``no-media`` or ``shuffled-media``.

    Raises:
        BadDefinition: the words name something that the examples do not have.
    """
    examples = ablated(dataset.examples, ablate)
    builder = RequestBuilder(dataset.task, wording, protocol)
    prompts = prompts_of(dataset, examples, builder, ablate)
    requests = Requests(examples, builder)
    return TaskRequests(
        dataset=dataset, wording=wording, protocol=protocol, ablate=ablate, requests=requests, prompts=prompts
    )


def prompts_of(dataset: TaskDataset, examples: Sequence[Example], builder: RequestBuilder, ablate: str) -> str:
    """The hash of a dataset's prompts, of many remembered.

    Args:
        dataset: whose prompts they are.
        examples: its examples, after the ablation ``ablate``.
        builder: of its task.
        ablate: as for :func:`build_requests`.

    Raises:
        BadDefinition: as for :func:`prompts_hash`.
    """
    facts = {"of": "prompts", "ablate": ablate, "words": builder.words}
    with collector_resting():
        return remembered(dataset.digest, facts, lambda: prompts_hash(examples, builder))


def prompts_hash(examples: Sequence[Example], builder: RequestBuilder) -> str:
    """The hash of the prompts of examples, in their order.

    Each is a line of JSON, media by their kind: equal lines mean equal words. No request is built for it.

    Raises:
        BadDefinition: the words name something that the examples do not have.
    """
    rests: dict[tuple[str, ...], str] = {}
    around: dict[tuple[str, ...], list[str] | None] = {}

    def line(example: Example) -> str:
        chosen = candidates(example, builder.phrase)
        if chosen not in rests:
            rests[chosen] = _rest(builder, chosen)
        question, pieces = builder.question(example), None
        if question and not example.context and not example.options:  # only its question makes it differ from others
            kinds = tuple([medium.kind for medium in example.media])
            if kinds not in around:
                around[kinds] = _around_question(example, builder)
            pieces = around[kinds]
        turns = _turns(builder.messages(example)) if pieces is None else write_json(question)[1:-1].join(pieces)
        return f"[{turns}, {rests[chosen]}]"

    return fingerprint.of_lines(map(line, examples))


def _around_question(example: Example, builder: RequestBuilder) -> list[str] | None:
    """What stands around the question in the JSON of its messages; None where a prompt may hold the marks for it."""
    found = [_turns(builder.messages(replace(example, question=mark))).split(write_json(mark)[1:-1]) for mark in _MARKS]
    return found[0] if found[0] == found[1] else None


_MARKS = ("\0", "\1")


def _turns(messages: Sequence[Message]) -> str:
    """Messages as JSON: a list each, of the role and the parts."""
    turns = []
    for message in messages:
        parts = [f'"<{part.kind}>"' if type(part) is Media else write_json(part) for part in message.parts]
        turns.append(f"[{', '.join([_ROLES[message.role], *parts])}]")
    return f"[{', '.join(turns)}]"


_ROLES = {role: f'"{role}"' for role in ("system", "user")}


def _rest(builder: RequestBuilder, chosen: tuple[str, ...]) -> str:
    """What most requests of a task share, as the end of a line."""
    phrase = builder.phrase
    decoding = _decoding(builder.decoding)
    return write_json([phrase.answer_prefix, list(chosen), phrase.length_normalise, decoding, phrase.frames])[1:-1]


@cache  # the requests of a task have few different ones
def _decoding(decoding: Decoding) -> dict[str, object]:
    """Settings of decoding; those that version 0.1.0 did not know only where they are set, so that its hashes hold."""
    plain = encode(Decoding())
    return {
        name: value for name, value in encode(decoding).items() if name in SETTINGS_OF_0_1 or value != plain.get(name)
    }
