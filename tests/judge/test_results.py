"""What votes mean: by hand on a small study, and the digits of the published tables on one of the published size."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval import published
from anymal_eval.checksums import write_checked_json, write_checked_line
from anymal_eval.cli.main import cli
from anymal_eval.codec import encode
from anymal_eval.errors import BadData, WrongUse
from anymal_eval.judge.design import Trial, trials
from anymal_eval.judge.outcomes import win_rates
from anymal_eval.judge.ratings import means
from anymal_eval.judge.results import judged
from anymal_eval.judge.study import FILE, Item, Study, System
from anymal_eval.judge.tables import tables
from anymal_eval.judge.votes import NAME, Vote, forget, read
from anymal_eval.report.rendering import render


def make(folder: Path, study: Study, votes: list[Vote]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(write_checked_json(encode(study)), encoding="utf-8")
    (folder / NAME).write_bytes(b"".join(write_checked_line(encode(vote)) for vote in votes))
    return folder


def study_of(names: list[str], items: int, **more: object) -> Study:
    answers = tuple("x" for _ in names)
    made = Study(
        name="s", mode="pairwise", systems=tuple(map(lambda name: System(name=name), names)), reference=None,
        items=tuple(Item(task="mmit_cap", id=str(at), prompt="?", media=(), answers=answers) for at in range(items)),
        annotators=("ana", "ben"), seed="cd" * 16, repeats=0,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def preferring(study: Study, annotator: str, better: int, shown: list[Trial] | None = None) -> list[Vote]:
    return [
        Vote(n=n, annotator=annotator, trial=one.id, seconds=4.0,
             choice="tie" if better not in one.shown else "left" if one.shown[0] == better else "right")
        for n, one in enumerate(shown or trials(study.design, annotator))
    ]  # fmt: skip


def test_a_vote_for_a_side_is_a_vote_for_a_system(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 10, repeats=0.2)
    folder = make(tmp_path, study, preferring(study, "ana", 1) + preferring(study, "ben", 1)[:5])
    found = judged(folder)
    (outcome,) = win_rates(found.comparisons)
    assert (outcome.first, outcome.second, outcome.wins, outcome.ties) == ("a", "b", 0, 0)
    assert outcome.losses == len(found.comparisons)
    assert [pair[1:] for pair in found.repeated] == [(0.0, 0.0)] * len(found.repeated)
    assert sum(name == "ana" for name, *_ in found.repeated) == 2
    text = "".join(render(table, "md") for table in tables(found))
    assert "b is better" in text
    assert "| 2 of 2" in text
    assert "4.0 s" in text


def test_a_skipped_trial_and_a_repeated_one_count_for_nothing(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 10, repeats=0.2, annotators=("ana",))
    votes = preferring(study, "ana", 0)
    skipped = [replace(vote, choice="skip") if at % 2 else vote for at, vote in enumerate(votes)]
    found = judged(make(tmp_path, study, skipped))
    counted = {vote.trial for vote in skipped if vote.choice != "skip"}
    real = {trial.id for trial in trials(study.design, "ana") if not trial.repeats}
    assert len(found.comparisons) == len(counted & real)


def test_three_systems_have_strengths_or_say_why_not(tmp_path: Path) -> None:
    study = study_of(["a", "b", "c"], 12)
    votes = preferring(study, "ana", 1) + preferring(study, "ben", 2)
    text = "".join(render(table, "md") for table in tables(judged(make(tmp_path / "one", study, votes))))
    assert re.search(r"\| (b|c) +\| \*\*\+[\d.]+\*\*", text), "ties with who is not preferred keep strengths finite"
    votes = preferring(study, "ana", 1) + preferring(study, "ben", 1)
    text = "".join(render(table, "md") for table in tables(judged(make(tmp_path / "two", study, votes))))
    assert "b never lost to any other: the strength would be infinite." in text
    text = "".join(render(table, "md") for table in tables(judged(make(tmp_path / "none", study, []))))
    assert "0 of 36" in text


def test_votes_on_nothing_are_refused(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 3)
    with pytest.raises(BadData, match="is no trial of the study"):
        judged(make(tmp_path / "a", study, [Vote(n=0, annotator="ana", trial="0" * 24, choice="left")]))
    with pytest.raises(BadData, match="a vote of eve, who is no annotator"):
        judged(make(tmp_path / "b", study, [Vote(n=0, annotator="eve", trial="0" * 24, choice="left")]))
    folder = make(tmp_path / "c", study, preferring(study, "ana", 0))
    file = folder / FILE
    file.write_bytes(file.read_bytes().replace(b'"name": "a"', b'"name": "z"'))
    with pytest.raises(BadData, match="its checksum differs: votes are on what it held"):
        judged(folder)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "media/../../secret.png", "media/link.png"])
def test_a_study_names_no_file_outside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "study"
    study = study_of(["a", "b"], 1)
    items = (replace(study.items[0], media=({"kind": "image", "file": name},)),)
    make(folder, replace(study, items=items), [])
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "media").mkdir()
    (folder / "media" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(BadData) as found:
        judged(folder)
    assert "\n" not in str(found.value)


def test_an_annotator_is_forgotten(tmp_path: Path) -> None:
    study = study_of(["a", "b"], 6)
    folder = make(tmp_path, study, preferring(study, "ana", 0) + preferring(study, "ben", 1))
    assert forget(folder, "ana") == 6
    assert {vote.annotator for vote in read(folder)} == {"ben"}
    assert b"ana" not in (folder / NAME).read_bytes()
    with pytest.raises(WrongUse, match="has no votes of 'ana'"):
        forget(folder, "ana")


def test_csv_has_each_vote_with_its_systems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(["=a", "b"], 2, annotators=("ana",))
    folder = make(tmp_path, study, preferring(study, "ana", 0))
    cli.main(["judge", "votes", str(folder)], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "item,annotator,first,second,scale,score,both bad,first on the left,seconds"
    assert sorted(line.split(",")[:6] for line in lines[1:]) == [
        [f"mmit_cap/{at}", "ana", "'=a", "b", "", "1"] for at in range(2)
    ]
    assert {line.split(",")[8] for line in lines[1:]} == {"4"}


def test_a_study_of_the_published_size_prints_the_published_digits(tmp_path: Path) -> None:
    paper = published.load("anymal-2023")
    rates = {row.model: row.values["mmit_human"] for row in paper.table("figure-3").rows}
    names = [*rates, "human"]
    study = study_of(names, 1000, reference="human", annotators=("one",))
    won: dict[int, int] = {}
    votes = []
    for n, one in enumerate(trials(study.design, "one")):
        (system,) = set(one.shown) - {len(names) - 1}
        # Exactly as many items as the published rate says.
        wins = won.get(system, 0) < round(10 * rates[names[system]])
        won[system] = won.get(system, 0) + 1
        is_left = one.shown[0] == system
        votes.append(Vote(n=n, annotator="one", trial=one.id, choice="left" if wins == is_left else "right"))
    found = win_rates(judged(make(tmp_path / "pairs", study, votes)).comparisons)
    assert {one.first: f"{100 * one.rate:.1f}" for one in found} == {
        name: f"{rate:.1f}" for name, rate in rates.items()
    }
    assert {one.second for one in found} == {"human"}
    assert all(0.01 < one.high - one.low < 0.07 for one in found)

    table = paper.table("3")
    values = {row.model: list(row.values.values()) for row in table.rows}
    study = study_of(list(values), 1000, mode="rating", annotators=("one",))
    scales = [scale.name for scale in study.scales]
    given: dict[int, int] = {}
    votes = []
    for n, one in enumerate(trials(study.design, "one")):
        at = given.get(one.shown[0], 0)
        given[one.shown[0]] = at + 1
        each = values[study.names[one.shown[0]]]
        ratings = {name: float(at < round(10 * value)) for name, value in zip(scales, each, strict=True)}
        votes.append(Vote(n=n, annotator="one", trial=one.id, choice="rated", ratings=ratings))
    found_means = means(judged(make(tmp_path / "rates", study, votes)).ratings)
    expected = {(name, scale): f"{value:.1f}" for name, row in values.items()
                for scale, value in zip(scales, row, strict=True)}  # fmt: skip
    assert {(one.system, one.scale): f"{100 * one.value:.1f}" for one in found_means} == expected
    assert [column.metric for column in table.columns] == scales
