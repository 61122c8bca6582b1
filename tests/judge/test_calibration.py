"""Items with a known judgement: among the others, in no result, and a rate for each who judges."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import BadData, MissingData
from anymal_eval.judge import calibration
from anymal_eval.judge.design import Design, trials
from anymal_eval.judge.model_results import model_judged
from anymal_eval.judge.results import judged
from anymal_eval.judge.session import Session
from anymal_eval.judge.study import SCALES, Calibration, Item, Study
from anymal_eval.judge.tables import tables
from anymal_eval.judge.votes import Vote, Votes
from anymal_eval.report.rendering import render
from tests.judge.scripted_judge import judging
from tests.judge.test_model_judge import by_rank, judge
from tests.judge.test_results import make, study_of

DESIGN = Design(seed="ab" * 16, mode="pairwise", items=40, systems=2, annotators=("ana", "ben"), repeats=0.05)


def test_calibration_changes_no_other_trial() -> None:
    for mode in ("pairwise", "rating"):
        plain = trials(replace(DESIGN, mode=mode), "ana")
        shown = trials(replace(DESIGN, mode=mode, calibration=6), "ana")
        assert [one for one in shown if one.item < 40] == plain
        known = [one for one in shown if one.item >= 40]
        assert sorted(one.item for one in known) == list(range(40, 46))
        if mode == "pairwise":
            assert sorted(one.shown for one in known) == [(0, 1)] * 3 + [(1, 0)] * 3
        assert {len(one.id) for one in shown} == {24}
        assert len({one.id for one in shown}) == len(shown)
        places = [at for at, one in enumerate(shown) if one.item >= 40]
        assert places != list(range(places[0], places[0] + 6)), "they are spread"


def known_items(choices: list[str]) -> tuple[Calibration, ...]:
    return tuple(
        Calibration(
            item=Item(task="calibration", id=str(at), prompt="?", media=(), answers=("good x", "poor x")),
            choice=choice,
        )
        for at, choice in enumerate(choices)
    )


def vote_all(folder: Path, study: Study, annotator: str, choose: Any) -> None:
    """Through the session, as the page votes."""
    with Votes(folder) as votes:
        session = Session(study, votes)
        while (state := session.state(annotator))["trial"] is not None:
            trial = state["trial"]
            sent = {"n": state["n"], "trial": trial["id"], "seconds": 1.0, **choose(trial)}
            session.vote(annotator, sent)


def test_each_annotators_rate_is_reported(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 6, calibration=known_items(["left", "left", "tie", "right"]))
    folder = make(tmp_path, study, [])
    vote_all(folder, study, "ana", lambda trial: {"choice": "left" if trial["answers"][0] == "good x" else "right"})
    vote_all(folder, study, "ben", lambda trial: {"choice": "tie"})
    found = judged(folder)
    assert [(one.votes, one.trials, one.known) for one in found.annotators] == [(6, 6, (2, 4)), (6, 6, (1, 4))]
    assert len(found.comparisons) == 12
    assert {one.item for one in found.comparisons} == {f"mmit_cap/{at}" for at in range(6)}
    text = "".join(render(table, "md") for table in tables(found))
    assert "known right" in text
    assert "2 of 4" in text


def test_a_model_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    study = study_of(["good", "poor"], 2, calibration=known_items(["left", "right", "left"]))
    items = tuple(replace(item, answers=("good y", "poor y")) for item in study.items)
    folder = make(tmp_path / "study", replace(study, items=items), [])
    with judging(by_rank) as server:
        judge(folder, server)
    (found,) = model_judged(folder)
    assert found.known == (2, 3)
    assert len(found.comparisons) == 2


def test_a_protocol_by_references_leaves_calibration_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    known = Calibration(
        item=Item(task="calibration", id="0", prompt="?", media=(), answers=("x",)), ratings={"integrity": 1.0}
    )
    study = study_of(["a"], 2, mode="rating", calibration=(known,))
    items = tuple(replace(item, references=("y",), options=("y", "z"), label=0) for item in study.items)
    folder = make(tmp_path / "study", replace(study, items=items), [])
    for name, answer, count in (("mm-vet", "0.5", 10), ("mmbench", "A", 4)):
        with judging(lambda *_, answer=answer: answer) as server:
            judge(folder, server, "--judge-protocol", name)
        (found,) = [one for one in model_judged(folder) if one.judge.protocol.name == name]
        assert (found.states["ok"], found.known, len(found.ratings)) == (count, (0, 0), 2)


def test_ratings_measure_the_scales_that_are_named(tmp_path: Path) -> None:
    known = Calibration(
        item=Item(task="calibration", id="0", prompt="?", media=(), answers=("x",)), ratings={"integrity": 1.0}
    )
    study = study_of(["a"], 2, mode="rating", calibration=(known,), annotators=("ana",))
    folder = make(tmp_path, study, [])
    levels = {"response accuracy": 0, "object recognition accuracy": 0, "integrity": 1}
    vote_all(folder, study, "ana", lambda trial: {"choice": "rated", "ratings": levels})
    assert judged(folder).annotators[0].known == (1, 1)
    assert len(judged(folder).ratings) == 2 * 3


def test_lines_are_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"

    def read(mode: Any = "pairwise", **row: object) -> Any:
        file.write_text(json.dumps({"prompt": "?", "answers": ["x", "y"], **row}))
        return calibration.read(file, mode, SCALES)

    (one,) = read(choice="first")
    assert calibration.calibration([one], tmp_path, SCALES, {})[0].choice == "left"
    for given, said in (
        ({}, "line 1: choice: it must be first, second, tie, both bad"),
        ({"choice": "left"}, "line 1: choice"),
        ({"choice": "first", "answers": ["x"]}, "--mode pairwise shows 2, and there are 1"),
        ({"mode": "rating", "answers": ["x"], "ratings": {"integrity": "maybe"}}, "there is no 'integrity': 'maybe'"),
        ({"mode": "rating", "answers": ["x"]}, "a level of response accuracy or"),
        ({"choice": "first", "image": "a.png", "audio": "b.wav"}, "it names 2 media"),
        ({"choice": "first", "picture": "a.png"}, "picture: unknown key"),
    ):
        with pytest.raises(BadData, match=said):
            read(**given)
    with pytest.raises(MissingData, match=r"there is no .*a\.png"):
        read(choice="first", image="a.png")
    file.write_text("")
    with pytest.raises(MissingData, match="holds no line"):
        calibration.read(file, "pairwise", SCALES)


def test_votes_of_a_study_without_calibration_are_read_as_before(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 3, annotators=("ana",))
    given = [
        Vote(n=n, annotator="ana", trial=one.id, choice="left") for n, one in enumerate(trials(study.design, "ana"))
    ]
    assert judged(make(tmp_path, study, given)).annotators[0].known == (0, 0)
