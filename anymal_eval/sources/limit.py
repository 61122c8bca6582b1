"""``--limit N``: a sample that is the same for every model."""

import hashlib
from collections.abc import Sequence

from anymal_eval.records import Example


def limit(examples: Sequence[Example], n: int) -> list[Example]:
    """The examples of whole clusters, taken in the order of their names' SHA-256, until there are ``n``.

    The last cluster is cut, in the order of the files. A smaller sample is thus a part of a larger one, and
    neither the order of the files nor the rest of the data decides whether a cluster comes before another. The
    result keeps the order of the files; with ``n`` at or above their number it is all of them.

    >>> ten = [Example(id=str(i), cluster=str(i // 2), kind="caption") for i in range(10)]
    >>> [example.id for example in limit(ten, 3)]
    ['6', '8', '9']
    """
    clusters: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        clusters.setdefault(example.cluster, []).append(place)
    kept: list[int] = []
    for name in sorted(clusters, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(kept) >= n:
            break
        kept.extend(clusters[name][: n - len(kept)])
    return [examples[place] for place in sorted(kept)]
