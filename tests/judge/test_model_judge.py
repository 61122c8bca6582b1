"""A model as the judge, over real HTTP: both orders, strict reading, failures, resuming, the cache, agreement."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.cli.main import cli
from anymal_eval.errors import IncompleteRun, WrongUse
from anymal_eval.judge.judge_answers import judges
from anymal_eval.judge.model_results import agreement, among_people, model_judged
from anymal_eval.judge.outcomes import position_bias, win_rates
from anymal_eval.judge.results import judged
from anymal_eval.judge.study import Item, Study, System
from tests.conftest import ROOT
from tests.judge.scripted_judge import JudgeServer, judging, text_of
from tests.judge.test_results import make, preferring

NAMES = ("good", "poor", "fair")
ITEMS = 6
FAST = ("-o", "retries=0")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))


def study_of(names: tuple[str, ...] = NAMES, **more: Any) -> Study:
    items = tuple(
        Item(
            task="mmit_cap", id=str(at), prompt=f"what is on sign {at}?", media=(), references=("a cat",),
            answers=tuple(f"{name} {at}" for name in names),
        )
        for at in range(ITEMS)
    )  # fmt: skip
    given: dict[str, Any] = {"mode": "pairwise", "items": items, "annotators": ("ana", "ben"), **more}
    return Study(
        name="s", systems=tuple(System(name=name) for name in names), seed="cd" * 16, repeats=0, **given
    )  # fmt: skip


def call(*given: object) -> Any:
    return cli.main([str(each) for each in given], standalone_mode=False)


def judge(folder: Path, server: JudgeServer, *more: object) -> None:
    call("judge", folder, "--judge", f"openai:judge@{server.url}", *FAST, *more)


def answers_in(text: str) -> tuple[str, str]:
    found = re.search(r"\[Answer A\]\n(.*?)\n\[End.*\[Answer B\]\n(.*?)\n\[End", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def by_rank(text: str, _: int) -> str:
    a, b = (("good", "fair", "poor").index(each.split()[0]) for each in answers_in(text))
    return f"I compared them.\nVerdict: {'A' if a < b else 'B'}"


def test_who_always_prefers_the_first_answer_gives_only_ties(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "study", study_of(), [])
    with judging(lambda *_: "Verdict: A") as server:
        judge(folder, server)
    assert "flip rate 1.00 (18 of 18)" in capsys.readouterr().out
    (found,) = model_judged(folder)
    assert found.flips == (18, 18)
    assert [(one.wins, one.ties, one.losses) for one in win_rates(found.comparisons)] == [(0, ITEMS, 0)] * 3
    assert position_bias(found.sides)[0] == 1
    call("judge", "report", folder)
    text = capsys.readouterr().out
    assert "flip rate 1.00 (18 of 18)" in text
    assert "100 % " in text


def test_both_orders_are_judged_and_a_consistent_judge_is_believed(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(), [])
    with judging(by_rank) as server:
        judge(folder, server)
        shown = [answers_in(text_of(body)) for body in server.bodies]
    assert len(shown) == len(set(shown)) == 2 * 3 * ITEMS
    assert {pair[::-1] for pair in shown} == set(shown)
    (found,) = model_judged(folder)
    assert found.flips == (0, 18)
    rates = {(one.first, one.second): one.rate for one in win_rates(found.comparisons)}
    assert rates == {("good", "poor"): 1.0, ("good", "fair"): 1.0, ("poor", "fair"): 0.0}
    assert not judged(folder).comparisons, "no vote of a person"


def test_one_that_fails_midway_resumes_without_asking_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(), [])
    with judging(lambda text, number: 503 if number >= 10 else by_rank(text, number)) as server:
        with pytest.raises(
            IncompleteRun, match=r"failed 20 times in a row \(the server answered 503.*requests the rest"
        ):
            judge(folder, server, "-o", "concurrency=1")
        answered = [answers_in(text_of(body)) for body in server.bodies[:10]]
    (found,) = model_judged(folder)
    assert found.states == {"ok": 10, "unreadable": 0, "error": 20, "missing": 6}
    with judging(by_rank) as server:
        judge(folder, server)
        again = [answers_in(text_of(body)) for body in server.bodies]
        assert len(again) == 36 - 10
        assert not set(again) & set(answered)
        judge(folder, server)
        assert server.count == 26, "nothing is missing"
    (found,) = model_judged(folder)
    assert found.states == {"ok": 36, "unreadable": 0, "error": 0, "missing": 0}


def test_what_was_answered_before_a_kill_is_not_requested_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(), [])
    reached, done = threading.Event(), threading.Event()

    def script(text: str, number: int) -> str:
        if number == 10:  # with one request in flight, ten answers are on disk by now
            reached.set()
            done.wait(240)
        return by_rank(text, number)

    with judging(script) as server:
        command = [sys.executable, "-m", "anymal_eval", "judge", str(folder), "--judge", f"openai:judge@{server.url}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "ANYMAL_EVAL_CACHE": str(tmp_path / "other cache")}
        process = subprocess.Popen([*command, "-o", "concurrency=1"], env=environment, stderr=subprocess.DEVNULL)
        try:
            assert reached.wait(240)
        finally:
            process.kill()
            process.wait()
            done.set()
        answered = {answers_in(text_of(body)) for body in server.bodies[:10]}
    with judging(by_rank) as server:
        judge(folder, server)
        again = [answers_in(text_of(body)) for body in server.bodies]
    assert len(again) == 36 - 10
    assert not set(again) & answered
    assert model_judged(folder)[0].states["ok"] == 36


def test_another_study_gets_the_same_answers_from_the_cache(tmp_path: Path) -> None:
    with judging(by_rank) as server:
        judge(make(tmp_path / "one", study_of(NAMES[:2]), []), server)
        assert server.count == 12
        judge(make(tmp_path / "two", study_of(), []), server)
        assert server.count == 36, "good against poor was judged before"
        judge(make(tmp_path / "three", study_of(NAMES[:2]), []), server, "--judge-protocol", "pairwise-text")
        assert server.count == 48, "other prompts are other content"
    (two,) = judges(tmp_path / "two")
    (three,) = judges(tmp_path / "three")
    assert two[0].signature != three[0].signature
    assert two[0].fingerprint == three[0].fingerprint


def test_the_studys_own_guideline_is_in_the_signature(tmp_path: Path) -> None:
    with judging(lambda text, _: "8 7" if "[Assistant 1]" in text else "Verdict: A") as server:
        for at, text in enumerate(("Count what is false.", "Count what is missing.")):
            folder = make(tmp_path / str(at), study_of(NAMES[:2], guideline=text), [])
            judge(folder, server)
            judge(folder, server, "--judge-protocol", "llava-bench")
            assert sum(text in text_of(body) for body in server.bodies) == 12
    first, second = ({judge.protocol.name: judge.signature for judge, _ in judges(tmp_path / str(at))} for at in (0, 1))
    assert first["pairwise"] != second["pairwise"]
    assert first["llava-bench"] == second["llava-bench"], "it holds no guideline"


def test_what_cannot_be_read_is_no_tie(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(NAMES[:2]), [])

    def script(text: str, number: int) -> str:
        return "I like both." if "sign 3" in text else "<think>A? No, B</think>Verdict: tie"

    with judging(script) as server:
        judge(folder, server)
    (found,) = model_judged(folder)
    assert found.states == {"ok": 10, "unreadable": 2, "error": 0, "missing": 0}
    assert found.flips == (0, 5)
    assert [one.item for one in found.comparisons] == [f"mmit_cap/{at}" for at in (0, 1, 2, 4, 5)]


def test_people_and_a_model_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(NAMES[:2])
    # Ana prefers the good answers as the judge does, Ben on four of six items.
    ben = [vote if at < 4 else type(vote)(**{**vars(vote), "choice": "tie"})
           for at, vote in enumerate(preferring(study, "ben", 0))]  # fmt: skip
    folder = make(tmp_path / "study", study, preferring(study, "ana", 0) + ben)
    before = judged(folder)
    with judging(by_rank) as server:
        judge(folder, server)
    people, (model,) = judged(folder), model_judged(folder)
    assert people == before
    found = agreement(model, people)
    assert found is not None
    assert (found.share, found.votes, found.items) == (10 / 12, 12, 6)
    assert found.low < found.share < found.high
    both = among_people(people)
    assert both is not None
    assert (both.share, both.votes) == (4 / 6, 6)
    call("judge", "report", folder)
    text = capsys.readouterr().out
    assert "83.3 [" in text
    assert "Two people gave the same judgement in 66.7 [" in text
    assert "judged by openai:judge (pairwise)" in text


def test_ratings_and_grades_and_options(tmp_path: Path) -> None:
    study = study_of(NAMES[:2], mode="rating")
    folder = make(tmp_path / "ratings", study, [])

    def rate(text: str, _: int) -> str:
        level = "yes" if "\ngood " in text else "no"
        return f"response accuracy: {level}\nobject recognition accuracy: some\nintegrity: yes"

    with judging(rate) as server:
        judge(folder, server)
    (found,) = model_judged(folder)
    values = {(one.system, one.scale): one.value for one in found.ratings}
    assert values["good", "response accuracy"] == 1
    assert values["poor", "response accuracy"] == 0
    assert values["poor", "object recognition accuracy"] == 0.5

    grades = iter([0.4, 0.6, 0.5, 0.7, 0.3] * 12)
    with judging(lambda text, _: f"{next(grades)}") as server:
        judge(folder, server, "--judge-protocol", "mm-vet", "-o", "concurrency=1")
        assert server.count == 60, "five runs of two answers to six items"
        assert server.bodies[0]["max_tokens"] == 3
        assert server.bodies[0]["messages"][-1]["content"].endswith("| 1.0\n\nwhat is on sign 0? | a cat | good 0 | ")
    graded = next(one for one in model_judged(folder) if one.judge.protocol.name == "mm-vet")
    assert [one.value for one in graded.ratings] == pytest.approx([0.5] * 12)
    assert graded.runs["good"] == pytest.approx([0.4, 0.6, 0.5, 0.7, 0.3])


def test_an_option_counts_where_all_rotations_agree(tmp_path: Path) -> None:
    choices = {"good": 1, "poor": 0}
    items = tuple(
        Item(task="t", id=str(at), prompt="?", question="which animal", media=(), options=("a dog", "a cat", "a cow"),
             label=1, answers=("it is a cat", "a dog or a cow"), choices=tuple(choices.values()))
        for at in range(2)
    )  # fmt: skip
    folder = make(tmp_path / "study", study_of(("good", "poor"), mode="rating", items=items), [])

    def script(text: str, _: int) -> str:
        listed = text.rpartition("Options: ")[2]
        assert re.search(r"[ABC]\. a (dog|cat|cow)", listed)
        return "B" if "Answer: it is a cat" in text else listed[0]  # always the first that is listed

    with judging(script) as server:
        judge(folder, server, "--judge-protocol", "mmbench")
        listed = {text_of(body).rpartition("Options: ")[2].partition("\n")[0] for body in server.bodies}
    assert listed == {"A. a dog B. a cat C. a cow", "B. a cat C. a cow A. a dog", "C. a cow A. a dog B. a cat"}
    (found,) = model_judged(folder)
    assert {(one.system, one.value) for one in found.ratings} == {("good", 1.0), ("poor", 0.0)}
    assert found.extraction == {"good": (2, 2), "poor": (0, 2)}


def test_scores_of_llava_bench_are_relative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "study", study_of(("new", "human"), reference="human"), [])
    with judging(lambda text, _: "8 6\nBoth ..." if "[Assistant 1]\nhuman" in text else "5, 9\nBoth ...") as server:
        judge(folder, server, "--judge-protocol", "llava-bench")
        assert server.bodies[0]["temperature"] == 0.2
        assert server.bodies[0]["messages"][0]["content"].startswith("You are a helpful and precise assistant")
    call("judge", "report", folder)
    text = capsys.readouterr().out
    assert re.search(r"new / human +\| +64.7 +\| +75.0", text), "(6 + 5) / (8 + 9), and 6 / 8 with human first"
    (found,) = model_judged(folder)
    assert found.flips == (0, 6)
    assert win_rates(found.comparisons)[0].rate == 0


def test_the_key_of_the_judge_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "sk-proj-0123456789abcdefghij"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    folder = make(tmp_path / "study", study_of(NAMES[:2]), [])
    with judging(lambda text, number: f"Verdict: A {key}" if number % 2 else 400) as server:
        with pytest.raises(IncompleteRun, match="12 answers failed") as failed:
            judge(folder, server, "-o", "concurrency=1")
        assert server.count == 12
    out = capsys.readouterr()
    (found,) = model_judged(folder)
    assert found.states["error"] == 12
    files = [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert any("you sent" in text for text in files)
    for text in (*files, out.out, out.err, str(failed.value)):
        assert key not in text
        assert key[8:20] not in text


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(NAMES[:2]), [])
    for given, said in (
        (("--limit", 3), "--limit is of a new study"),
        (("--judge", "constant:x"), "--judge takes openai:MODEL@URL"),
        (("--judge-protocol", "pairwise"), "are of --judge"),
        (
            ("--judge", "openai:j@http://127.0.0.1:9/v1", "--judge-protocol", "mm-vet"),
            "judges studies of --mode rating",
        ),
        (("--judge", "openai:j@http://127.0.0.1:9/v1"), "no server answers at http://127.0.0.1:9/v1"),
        (("--judge", "openai:j@http://127.0.0.1:9/v1", "--judge-protocol", "pairwis"), "did you mean pairwise"),
    ):
        with pytest.raises(WrongUse, match=re.escape(said)):
            call("judge", folder, *given)
    assert not (folder / "judges").exists()
    # A person's answer that is judged is no reference for the judge.
    items = tuple(replace(item, answers=("x", "a cat")) for item in study_of(NAMES[:2]).items)
    folder = make(tmp_path / "human", study_of(("new", "human"), reference="human", items=items), [])
    with pytest.raises(WrongUse, match="pairwise-text needs reference answers that are not judged themselves"):
        call("judge", folder, "--judge", "openai:j@http://127.0.0.1:9/v1", "--judge-protocol", "pairwise-text")


def test_a_protocol_of_the_users_own_is_one_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", study_of(NAMES[:2]), [])
    file = tmp_path / "short.toml"
    file.write_text(
        'name = "short"\nsummary = "s"\nsource = "ours"\nlicence = "MIT"\nverdict = "side"\n'
        'user = "{first} or {second}?"\n'
    )
    with judging(lambda *_: "Verdict: tie") as server:
        judge(folder, server, "--judge-protocol", file)
        assert json.dumps("good 0 or poor 0?") in json.dumps(server.bodies[0])
    file.write_text(file.read_text().replace("{first}", "{frist}"))
    with pytest.raises(WrongUse, match=re.escape("{frist} is nothing; there are context, first,")):
        judge(folder, JudgeServer("http://127.0.0.1:9/v1", by_rank), "--judge-protocol", file)
