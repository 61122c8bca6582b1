"""The examples as files that a page loads from the file system: an index of all, the list and the details in parts.

A page opened from the file system may not use ``fetch``, so each file is a script of one fixed form: one call with one
ASCII string literal that holds JSON. The data never become code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.protocols.reading import reading_text
from anymal_eval.records import Example
from anymal_eval.report.gallery.content import Row, TaskPage, outcome, score_of
from anymal_eval.report.gallery.details import answer_text, detail, gold, metric_facts, rounded
from anymal_eval.report.gallery.marks import SHAPES, mark_of, short_names
from anymal_eval.report.gallery.media_files import Key, MediaTag, key
from anymal_eval.report.run_screen import usual_name

CHUNK_EXAMPLES = 100
CHUNK_BYTES = 512 << 10
ROWS = 500  # rows of the list in one file
SNIPPET = 200  # characters of each text in the list, which the search covers
MINI_PEAKS = 36
LIST_NAME = 11  # characters of a run's name in the list
STATES = {"ok": "o", "empty": "e", "unparsable": "u", "error": "x"}
OUTCOMES = {"right": "1", "partly": "p", "wrong": "0"}
ABSENT = "-"
FIRST_LETTER = 48


def write_data(folder: Path, page: TaskPage, media: Mapping[Key, MediaTag]) -> None:
    """Write ``index.js``, ``rows-<n>.js`` and ``chunk-<n>.js`` of one task into ``folder``.

    The index holds what filters and orders need, in columns; the rows hold the texts of the list, which the search
    covers; the chunks hold each example in full. All have the order in which the page opens, so that the first list
    needs one file of rows, however many examples there are.
    """
    folder.mkdir(parents=True)
    order = worst_first(page)
    examples = [page.examples[at] for at in order]
    starts: list[int] = []
    for number, (start, chunk) in enumerate(_chunks(page, examples, media)):
        _write(folder / f"chunk-{number}.js", f"{number}", f"[{','.join(chunk)}]")
        starts.append(start)
    for number, start in enumerate(range(0, len(examples), ROWS)):
        rows = [_row(page, example, media) for example in examples[start : start + ROWS]]
        _write(folder / f"rows-{number}.js", f"rows-{number}", json.dumps(rows, separators=(",", ":")))
    thumbs = any(_thumb(example, media) is not None for example in examples)
    index = _index(page, examples) | {"at": order, "chunks": starts, "rows": ROWS, "thumbs": thumbs}
    _write(folder / "index.js", "index", json.dumps(index, separators=(",", ":")))


def worst_first(page: TaskPage) -> list[int]:
    """The positions of the page's examples, the worst first, equal ones in the order of the data.

    Against a baseline those whose score fell most, and last what cannot be compared; without one the errors, then the
    lowest scores, and last what has none.
    """
    sign = -1.0 if page.headline is not None and page.headline.better == "lower" else 1.0

    def score(side: int, example: Example) -> float | None:
        row = page.sides[side].rows.get(example.id)
        return None if row is None else score_of(row, example, page.metric)

    def fall(example: Example) -> tuple[int, float]:
        now, before = score(0, example), score(page.base, example)
        return (1, 0.0) if now is None or before is None else (0, sign * round(now - before, 4))

    def badness(example: Example) -> tuple[int, float]:
        row, found = page.sides[0].rows.get(example.id), score(0, example)
        if row is not None and row["state"] == "error":
            return 0, 0.0
        return (2, 0.0) if found is None else (1, sign * round(found, 4))

    key = fall if page.base else badness
    return sorted(range(len(page.examples)), key=lambda at: key(page.examples[at]))


def _index(page: TaskPage, examples: Sequence[Example]) -> dict[str, Any]:
    rows = [[side.rows.get(example.id) for example in examples] for side in page.sides]
    pairs = [list(zip(column, examples, strict=True)) for column in rows]
    headline = page.headline
    marks = [mark_of(at, page.base or len(page.sides)) for at in range(len(page.sides))]
    return {
        "runs": [side.label for side in page.sides],
        "short": short_names([side.label for side in page.sides], LIST_NAME),
        "base": page.base,
        "marks": [(SHAPES[shape], colour) for shape, colour in marks],
        "sameWords": [side.same_prompts for side in page.sides],
        "kind": examples[0].kind,
        "metrics": metric_facts(page),
        "reading": reading_text(page.entry.reading),
        "metric": usual_name(headline) if headline is not None else "",
        "version": headline.label if headline is not None else "",
        "unit": headline.unit if headline is not None else "fraction",
        "better": headline.better if headline is not None else "higher",
        "ids": [example.id for example in examples],
        "v": [[None if row is None else rounded(score_of(row, example, page.metric)) for row, example in column]
              for column in pairs],
        "s": ["".join(ABSENT if row is None else STATES[row["state"]] for row in column) for column in rows],
        "ok": ["".join(ABSENT if row is None else OUTCOMES.get(outcome(row, example, page.metric) or "", ABSENT)
                       for row, example in column) for column in pairs],
        "answers": _answers(rows),
        "groups": _groups(examples),
    }  # fmt: skip


def _answers(rows: Sequence[Sequence[Row | None]]) -> list[str]:
    """By run: a letter for each example, the same for runs with the same answer to it."""
    columns: list[list[str]] = [[] for _ in rows]
    for across in zip(*rows, strict=True):
        known: dict[object, int] = {}
        for column, row in zip(columns, across, strict=True):
            answer = None if row is None else (answer_text(row), row.get("choice"))
            column.append(chr(FIRST_LETTER + known.setdefault(answer, len(known))))
    return ["".join(column) for column in columns]


def _groups(examples: Sequence[Example]) -> dict[str, dict[str, list[Any]]]:
    """By dimension: its values, and of each example the place of its value; -1 for none."""
    found: dict[str, dict[str, list[Any]]] = {}
    for name in sorted({name for example in examples for name in example.groups}):
        values = sorted({example.groups[name] for example in examples if name in example.groups})
        places = {value: at for at, value in enumerate(values)}
        found[name] = {"values": values, "of": [places[example.groups[name]] if name in example.groups else -1
                                                 for example in examples]}  # fmt: skip
    return found


def _write(file: Path, name: str, text: str) -> None:
    file.write_text(
        f'"use strict";\nAnyMALGallery.receive({json.dumps(name)}, {json.dumps(text)});\n', encoding="ascii"
    )


def _chunks(
    page: TaskPage, examples: Sequence[Example], media: Mapping[Key, MediaTag]
) -> Iterator[tuple[int, list[str]]]:
    """Chunks of examples in full, each with the place of its first one."""
    chunk: list[str] = []
    size = start = 0
    for at, example in enumerate(examples):
        text = json.dumps(detail(page, example, media), separators=(",", ":"))
        if chunk and (len(chunk) == CHUNK_EXAMPLES or size + len(text) > CHUNK_BYTES):
            yield start, chunk
            chunk, size, start = [], 0, at
        chunk.append(text)
        size += len(text)
    if chunk:
        yield start, chunk


def _row(page: TaskPage, example: Example, media: Mapping[Key, MediaTag]) -> dict[str, Any]:
    """The texts of one example in the list."""
    rows = [side.rows.get(example.id) for side in page.sides]
    question = example.question or example.context.get("ocr", "")
    return {
        "q": question[:SNIPPET],
        "r": " | ".join(gold(example))[:SNIPPET],
        "l": next(iter(gold(example)), "")[:SNIPPET] if not question else "",
        "a": [None if row is None else answer_text(row)[:SNIPPET] for row in rows],
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
