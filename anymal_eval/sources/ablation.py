"""``--ablate``: examples without their media, or with those of other examples."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from anymal_eval.errors import BadData, WrongUse
from anymal_eval.records import Example, Media


def ablated(examples: Sequence[Example], ablate: str) -> Sequence[Example]:
    """The examples with their media removed or exchanged; everything else stays.

    Args:
        examples: of one task.
        ablate: ``none``; ``no-media``; ``shuffled-media``: every cluster gets the media of another one with as
            many of the same kinds, by a rotation in an order of hashes, so that it is the same on every machine and
            no cluster keeps its own.

    Raises:
        BadData: a cluster with media has no other to exchange with.
    """
    match ablate:
        case "none":
            return examples
        case "no-media":
            return [replace(example, media=()) for example in examples]
        case "shuffled-media":
            exchange = _rotation(examples)
            return [replace(example, media=exchange.get(_key(example), ())) for example in examples]
    raise WrongUse(f"--ablate {ablate}: choose none, no-media or shuffled-media")


def _key(example: Example) -> tuple[str, tuple[Media, ...]]:
    # A cluster may show different cuts of one video: each cut is exchanged by itself.
    return example.cluster, example.media


def _rotation(examples: Sequence[Example]) -> dict[tuple[str, tuple[Media, ...]], tuple[Media, ...]]:
    by_kinds: dict[tuple[str, ...], dict[str, list[tuple[Media, ...]]]] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        if example.media:
            cuts = by_kinds[tuple(medium.kind for medium in example.media)][example.cluster]
            if example.media not in cuts:
                cuts.append(example.media)
    exchange = {}
    for clusters in by_kinds.values():
        order = sorted(clusters, key=lambda name: hashlib.sha256(name.encode()).digest())
        if len(order) < 2:
            raise BadData(
                f"--ablate shuffled-media: only one cluster ({order[0]}) has such media, none to exchange with"
            )
        for name, other in zip(order, order[1:] + order[:1], strict=True):
            theirs = clusters[other]
            for place, cut in enumerate(clusters[name]):
                exchange[name, cut] = theirs[place % len(theirs)]
    return exchange
