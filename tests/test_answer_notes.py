"""Answers that are cut, thought aloud, unread or full of a template are counted beside the number, and said."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anymal_eval
from anymal_eval.generation.thinking import split
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.protocols import Phrase
from anymal_eval.records import MediaKind, Request, Response
from anymal_eval.scoring.answer_notes import _TEMPLATE, notes_of
from anymal_eval.store.results import read_results


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "notes-world"))


class Recorded:
    """Gives the same few responses in turn."""

    accepts: frozenset[MediaKind] = frozenset({"image"})
    fingerprint = "recorded-1"
    opens_media = False
    wording: Mapping[Any, Phrase] = {**PLAIN_WORDING, "choice": Phrase(user="{question}\n{options}", extract="letter")}

    def __init__(self, answers: Sequence[tuple[str, str]]) -> None:
        self.answers, self.given = list(answers), 0

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Any]) -> list[Response]:
        made = []
        for item in batch:
            text, finish = self.answers[self.given % len(self.answers)]
            self.given += 1
            made.append(Response(id=item.request.id, answer=text, finish=finish))  # type: ignore[arg-type]
        return made

    def close(self) -> None:
        pass


ANSWERS = [
    ("A", "stop"),
    ("A or B", "stop"),
    ("", "stop"),
    ("<think>The picture shows", "length"),
    ("B<|im_end|>", "stop"),
]


@pytest.fixture
def run(tmp_path: Path) -> anymal_eval.Run:
    return anymal_eval.evaluate(Recorded(ANSWERS), "scienceqa", data="demo", demo_examples=20, out=tmp_path / "run")


def test_counts_stand_beside_the_number(run: anymal_eval.Run) -> None:
    results = json.loads((run.root / "results.json").read_text(encoding="utf-8"))
    whole = next(row for row in results["measurements"] if row["group"] is None)
    assert whole["states"] == {"ok": 4, "empty": 4, "unparsable": 8, "error": 4}
    assert (whole["cut"], whole["thinking"], whole["template"]) == (4, 4, 4)
    found = {row["what"]: row for row in results["problems"]}
    assert {what: row["count"] for what, row in found.items()} == {
        "empty": 4, "unparsable": 8, "cut": 4, "thinking": 4, "template": 4,
    }  # fmt: skip
    assert found["unparsable"]["answer"] == "A or B"
    assert found["unparsable"]["why"].startswith("the rule 'letter' reads none of its ")
    rows = [json.loads(line) for line in (run.root / "scienceqa" / "scores.jsonl").read_text("utf-8").splitlines()]
    assert sum(row.get("cut", False) for row in rows) == 4
    assert [row["raw"] for row in rows if row.get("template")] == ["B<|im_end|>"] * 4


def test_they_are_in_the_tables_and_in_check(run: anymal_eval.Run, tmp_path: Path) -> None:
    for file in ("table.md", "table.tex"):
        text = (run.root / file).read_text(encoding="utf-8")
        assert "cut 4; thinking 4; template 4" in text
        assert "8 of 20 answers could not be read; the first, " in text
    with (run.root / "table.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    (whole,) = (row for row in rows if not row["group"] and row["kind"] == "measured")
    assert [whole[name] for name in ("cut", "thinking", "template")] == ["4", "4", "4"]
    (headline,) = (row for row in rows if row["headline"] == "yes")
    assert "8 of 20 answers could not be read; the first, " in headline["notes"]
    good = anymal_eval.evaluate(
        Recorded([("A", "stop")]), "scienceqa", data="demo", demo_examples=20, out=tmp_path / "a"
    )
    assert "cut" not in (good.root / "table.md").read_text(encoding="utf-8")
    assert read_results(good.root).problems == ()
    check = anymal_eval.compare(run, good).check
    (task,) = check.tasks
    assert [note.split(" answers ")[0] for note in task.notes] == [
        "run: 4 of 20", "run: 8 of 20", "run: 4 of 20", "run: 4 of 20", "run: 4 of 20",
    ]  # fmt: skip
    assert "are cut at the limit of new tokens" in " ".join(task.notes)


def test_the_rule_of_the_command_line_is_in_the_signature(tmp_path: Path) -> None:
    model = Recorded([("The answer is **A**.", "stop")])
    run = anymal_eval.evaluate(model, "scienceqa", data="demo", demo_examples=10, extract="chat", out=tmp_path / "chat")
    item = run.headlines["scienceqa"]
    assert item.states["unparsable"] == 0
    assert " | extract chat" in item.signature
    other = anymal_eval.evaluate(
        Recorded([("A", "stop")]), "scienceqa", data="demo", demo_examples=10, out=tmp_path / "letter"
    )
    (task,) = anymal_eval.compare(run, other).check.tasks
    assert (task.word, task.why) == ("refused", "reading.extract was 'letter', is 'chat'")


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("a dog", set()), ("a <b>dog</b>", set()), ("[INT] 5 < 6", set()), ("The user: a man", set()),
        ("the sign says </stop>", set()), ("system: of a down", set()),
        ("a dog<|im_end|>", {"template"}), ("a dog [/INST]", {"template"}), ("ASSISTANT: a dog", {"template"}),
        ("a dog ASSISTANT: yes", {"template"}), ("a dog</s>", {"template"}), ("<start_of_turn>model", {"template"}),
        ("### Response: a dog", {"template"}), ("a dog\nUser: and?", {"template"}), ("<image> a dog", {"template"}),
        ("<think>", {"thinking"}), ("\n <thinking>hm</thinking> a dog", {"thinking"}), ("hm</think>a", {"thinking"}),
        ("[THINK]hm", {"thinking"}), ("◁think▷hm", {"thinking"}), ("I think it is a dog", set()),
    ],
)  # fmt: skip
def test_what_is_noted(text: str, noted: set[str]) -> None:
    assert notes_of(Response(id="1", answer=text, finish="stop")) == noted
    assert notes_of(Response(id="1", answer=text, finish="length")) == noted | {"cut"}


PIECES = (
    "<", ">", "</", "<|", "|>", "<｜", "｜>", "｜", "[", "]", "[/", "◁", "▷", ":", "：", "<<", "<0x", "think", "THINK",
    "thinking", "INST", "SYS", "s", "bos", "image", "channel", "analysis", "begin_of_thought", "seed:think",
    "start_of_turn", "end▁of▁sentence", "0A", "ASSISTANT", "User", "### Response", "Instruction", "a dog", " ", "\n",
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join) | st.from_regex(_TEMPLATE))
def test_the_quick_look_misses_no_note(text: str) -> None:
    thought = split(text)
    answer = text if thought is None else thought.answer or ""
    whole = {"thinking"} if thought is not None else set()
    whole |= {"template"} if _TEMPLATE.search(answer) else set()
    assert notes_of(Response(id="1", answer=text, finish="stop")) == whole
