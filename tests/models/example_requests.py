"""Requests over the tiny pictures, and batches of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anymal_eval.records import Decoding, Media, MediaKind, Message, Request, Response

QUESTIONS = (
    "What is the colour?", "how many dogs are there", "Is it hateful?", "why would two men hold an umbrella at night?",
    "In which place do they stand", "what?", "Describe the sound.", "Question: yes or no 1 2 3 4 5 6 7 8 9 0",
)  # fmt: skip
OPTIONS = (("yes", "no"), ("red", "a green hat", "blue", "black dogs at night"), ("A", "B", "C"))
BEAMS = Decoding(max_new_tokens=10, min_new_tokens=1, beams=5, length_penalty=-1.0)
GREEDY = Decoding(max_new_tokens=12)


def medium(file: Path | Media, kind: MediaKind = "image") -> Media:
    return file if isinstance(file, Media) else Media(kind=kind, uri=str(file))


def request(name: str, media: Sequence[Media], text: str, *, system: str = "", **more: Any) -> Request:
    """Media first, then the text, after a system message where there is one."""
    first = (Message(role="system", parts=(system,)),) if system else ()
    return Request(id=name, messages=(*first, Message(role="user", parts=(*media, text))), **more)


def requests(files: Sequence[Path | Media], how: Decoding, count: int = 16) -> list[Request]:
    """Open questions, about each file several."""
    return [
        request(f"q{n}", [medium(files[n % len(files)])], f"Question: {QUESTIONS[n % 8]} {n} Answer:", decoding=how)
        for n in range(count)
    ]


def ranked(files: Sequence[Path | Media], count: int = 9) -> list[Request]:
    """Questions with options of one and more tokens."""
    return [
        request(f"r{n}", [medium(files[n % len(files)])], f"{QUESTIONS[n % 8]} Answer:", candidates=OPTIONS[n % 3])
        for n in range(count)
    ]


def respond(model: Any, prompts: Sequence[Request], batch: int = 16) -> list[Response]:
    """In batches of that size."""
    found: list[Response] = []
    for start in range(0, len(prompts), batch):
        found += model.answer([model.prepare(each) for each in prompts[start : start + batch]])
    return found


def answers(model: Any, prompts: Sequence[Request], batch: int = 16) -> list[str | None]:
    return [response.answer for response in respond(model, prompts, batch)]
