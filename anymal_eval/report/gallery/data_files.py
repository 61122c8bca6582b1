"""The examples as files that a page loads from the file system: an index of all, and details in chunks.

A page opened from the file system may not use ``fetch``, so each file is a script of one fixed form: one call with one
ASCII string literal that holds JSON. The data never become code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anymal_eval.records import Example
from anymal_eval.report.gallery.content import TaskPage, is_right, score_of
from anymal_eval.report.gallery.details import answer_text, detail, gold, rounded
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
        "base": page.base,
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
        text = json.dumps(detail(page, example, media), separators=(",", ":"))
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
        "r": " | ".join(gold(example))[:SNIPPET],
        "l": next(iter(gold(example)), "")[:SNIPPET] if not question else "",
        "a": [None if row is None else answer_text(row)[:SNIPPET] for row in rows],
        "s": [None if row is None else row["state"] for row in rows],
        "v": [None if row is None else rounded(score_of(row, example, page.metric)) for row in rows],
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
