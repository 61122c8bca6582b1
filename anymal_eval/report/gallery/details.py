"""All that a page shows of one example: its media, its question, and every run's answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval import metrics
from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.generation.thinking import split
from anymal_eval.protocols.prompting import way_of
from anymal_eval.records import Example, Media, Request, Response
from anymal_eval.report.gallery.content import Row, Side, TaskPage, outcome, score_of
from anymal_eval.report.gallery.media_files import Key, MediaTag, key
from anymal_eval.store.shown_prompts import SentPrompt

NOTES = ("cut", "thinking", "template")
_MARKED = re.compile("‹[^‹›]*›(?:x[0-9]+)?")


def detail(page: TaskPage, example: Example, media: Mapping[Key, MediaTag]) -> dict[str, Any]:
    """All data shown for one example."""
    request = page.requests.get(example.id)
    found: dict[str, Any] = {
        "id": example.id,
        "kind": example.kind,
        "key": example.key if example.key != example.id else "",
        "groups": dict(example.groups),
        "question": example.question,
        "context": dict(example.context),
        "options": list(example.options),
        "label": example.label,
        "references": None if example.references is None else list(example.references),
        "media": [dict(media.get(key(one), {"kind": one.kind, "name": _name(one), "left": True}))
                  for one in _in_order(example, request)],
        "sides": [_side(side, example, page.metric) for side in page.sides],
    }  # fmt: skip
    if request is not None:
        found["prompt"] = _prompt(request)
    found["sent"] = _sent(page, example)
    return found


def _sent(page: TaskPage, example: Example) -> list[dict[str, Any]]:
    """The prompts after the chat templates, each with the numbers of the runs that it was given to."""
    found: dict[SentPrompt, list[int]] = {}
    for at, side in enumerate(page.sides):
        if example.id in side.sent:
            found.setdefault(side.sent[example.id], []).append(at)
    return [{"runs": runs, "parts": list(sent_parts(sent)), "tokens": sent.tokens, "special": sent.special}
            for sent, runs in found.items()]  # fmt: skip


def metric_facts(page: TaskPage) -> dict[str, dict[str, Any]]:
    """Names, directions and scales of the metrics that score single examples, by their ids.

    A bar is drawn from 0 to ``top``: 1 for a fraction, else the highest score on the page.
    """
    facts: dict[str, dict[str, Any]] = {}
    for side in page.sides:
        for row in side.rows.values():
            for name, value in row["scores"].items():
                known = facts.get(name)
                if known is None:
                    known = facts[name] = _metric(name)
                known["top"] = max(known["top"], rounded(value) or 0.0)
    names = [fact["name"] for fact in facts.values()]
    for name, fact in facts.items():
        if names.count(fact["name"]) > 1:
            fact["name"] += f" {name.partition('@')[2]}"
    if page.metric in facts:
        facts[page.metric]["headline"] = True
    return facts


def _metric(name: str) -> dict[str, Any]:
    try:
        output = metrics.get(name).outputs[0]
    except (NotInCatalog, BadDefinition):
        # A metric of the user's own, whose file is not here.
        return {"name": name.partition("@")[0], "better": "higher", "top": 1.0}
    return {"name": output.usual_name, "better": output.better, "top": 1.0 if output.unit == "fraction" else 0.0}


def sent_parts(sent: SentPrompt) -> Iterator[tuple[str, bool]]:
    """The pieces of a prompt after the chat template, and whether each is a special token or stands for a medium.

    >>> list(sent_parts(SentPrompt(id="1", text="‹s›Is ‹a› it?‹image›x4", tokens=9, special=5, marks=(0, 3, 13, 22))))
    [('‹s›', True), ('Is ‹a› it?', False), ('‹image›x4', True)]
    """
    spans = list(zip(sent.marks[::2], sent.marks[1::2], strict=False))
    if not spans and sent.special:  # of an earlier version, which kept no places
        spans = [found.span() for found in _MARKED.finditer(sent.text)]
    at = 0
    for start, end in [*spans, (len(sent.text), len(sent.text))]:
        if at < start:
            yield sent.text[at:start], False
        if start < end:
            yield sent.text[start:end], True
        at = end


def gold(example: Example) -> Sequence[str]:
    """The texts that are right: the label's option, or the references, each once."""
    if example.label is not None and example.kind == "choice":
        return (example.options[example.label],)
    return tuple(dict.fromkeys(example.references or ()))


def answer_text(row: Row) -> str:
    """An answer in one line."""
    if row.get("p_yes") is not None:
        return f"{row['answer']} (P(yes) {row['p_yes']:.3f})"
    if row["state"] in ("empty", "unparsable") and isinstance(row["raw"], str):
        return str(row["raw"])
    return str(row["answer"])


def rounded(value: float | None) -> float | None:
    """A score with the digits that the pages show."""
    return None if value is None else round(float(value), 4)


def _side(side: Side, example: Example, metric: str) -> dict[str, Any] | None:
    row = side.rows.get(example.id)
    if row is None:
        return None
    fields = {name: row[name] for name in ("state", "raw", "answer", "choice", "p_yes") if row.get(name) is not None}
    notes = [name for name in NOTES if row.get(name)]
    fields |= {"notes": notes} if notes else {}
    fields |= _of_response(side.responses.get(example.id), row)
    scores = {name: rounded(value) for name, value in row["scores"].items()}
    return fields | {"scores": scores, "score": rounded(score_of(row, example, metric)),
                     "outcome": outcome(row, example, metric)}  # fmt: skip


def _of_response(response: Response | None, row: Row) -> dict[str, Any]:
    """What the response holds beside the answer; without it, the thinking inside the raw text."""
    raw = row.get("raw")
    thought = split(raw) if isinstance(raw, str) and raw else None
    thinking = (response.thinking if response is not None else None) or (thought.thinking if thought else "")
    found: dict[str, Any] = {"thinking": thinking} if thinking else {}
    if response is None:
        return found
    if response.failure is not None:
        found["failure"] = response.failure.kind
    for name in ("finish", "prompt_tokens", "new_tokens", "option_tokens"):
        if getattr(response, name) is not None:
            found[name] = getattr(response, name)
    return found


def _prompt(request: Request) -> dict[str, Any]:
    numbers = iter(range(1, len(request.media) + 1))
    return {
        "messages": [
            {"role": turn.role, "parts": [{"medium": next(numbers), "kind": part.kind, "name": _name(part)}
                                          if isinstance(part, Media) else part for part in turn.parts]}
            for turn in request.messages
        ],
        "prefix": request.answer_prefix,
        "candidates": list(request.candidates),
        "perToken": request.length_normalise,
        "limit": request.decoding.max_new_tokens,
        "how": ": ".join(way_of(request)),
        "frames": request.frames if any(part.kind == "video" for part in request.media) else None,
    }  # fmt: skip


def _in_order(example: Example, request: Request | None) -> Sequence[Media]:
    """The example's media as the request orders them; an ablation replaces those of the request."""
    if request is not None and {key(one) for one in request.media} == {key(one) for one in example.media}:
        return request.media
    return example.media


def _name(media: Media) -> str:
    name = Path(media.uri).name
    if media.start_s is None and media.end_s is None:
        return name
    return f"{name} {media.start_s or 0:g}-{'' if media.end_s is None else f'{media.end_s:g}'} s"
