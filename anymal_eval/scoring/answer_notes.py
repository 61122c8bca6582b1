"""What a reader of a number must know of the answers behind it: cut, thinking, with a template's leftovers, unread."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.generation.thinking import split
from anymal_eval.protocols.reading import Reading, read_response
from anymal_eval.records import Answer, Example, Response

NOTED = ("cut", "thinking", "template")
SHOWN = 200  # characters of an example

_TEMPLATE = re.compile(
    r"<\|[A-Za-z][\w.:-]*\|>|<｜[^｜>]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk|image|video|audio)>"
    r"|<(?:start|end)_of_(?:turn|utterance|text)>|<end▁of▁sentence>|<0x[0-9A-F]{2}>"
    r"|(?:^|[\n>])\s*(?:###\s*)?(?:ASSISTANT|USER|HUMAN|SYSTEM|Assistant|User|Human|System|Response|Instruction)\s*:"
    r"|\s(?:ASSISTANT|USER|HUMAN|SYSTEM):"
)
_MARKS = re.compile(r"[<\[:]")  # one of these is in every text that the one above finds; most answers hold none


@dataclass(frozen=True, kw_only=True)
class NotedAnswers:
    """The examples of a run with their answers, and what is noted of each, all (N,)."""

    examples: Sequence[Example]
    answers: Sequence[Answer]
    notes: Sequence[frozenset[str]]


def notes_of(response: Response) -> frozenset[str]:
    """What is noted of one response.

    ``cut``: the text ended at the limit of new tokens. ``thinking``: the model thought first. ``template``:
    it holds what belongs to a chat template.

    >>> sorted(notes_of(Response(id="1", answer="<think> Let me see", finish="length")))
    ['cut', 'thinking']
    >>> sorted(notes_of(Response(id="1", answer="a dog<|im_end|>", finish="stop")))
    ['template']
    >>> sorted(notes_of(Response(id="1", answer="a <b> dog: [x]", finish="stop")))
    []
    """
    found = {"cut"} if response.finish == "length" else set()
    thought = split(response.answer or "")
    if thought is not None or response.thinking:
        found.add("thinking")
    answer = response.answer if thought is None else thought.answer
    if answer and _MARKS.search(answer) and _TEMPLATE.search(answer):
        found.add("template")
    return frozenset(found)


def read_answers(examples: Sequence[Example], responses: Mapping[str, Response], reading: Reading) -> NotedAnswers:
    """The answer to each example, and what is noted of it.

    Equal texts to equal options are read once, and share their answer: most short answers are given many times.

    Args:
        examples: N examples.
        responses: to them, by id.
        reading: the rules.
    """
    answers: list[Answer] = []
    notes: list[frozenset[str]] = []
    known: dict[tuple[object, ...], tuple[Answer, frozenset[str]]] = {}
    for example in examples:
        response = responses[example.id]
        if response.answer is None or response.option_scores is not None:
            found = read_response(response, example, reading), notes_of(response)
        else:
            key = (response.answer, example.kind, example.options, response.finish, response.thinking)
            kept = known.get(key)
            if kept is None:
                kept = known[key] = (read_response(response, example, reading), notes_of(response))
            found = kept
        answers.append(found[0])
        notes.append(found[1])
    return NotedAnswers(examples=examples, answers=answers, notes=notes)


def answer_problems(
    task: str, noted: NotedAnswers, reading: Reading, responses: Mapping[str, Response]
) -> tuple[dict[str, Any], ...]:
    """A row for each kind of problem that a task's answers have, with the first such answer and the reason.

    Args:
        task: its name.
        noted: examples, answers and notes.
        reading: the rules by which they were read.
        responses: by id.

    Returns:
        Rows ``{"task", "what", "count", "n", "id", "answer", "why"}``; none of what no answer has.
    """
    kinds: dict[str, list[int]] = {}
    for at, (answer, notes) in enumerate(zip(noted.answers, noted.notes, strict=True)):
        if answer.state == "ok" and not notes:
            continue
        for what in (*(name for name in ("empty", "unparsable") if answer.state == name), *sorted(notes)):
            kinds.setdefault(what, []).append(at)
    rows = []
    for what in ("empty", "unparsable", *NOTED):
        if what in kinds:
            example = noted.examples[kinds[what][0]]
            rows.append(
                {
                    "task": task,
                    "what": what,
                    "count": len(kinds[what]),
                    "n": len(noted.answers),
                    "id": example.id,
                    "answer": (responses[example.id].answer or "")[:SHOWN],
                    "why": _why(what, example, reading),
                }
            )
    return tuple(rows)


def _why(what: str, example: Example, reading: Reading) -> str:
    match what:
        case "unparsable" if example.kind == "yes_no":
            return f"the rule {reading.extract!r} reads neither yes nor no in it"
        case "unparsable":
            return f"the rule {reading.extract!r} reads none of its {len(example.options)} options in it"
        case "empty":
            rules = [f"{name} {rule!r}" for name, rule in (("unwrap", reading.unwrap), ("clean", reading.clean))
                     if rule != "none"]  # fmt: skip
            return f"nothing is left after {' and '.join(rules)}" if rules else "the model wrote nothing"
        case "cut":
            return "it ended at the limit of new tokens"
        case "thinking":
            return "the model thought first; what follows its thinking is scored"
        case _:
            return "it holds what belongs to a chat template"
