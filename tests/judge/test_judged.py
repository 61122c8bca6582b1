"""Judged results beside the metrics: in tables, as records, and as a metric of ``check``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import paths
from anymal_eval.cli._progress import progress
from anymal_eval.cli.main import cli
from anymal_eval.errors import CannotTell, NotInCatalog, OtherRun, ScoreRegression
from anymal_eval.judge import study as studies
from anymal_eval.judge.creation import Options, create
from anymal_eval.judge.design import trials
from anymal_eval.judge.judged_check import paired_values
from anymal_eval.judge.judged_results import Judgements, judged_results, studies_in
from anymal_eval.judge.outcomes import Comparison
from anymal_eval.judge.ratings import Rating
from anymal_eval.judge.votes import Vote, Votes
from anymal_eval.store.results import read_results
from tests.judge.scripted_judge import judging
from tests.judge.test_model_judge import answers_in

ITEMS = 16
TEXTS = {"first": "a tall answer", "second": "a small answer", "third": "no answer"}


def call(*given: object) -> Any:
    return cli.main([str(each) for each in given], standalone_mode=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three runs, and a study of two of them that a model judged with the media: ``first`` wins 15 of 16."""
    place = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYMAL_EVAL_CACHE", str(place / "cache"))
        for name, says in TEXTS.items():
            call("run", "--tasks", "mmit_cap", "--data", "demo", "--demo-examples", ITEMS, "--model", "constant",
                 "-o", f"says={says}", "--protocol", "plain", "--out", place / name)  # fmt: skip

        def script(text: str, number: int) -> str:
            is_first = answers_in(text)[0] == TEXTS["first"]
            return f"Verdict: {'A' if is_first == (number >= 2) else 'B'}"  # both orders of one item come first

        with judging(script) as server:
            call("judge", place / "first", place / "second", "--judge", f"openai:judge@{server.url}",
                 "--out", place / "results" / "studies" / "one", "-o", "concurrency=1")  # fmt: skip
            assert server.count == 2 * ITEMS
            sent = server.bodies[0]["messages"][-1]["content"]
            assert sent[0]["type"] == "image_url", "the judge sees what it is about"
            assert sent[0]["image_url"]["url"].startswith("data:image/")
        yield place


def study_at(place: Path) -> Path:
    return place / "results" / "studies" / "one"


def test_records_say_what_a_study_holds_of_a_run(place: Path) -> None:
    first, second, third = (read_results(place / name) for name in TEXTS)
    (one,) = judged_results(first, [study_at(place)])
    (other,) = judged_results(second, [study_at(place)])
    assert judged_results(third, [study_at(place)]) == []
    assert (one.by, one.what, one.judgements, one.items) == ("openai:judge (pairwise)", "win rate", ITEMS, ITEMS)
    assert one.against == other.system
    assert other.against == one.system
    assert one.value + other.value == pytest.approx(1)
    assert one.low < one.value < one.high
    assert one.tasks == ("mmit_cap",)
    assert one.signature.startswith("judge openai:")
    assert "|pairwise|prompts " in one.signature
    assert one.is_demo
    assert (one.agreement, one.flip_rate) == (None, 0.0)


def test_tables_show_judged_results_beside_the_metrics(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "studies", lambda: place / "results" / "studies")
    assert studies_in(paths.studies()) == [study_at(place)]
    call("table", place / "first", place / "second")
    text = capsys.readouterr().out
    assert "Judged, demo data" in text
    assert text.count("| openai:judge (pairwise)") == 2
    assert "one, openai:judge (pairwise): flip rate 0.00." in text
    call("compare", place / "first", place / "second")
    assert capsys.readouterr().out.count("| openai:judge (pairwise)") == 2
    call("report", place / "first", "--against", place / "second", "--out", place / "page", "--media", "none")
    page = (place / "page" / "index.html").read_text(encoding="utf-8")
    assert page.count("<td>openai:judge (pairwise)</td>") == 2
    assert "flip rate 0.00" in page
    capsys.readouterr()
    call("table", place / "third")
    assert "Judged" not in capsys.readouterr().out
    call("table", place / "first", "--format", "csv")
    assert "Judged" not in capsys.readouterr().out, "one table for programs"
    call("run", "--tasks", "mmit_cap", "--data", "demo", "--demo-examples", ITEMS, "--model", "constant",
         "-o", f"says={TEXTS['first']}", "--protocol", "plain", "--out", place / "first")  # fmt: skip
    assert "Judged, demo data" in capsys.readouterr().out
    # One that was changed is a line, and hides no other.
    damaged = place / "results" / "studies" / "two"
    damaged.mkdir()
    content = (study_at(place) / studies.FILE).read_bytes()
    (damaged / studies.FILE).write_bytes(content.replace(b'"name": "one"', b'"name": "two"'))
    try:
        call("table", place / "first")
        out = capsys.readouterr()
        assert "Judged, demo data" in out.out
        assert "not shown" in out.err
    finally:
        (damaged / studies.FILE).unlink()
        damaged.rmdir()


def test_check_takes_a_study_as_a_metric(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "check.json"
    given = ("--judged", study_at(place), "--policy", policy(tmp_path, "mmit_cap"), "--json", found)
    call("check", place / "first", "--against", place / "second", *given)
    text = capsys.readouterr().out
    assert "one: win rate by openai:judge (pairwise): better" in text
    (judged,) = [row for row in json.loads(found.read_text())["tasks"] if row["task"].startswith("one:")]
    assert (judged["before"], judged["after"], judged["n"]) == (1 / ITEMS, 15 / ITEMS, ITEMS)
    # A sign test: 15 of 16, two-sided.
    assert judged["p_raw"] == pytest.approx(2 * 17 / 2**16)
    assert judged["signature"].startswith("judge openai:")
    with pytest.raises(ScoreRegression, match="one: win rate by openai:judge"):
        call("check", place / "second", "--against", place / "first", *given)
    with pytest.raises(OtherRun, match=r"holds no answers of .*third"):
        call("check", place / "third", "--against", place / "first", *given)


def test_people_and_a_model_are_checked_apart(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = studies.read(study_at(place))
    with Votes(study_at(place)) as votes:
        for n, trial in enumerate(one for one in trials(study.design, "one") if not one.repeats):
            choice = "left" if study.names[trial.shown[0]] == study.names[1] else "right"
            votes.append(Vote(n=n, annotator="one", trial=trial.id, choice=choice))  # type: ignore[arg-type]
    try:
        given = ("--judged", study_at(place), "--policy", policy(tmp_path, "mmit_cap", "one: win rate by people"))
        call("check", place / "first", "--against", place / "second", *given)
        text = capsys.readouterr().out
        assert "one: win rate by people: worse" in text
        assert "one: win rate by openai:judge (pairwise): better" in text
        (people, model) = judged_results(read_results(place / "first"), [study_at(place)])
        assert (people.by, people.value) == ("people", 0.0)
        assert model.agreement is not None
        assert (model.agreement.share, model.agreement.votes) == (1 / ITEMS, ITEMS)
        assert model.agreement.low < model.agreement.share < model.agreement.high
    finally:
        (study_at(place) / "votes.jsonl").unlink()


def test_a_study_without_judgements_cannot_tell(place: Path, tmp_path: Path) -> None:
    content = (study_at(place) / studies.FILE).read_bytes()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / studies.FILE).write_bytes(content)
    given = ("--judged", tmp_path / "new", "--policy", policy(tmp_path, "mmit_cap"))
    with pytest.raises(CannotTell, match="too little to tell"):
        call("check", place / "first", "--against", place / "second", *given)


def test_a_reference_is_named_as_the_run_is(place: Path, tmp_path: Path) -> None:
    runs = [place / name for name in TEXTS]
    names = [read_results(run).run.name for run in runs]
    for at, given in enumerate((str(runs[2]), names[2], "human")):
        options = Options(runs=runs, reference=given, limit=2)
        made = create(tmp_path / str(at), options, progress)
        assert made.reference == ("human" if given == "human" else made.names[2])
        assert {pair[1] for pair in made.design.pairs} == {made.names.index(made.reference)}
    with pytest.raises(NotInCatalog, match="there is no such run: give human, "):
        create(tmp_path / "no", Options(runs=runs, reference="fourth"), progress)
    assert not (tmp_path / "no").exists()


def policy(folder: Path, *watched: str) -> Path:
    """A policy under which the metric of the captions decides nothing."""
    file = folder / "policy.toml"
    file.write_text(f"[watched]\ntasks = {json.dumps(list(watched))}\n")
    return file


def compared(item: str, first: str, second: str, score: float, annotator: str = "ana") -> Comparison:
    return Comparison(item=item, annotator=annotator, first=first, second=second, score=score)


def test_two_runs_are_paired_over_what_both_were_compared_with() -> None:
    votes = [
        compared("1", "old", "human", 0.0), compared("1", "new", "human", 1.0),
        compared("2", "human", "old", 1.0), compared("2", "human", "new", 0.5),
        compared("2", "human", "new", 0.0, "ben"),
        compared("3", "new", "human", 1.0),
    ]  # fmt: skip
    given = Judgements(by="people", signature="", comparisons=votes, ratings=[])
    assert paired_values(given, "old", "new") == {
        "win rate over human": ({"1": 0.0, "2": 0.0}, {"1": 1.0, "2": 0.75, "3": 1.0})
    }
    direct = [*votes, compared("1", "old", "new", 0.5), compared("2", "new", "old", 1.0)]
    given = Judgements(by="people", signature="", comparisons=direct, ratings=[])
    assert paired_values(given, "old", "new") == {"win rate": ({"1": 0.5, "2": 0.0}, {"1": 0.5, "2": 1.0})}


def test_ratings_are_paired_by_scale() -> None:
    ratings = [
        Rating(item=item, annotator=who, system=system, scale=scale, value=value)
        for item, who, system, scale, value in (
            ("1", "ana", "old", "integrity", 1.0), ("1", "ben", "old", "integrity", 0.0),
            ("1", "ana", "new", "integrity", 1.0), ("2", "ana", "new", "accuracy", 0.5),
            ("2", "ana", "third", "accuracy", 0.5),
        )
    ]  # fmt: skip
    given = Judgements(by="people", signature="", comparisons=[], ratings=ratings)
    assert paired_values(given, "old", "new") == {"integrity": ({"1": 0.5}, {"1": 1.0}), "accuracy": ({}, {"2": 0.5})}
