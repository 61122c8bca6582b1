"""What ``check`` refuses, ``table`` does not rank and shows no gain of; what it compares, ``table`` ranks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import anymal_eval
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.protocols import Phrase
from anymal_eval.records import Failure, MediaKind, Request, Response
from anymal_eval.report.paper_table import paper_table
from anymal_eval.store.stored import open_run


@pytest.fixture(autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "comparable-world"))


class Letters:
    """Chooses A or B by the length of the prompt; with ``failing``, every second request fails."""

    accepts: frozenset[MediaKind] = frozenset({"image"})
    opens_media = False

    def __init__(self, name: str, *, failing: bool = False, prompt: str = "{question}\n{options}") -> None:
        self.fingerprint, self.failing, self.given = name, failing, 0
        self.wording: Mapping[Any, Phrase] = {**PLAIN_WORDING, "choice": Phrase(user=prompt, extract="letter")}

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Any]) -> list[Response]:
        return [self.one(item.request) for item in batch]

    def one(self, request: Request) -> Response:
        self.given += 1
        if self.failing and self.given % 2:
            return Response(id=request.id, failure=Failure(kind="made-up", message="it fails"))
        return Response(
            id=request.id, answer="AB"[len(request.id) % 2 if self.fingerprint == "a" else 0], finish="stop"
        )

    def close(self) -> None:
        pass


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    # The model's options, the run's options, and whether the two may be compared.
    "another model": ({}, {}, True),
    "errors": ({"failing": True}, {}, False),
    "other examples": ({}, {"demo_seed": 1}, False),
    "fewer examples": ({}, {"demo_examples": 12}, False),
    "a sample": ({}, {"limit": 10}, False),
    "another rule": ({}, {"extract": "chat"}, False),
    "another prompt": ({"prompt": "{question}\n{options}\nThe letter?"}, {}, False),
    "without media": ({}, {"ablate": "no-media"}, False),
}


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., Path]:
    def evaluate(name: str, model: Mapping[str, Any], options: Mapping[str, Any]) -> Path:
        out = tmp_path / name.replace(" ", "-")
        given = {"demo_examples": 24, **options}
        anymal_eval.evaluate(Letters(name, **model), "scienceqa", data="demo", out=out, **given)
        return out

    return evaluate


@pytest.mark.parametrize("change", CHANGES)
def test_the_table_ranks_what_check_compares(change: str, evaluated: Callable[..., Path]) -> None:
    model, options, compared = CHANGES[change]
    base = evaluated("a", {}, {})
    other = evaluated(change, model, options)
    (task,) = anymal_eval.compare(other, base).check.tasks
    assert (task.word != "refused") == compared, task.why
    stored = [open_run(folder) for folder in (base, other)]
    runs = [run.results for run in stored]
    first = paper_table(runs, stored=stored).rows[0][0].text
    table = paper_table(runs, against=first, stored=stored)
    cells = [row[2] for row in table.rows]
    best = [cell.bold or cell.underline for cell in cells]
    assert best == ([True, True] if compared else [False, False])
    assert ("%" in cells[1].text) == compared
    if not compared:
        # A run without media is marked by its label.
        says = "are errors" if change == "errors" else task.why.split(",")[0].removesuffix("'")
        assert change == "without media" or any(says in note for note in table.notes)
