"""The examples as files that a page loads from the file system: an index of all, and details in chunks.

A page opened from the file system may not use ``fetch``, so each file is a script of one fixed form: one call with one
ASCII string literal that holds JSON. The data never become code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.protocols.prompting import decoding_text
from anymal_eval.records import Example, Media, Request
from anymal_eval.report.gallery.content import TaskPage, is_right, score_of
from anymal_eval.report.gallery.media_files import Key, MediaTag, key

CHUNK_EXAMPLES = 100
CHUNK_BYTES = 512 << 10
SNIPPET = 200  # characters of each text in the index, which the search covers
MINI_PEAKS = 36


def write_data(folder: Path, page: TaskPage, media: Mapping[Key, MediaTag]) -> None:
    """Write ``index.js`` and ``chunk-<n>.js`` of one task into ``folder``."""
    folder.mkdir(parents=True)
    places: list[int] = []
    for number, chunk in enumerate(_chunks(page, media)):
        text = f"[{','.join(chunk)}]"
        _write(folder / f"chunk-{number}.js", f"{number}", text)
        places += [number] * len(chunk)
    rows = [
        _index_row(page, example, media) | {"c": place} for example, place in zip(page.examples, places, strict=True)
    ]
    index = {
        "runs": [side.label for side in page.sides],
        "sameWords": [side.same_prompts for side in page.sides],
        "kind": page.examples[0].kind,
        "metric": page.headline.label if page.headline is not None else "",
        "rows": rows,
    }
    _write(folder / "index.js", "index", json.dumps(index, separators=(",", ":")))


def _write(file: Path, name: str, text: str) -> None:
    file.write_text(
        f'"use strict";\nAnyMALGallery.receive({json.dumps(name)}, {json.dumps(text)});\n', encoding="ascii"
    )


def _chunks(page: TaskPage, media: Mapping[Key, MediaTag]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for example in page.examples:
        text = json.dumps(_detail(page, example, media), separators=(",", ":"))
        if chunk and (len(chunk) == CHUNK_EXAMPLES or size + len(text) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk


def _index_row(page: TaskPage, example: Example, media: Mapping[Key, MediaTag]) -> dict[str, Any]:
    """The fields of one example that the list, the filters, the search and the sorting need."""
    rows = [side.rows.get(example.id) for side in page.sides]
    question = example.question or example.context.get("ocr", "")
    return {
        "id": example.id,
        "q": question[:SNIPPET],
        "r": " | ".join(_gold(example))[:SNIPPET],
        "l": next(iter(_gold(example)), "")[:SNIPPET] if not question else "",
        "a": [None if row is None else _answer_text(row)[:SNIPPET] for row in rows],
        "s": [None if row is None else row["state"] for row in rows],
        "v": [None if row is None else _rounded(score_of(row, example, page.metric)) for row in rows],
        "ok": [None if row is None else is_right(row, example, page.metric) for row in rows],
        "g": dict(example.groups),
        "t": _thumb(example, media),
    }


def _thumb(example: Example, media: Mapping[Key, MediaTag]) -> str | list[int] | None:
    for one in example.media:
        shown = media.get(key(one), {})
        if "thumb" in shown:
            return str(shown["thumb"])
        if "peaks" in shown:
            peaks: list[int] = shown["peaks"]
            step = max(1, len(peaks) // MINI_PEAKS)
            return [max(peaks[at : at + step]) for at in range(0, len(peaks), step)]
    return None


def _detail(page: TaskPage, example: Example, media: Mapping[Key, MediaTag]) -> dict[str, Any]:
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
    scores = {name: _rounded(value) for name, value in row["scores"].items()}
    return fields | {"scores": scores, "score": _rounded(score_of(row, example, metric)),
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


def _gold(example: Example) -> Sequence[str]:
    if example.label is not None and example.kind == "choice":
        return (example.options[example.label],)
    return tuple(dict.fromkeys(example.references or ()))


def _answer_text(row: Mapping[str, Any]) -> str:
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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
