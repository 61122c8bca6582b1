"""All that a page shows of one example: its media, its question, and every run's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.protocols.prompting import decoding_text
from anymal_eval.records import Example, Media, Request
from anymal_eval.report.gallery.content import TaskPage, is_right, score_of
from anymal_eval.report.gallery.media_files import Key, MediaTag, key


def detail(page: TaskPage, example: Example, media: Mapping[Key, MediaTag]) -> dict[str, Any]:
    """All data shown for one example."""
    request = page.requests.get(example.id)
    detail: dict[str, Any] = {
        "id": example.id,
        "cluster": example.cluster,
        "kind": example.kind,
        "groups": dict(example.groups),
        "question": example.question,
        "context": dict(example.context),
        "options": list(example.options),
        "label": example.label,
        "references": None if example.references is None else list(example.references),
        "media": [dict(media.get(key(one), {"kind": one.kind, "name": _name(one), "left": True}))
                  for one in example.media],
        "sides": [_side(side.rows.get(example.id), example, page.metric) for side in page.sides],
    }  # fmt: skip
    if request is not None:
        detail["prompt"] = _prompt(request)
    if example.id in page.sent:
        sent = page.sent[example.id]
        detail["sent"] = {"text": sent.text, "tokens": sent.tokens, "special": sent.special}
    return detail


def _side(row: Mapping[str, Any] | None, example: Example, metric: str) -> dict[str, Any] | None:
    if row is None:
        return None
    fields = {name: row[name] for name in ("state", "raw", "answer", "choice", "p_yes") if row.get(name) is not None}
    scores = {name: rounded(value) for name, value in row["scores"].items()}
    return fields | {"scores": scores, "score": rounded(score_of(row, example, metric)),
                   "right": is_right(row, example, metric)}  # fmt: skip


def _prompt(request: Request) -> dict[str, Any]:
    return {
        "messages": [
            {"role": turn.role, "parts": [f"<{part.kind}: {_name(part)}>" if isinstance(part, Media) else part
                                          for part in turn.parts]}
            for turn in request.messages
        ],
        "prefix": request.answer_prefix,
        "candidates": list(request.candidates),
        "how": _ranked(request) if request.candidates else f"generated: {decoding_text(request.decoding)}",
        "frames": request.frames if any(part.kind == "video" for part in request.media) else None,
    }  # fmt: skip


def _ranked(request: Request) -> str:
    return f"ranked by {'log p a token' if request.length_normalise else 'the sum of log p'}"


def gold(example: Example) -> Sequence[str]:
    """The texts that are right: the label's option, or the references, each once."""
    if example.label is not None and example.kind == "choice":
        return (example.options[example.label],)
    return tuple(dict.fromkeys(example.references or ()))


def answer_text(row: Mapping[str, Any]) -> str:
    """An answer in one line."""
    if row.get("p_yes") is not None:
        return f"{row['answer']} (P(yes) {row['p_yes']:.3f})"
    if row["state"] in ("empty", "unparsable") and isinstance(row["raw"], str):
        return str(row["raw"])
    return str(row["answer"])


def _name(media: Media) -> str:
    name = Path(media.uri).name
    if media.start_s is None and media.end_s is None:
        return name
    return f"{name} {media.start_s or 0:g}-{'' if media.end_s is None else f'{media.end_s:g}'} s"


def rounded(value: float | None) -> float | None:
    """A score with the digits that the pages show."""
    return None if value is None else round(float(value), 4)
