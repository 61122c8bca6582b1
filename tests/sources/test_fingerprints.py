"""Fingerprints of data and prompts are written piece by piece: they are those of whole rows, written by ``json``."""

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog, protocols
from anymal_eval.evaluation.requests import Requests, prompts_hash
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.protocols.prompting import RequestBuilder
from anymal_eval.records import Decoding, Example, Media, Request
from anymal_eval.sources.load import fingerprints
from anymal_eval.task import Task

HOME = Path("/data/vqav2")
ODD = ['say "no\\"', "rød\n\tgrøn", "a\u2028b\x85", "\x00\x1f\x7f", "😀 {media} {ocr}", "", " "]
PICTURE = (Media(kind="image", uri=f"{HOME}/val/1.jpg"),)
CLIP = (Media(kind="video", uri="row:set@1/val#3", start_s=0.5, end_s=2.0), *PICTURE)
EXAMPLES = [
    Example(
        id=f"{n}é", cluster=text, kind="short_answer", media=(PICTURE, CLIP, ())[n % 3], question=text,
        context=({}, {"hint": text, "ocr": ""}, {"ocr": "stop", "ocr_tokens": text})[n % 3],
        options=(ODD[0], text) if n % 2 else (), references=None if n == 1 else (text,) * n,
        label=1 if n % 2 else None, key=text if n > 4 else "",
    )
    for n, text in enumerate(ODD)
]  # fmt: skip


def digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\0" for line in lines).encode()).hexdigest()[:16]


def test_of_data() -> None:
    rows, shared = [], []
    for item in EXAMPLES:
        content: list[Any] = [item.question, item.context, item.options, item.references, item.label]
        named = [[m.kind, m.uri.removeprefix(f"{HOME}/").rpartition("@")[2], m.start_s, m.end_s] for m in item.media]
        rows.append(json.dumps([item.id, item.cluster, *content, named], sort_keys=True))
        shared.append(json.dumps([item.key or item.id, *content], sort_keys=True))
    assert fingerprints(EXAMPLES, HOME) == (digest(rows), digest(sorted(shared)))


def line(request: Request) -> str:
    turns = [[m.role, *(f"<{p.kind}>" if isinstance(p, Media) else p for p in m.parts)] for m in request.messages]
    plain, first = asdict(Decoding()), ("max_new_tokens", "min_new_tokens", "beams", "length_penalty", "stop")
    own = {key: value for key, value in asdict(request.decoding).items() if key in first or value != plain[key]}
    row = [turns, request.answer_prefix, request.candidates, request.length_normalise, own, request.frames]
    return re.sub("[\x85\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(row, ensure_ascii=False))


@pytest.mark.parametrize("protocol", catalog.protocols().names())
def test_of_prompts(protocol: str) -> None:
    read = protocols.get(protocol)
    examples = [*EXAMPLES, *(replace(item, context={}, options=()) for item in EXAMPLES)]
    for system in (None, "", 'be "brief"', "a \0 in it"):
        chosen = replace(read, overrides=replace(read.overrides, system=system, max_new_tokens=7))
        for name in ("vqav2", "textvqa", "scienceqa", "hateful_memes", "coco"):
            builder = RequestBuilder(catalog.tasks().get(name, "TASK", Task), PLAIN_WORDING, chosen)
            assert prompts_hash(examples, builder) == digest([line(builder.build(item)) for item in examples])


def test_requests_are_built_when_they_are_needed() -> None:
    builder = RequestBuilder(catalog.tasks().get("vqav2", "TASK", Task), PLAIN_WORDING, protocols.get("plain"))
    requests, all_of_them = Requests(EXAMPLES, builder), [builder.build(item) for item in EXAMPLES]
    assert len(requests) == len(EXAMPLES)
    assert list(requests) == all_of_them
    assert requests[2] == all_of_them[2]
    assert list(requests[1:3]) == all_of_them[1:3]
    assert requests.without({item.id for item in EXAMPLES[1:]}) == all_of_them[:1]
