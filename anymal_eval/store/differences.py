"""What differs between two runs, in words: a hash says that something differs, and not what."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_HASH = re.compile(r"[0-9a-f]{16,64}")
# What follows from other examples: one of them tells it.
OF_EXAMPLES = frozenset({"n", "n_expected", "n_split", "prompts", "source", "content"})
_UNTOLD = frozenset({"frozen", "weights", "processor"})  # hashes of the model's parts


def in_words(before: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str], verb: str = "now") -> str:
    """Differing entries of two manifests, with both values.

    Args:
        before, now: the entries of a run or of one task.
        keys: those that differ.
        verb: what stands before the second value.

    >>> in_words({"limit": None}, {"limit": 5}, ["limit"])
    'limit was not given, now 5'
    >>> one, other = {"examples": "0" * 16, "n": 10}, {"examples": "1" * 16, "n": 12}
    >>> in_words(one, other, ["examples", "n"])
    'examples were 10, now 12'
    """
    keys = list(keys)
    found = []
    hashed = "examples" in keys and _is_hash(before.get("examples"))
    for key in keys:
        one, other = before.get(key), now.get(key)
        if key == "examples" and hashed:
            found.append(_examples(before, now, verb))
        elif hashed and key in OF_EXAMPLES:
            continue
        elif key == "prompts" and _is_hash(one):
            found.append(
                f"prompts were of another wording or template than {'those now' if verb == 'now' else 'these'}"
            )
        elif key == "content" and _is_hash(one):
            found.append(f"content was another than {'that now' if verb == 'now' else 'this'}")
        else:
            found.append(f"{key} was {_shown(one)}, {verb} {_shown(other)}")
    return ", ".join(found)


def model_in_words(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two models, from what the manifests record of them.

    >>> model_in_words({"options": {"precision": "fp32"}}, {"options": {"precision": "bf16"}})
    "precision was 'fp32', now 'bf16'"
    >>> model_in_words({"options": {}}, {"options": {}})
    'its weights, its processor or its code are others'
    """
    found: dict[str, str] = {}
    for part in ("options", "provenance"):
        one, other = _part(before, part), _part(now, part)
        for key in sorted({*one, *other} - _UNTOLD):
            if one.get(key) != other.get(key):
                found.setdefault(key, f"{key} was {_shown(one.get(key))}, now {_shown(other.get(key))}")
    return ", ".join(found.values()) or "its weights, its processor or its code are others"


def _part(model: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = model.get(part)
    return found if isinstance(found, Mapping) else {}


def _examples(before: Mapping[str, Any], now: Mapping[str, Any], verb: str) -> str:
    then = "are" if verb == "is" else verb
    counts = before.get("n"), now.get("n")
    sources = [each.get("source") for each in (before, now)]
    seeds = [each.get("seed") if isinstance(each, Mapping) else None for each in sources]
    if counts[0] != counts[1]:
        return f"examples were {counts[0]:,}, {then} {counts[1]:,}"
    if seeds[0] != seeds[1]:
        return f"examples were drawn with the seed {seeds[0]}, {then} with {seeds[1]}"
    return f"examples were {counts[0] or 0:,}, {then} as many with other content or media names"


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _shown(value: object) -> str:
    return "not given" if value is None else repr(value)
