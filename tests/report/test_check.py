"""Verdicts, refusals and exit codes of ``check`` on made-up runs; the statistics themselves have their own tests."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from anymal_eval.cli.check import check
from anymal_eval.errors import (
    AnyMALEvalError,
    BadData,
    BadDefinition,
    CannotTell,
    MissingData,
    NotInCatalog,
    OtherRun,
    ScoreRegression,
    WrongUse,
)

Scored = Callable[..., Path]
N = 400
RIGHT = np.ones((N, 1))


def right_but(wrong: int, n: int = N) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    stats = np.ones((n, 1))
    stats[:wrong] = 0.0
    return stats


def call(*arguments: object) -> Result:
    return CliRunner().invoke(check, [str(argument) for argument in arguments])


def code(done: Result) -> int:
    if done.exception is None:
        return done.exit_code
    assert isinstance(done.exception, AnyMALEvalError), done.exception
    return done.exception.exit_code


def test_a_fall_is_worse_and_a_rise_better(scored: Scored) -> None:
    good, bad = scored("good", {"scienceqa": right_but(10)}), scored("bad", {"scienceqa": right_but(60)})
    done = call(bad, "--against", good)
    assert isinstance(done.exception, ScoreRegression)
    assert code(done) == 3
    assert "exact McNemar" in done.output
    assert "50 changed (0 up, 50 down)" in done.output
    assert "'said 1.0' -> 'said 0.0'" in done.output
    done = call(good, "--against", bad)
    assert code(done) == 0, done.output
    assert "scienceqa: better" in done.output


def test_the_same_run_is_the_same(scored: Scored) -> None:
    one = scored("one", {"scienceqa": RIGHT, "coco": RIGHT * 1.3})
    done = call(one, "--against", one)
    assert code(done) == 0
    assert done.output.count("no score differs") >= 2


def test_a_file_named_by_a_dash_is_all_that_is_printed(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = scored("good", {"scienceqa": right_but(10)}), scored("bad", {"scienceqa": right_but(60)})
    printed, written = call(bad, "--against", good, "--json", "-"), call(bad, "--against", good, "--json", "file.json")
    assert code(printed) == code(written) == 3
    assert json.loads(printed.stdout) == json.loads((tmp_path / "file.json").read_text())
    assert "scienceqa: worse" in written.stdout
    noise = call(good, bad, "--noise", "--json", "-")
    assert json.loads(noise.stdout)
    markdown = call(bad, "--against", good, "--markdown", "-")
    assert markdown.stdout.startswith("#"), markdown.stdout
    both = call(bad, "--against", good, "--markdown", "-", "--json", "-")
    assert isinstance(both.exception, WrongUse)
    assert not (tmp_path / "-").exists()


def test_five_falls_of_five_changes_cannot_tell(scored: Scored) -> None:
    before, after = scored("b", {"scienceqa": right_but(10)}), scored("a", {"scienceqa": right_but(15)})
    done = call(after, "--against", before)
    assert isinstance(done.exception, CannotTell)
    assert code(done) == 4


def test_every_kind_of_metric_is_compared(scored: Scored) -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0.0, 1.0], N // 2)
    sure = np.column_stack([np.clip(truth * 0.6 + rng.random(N) * 0.4, 0, 1), truth])
    unsure = np.column_stack([rng.random(N), truth])
    tasks = ("star", "hateful_memes", "vqav2", "coco")
    before = dict(zip(tasks, (right_but(40), sure, right_but(40) * 0.9, rng.gamma(2, 0.5, (N, 1))), strict=True))
    after = dict(zip(tasks, (right_but(120), unsure, right_but(120) * 0.9, before["coco"] * 0.7), strict=True))
    groups = [{"type": "ab"[at % 2]} for at in range(N)]
    clusters = [f"c{at // 2}" for at in range(N)]
    folders = [scored(name, stats, groups=groups, clusters=clusters) for name, stats in (("b", before), ("a", after))]
    done = call(folders[1], "--against", folders[0], "--json", folders[0].parent / "c.json")
    assert code(done) == 3
    found = {row["task"]: row for row in json.loads((folders[0].parent / "c.json").read_text())["tasks"]}
    assert {row["verdict"] for row in found.values()} == {"worse"}
    assert found["star"]["method"] == found["hateful_memes"]["method"] == "paired bootstrap 10,000"
    assert "by cluster" in found["vqav2"]["method"]
    assert "by cluster" in found["coco"]["method"]
    assert found["coco"]["clusters"] == N // 2
    assert found["coco"]["gain"]["value"] == pytest.approx(-0.3)
    assert found["star"]["difference"] == pytest.approx(-0.2)
    assert all(row["p"] >= row["p_raw"] for row in found.values())
    assert len(found["vqav2"]["flips"]) == 80
    assert found["hateful_memes"]["flips"] == []  # no score an example, and the texts are the same


def test_the_headline_group_alone_is_compared(scored: Scored) -> None:
    groups = [{"image": "yes" if at < 100 else "no", "type": "a"} for at in range(N)]
    more = {"groups": groups, "headline_group": {"image": "yes"}}
    before = scored("b", {"scienceqa": RIGHT}, **more)
    after = RIGHT.copy()
    after[100:] = 0.0
    done = call(scored("a", {"scienceqa": after}, **more), "--against", before)
    assert code(done) == 0
    assert "100 examples in 100 clusters, 0 changed" in done.output


DIFFERENT: dict[str, tuple[dict[str, object], str]] = {
    "data": ({"examples": "others"}, "examples was 'same', is 'others'"),
    "prompts": ({"prompts": "others"}, "prompts was 'same', is 'others'"),
    "reading": ({"clean": "m4c-upload"}, "reading.clean was 'none', is 'm4c-upload'"),
    "rule": ({"rule": "vqa_accuracy@2016"}, "metric was 'vqa_accuracy@2021', is 'vqa_accuracy@2016'"),
    "document frequencies": ({"signature": "vqa_accuracy@2021 | idf 12"}, "signature was"),
    "errors": ({"states": ["error"] + ["ok"] * (N - 1)}, "1 of 400 answers of the run are errors"),
    "ids": ({"ids": [f"e{at + 2}" for at in range(N)]}, r"2 examples only in the base (e0, e1)"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_may_not_be_compared_is_refused_by_name(kind: str, scored: Scored) -> None:
    more, said = DIFFERENT[kind]
    junit = scored("b", {"vqav2": RIGHT}).parent / "j.xml"
    done = call(scored("a", {"vqav2": RIGHT}, **more), "--against", junit.parent / "b", "--junit", junit)
    assert isinstance(done.exception, OtherRun)
    assert said in str(done.exception)
    assert code(done) == 1
    assert "<error" in junit.read_text()


def test_unmatched_examples_are_counted_where_a_policy_allows_them(scored: Scored, tmp_path: Path) -> None:
    before = scored("b", {"vqav2": RIGHT})
    after = scored("a", {"vqav2": RIGHT[:396]}, subset="396/400", prompts="of fewer")
    done = call(after, "--against", before)
    assert isinstance(done.exception, OtherRun)
    assert "4 examples only in the base (e396, e397, e398, e399)" in str(done.exception)
    policy = tmp_path / "p.toml"
    policy.write_text("allowed_missing = 0.02\n")
    done = call(after, "--against", before, "--policy", policy)
    assert code(done) == 0
    assert "only in the base: 4 examples (e396, e397, e398, e399)" in done.output
    assert "396 examples in 396 clusters" in done.output


def test_tasks_that_one_run_lacks(scored: Scored, tmp_path: Path) -> None:
    before = scored("b", {"vqav2": RIGHT, "coco": RIGHT})
    done = call(scored("a", {"vqav2": RIGHT, "star": RIGHT}), "--against", before)
    assert code(done) == 4
    assert f"the run lacks what {before} has: coco" in str(done.exception)
    assert "coco: not compared: only" in done.output
    assert "star: not compared: only this run has it" in done.output
    policy = tmp_path / "p.toml"
    policy.write_text('[blocking]\ntasks = ["coco", "vqav2"]\n')
    assert code(call(tmp_path / "a", "--against", before, "--policy", policy)) == 4
    policy.write_text('[blocking]\ntasks = ["vqav2"]\n')
    assert code(call(tmp_path / "a", "--against", before, "--policy", policy)) == 4
    policy.write_text('[watched]\ntasks = ["coco"]\n')
    assert code(call(tmp_path / "a", "--against", before, "--policy", policy)) == 0
    policy.write_text('[blocking]\ntasks = ["okvqa"]\n')
    assert code(call(tmp_path / "a", "--against", before, "--policy", policy)) == 1
    done = call(scored("other", {"scienceqa": RIGHT}), "--against", before)
    assert isinstance(done.exception, OtherRun)
    assert "there is no task to compare" in str(done.exception)


def test_tiers_and_limits(scored: Scored, tmp_path: Path) -> None:
    before = scored("b", {"vqav2": right_but(10), "scienceqa": right_but(10)})
    after = scored("a", {"vqav2": right_but(40), "scienceqa": right_but(10)})
    policy, junit = tmp_path / "p.toml", tmp_path / "j.xml"

    def with_policy(text: str) -> Result:
        policy.write_text(text)
        return call(after, "--against", before, "--policy", policy, "--junit", junit)

    assert code(with_policy("alpha = 0.05")) == 3
    assert code(with_policy('[watched]\ntasks = ["vqav2"]')) == 0
    assert "worse, only watched" in junit.read_text()
    assert code(with_policy('[blocking]\ntasks = ["scienceqa"]')) == 0
    assert code(with_policy("[blocking]\nabsolute = 0.12")) == 0
    assert "same by policy" in junit.read_text()
    assert code(with_policy("[blocking]\nrelative = 0.01\n[limits.vqav2]\nabsolute = 0.12")) == 0
    assert code(with_policy("[blocking]\nabsolute = 0.12\nrelative = 0.01")) == 3
    assert code(with_policy("[blocking]\nabsolute = 0.08")) == 4


BAD_POLICIES = {
    "unknown key": ("alfa = 0.1", "alfa"),
    "unknown key in a tier": ("[blocking]\nabsolut = 0.1", "blocking.absolut"),
    "unknown key in a limit": ("[limits.coco]\nrel = 0.1", "limits.coco.rel"),
    "no TOML": ("alpha = ", "Invalid value"),
    "alpha": ("alpha = 2.0", "alpha must lie between 0 and 1"),
    "negative": ("[watched]\nabsolute = -1.0", "watched.absolute must be 0 or more"),
    "not a number": ("[limits.coco]\nrelative = nan", "limits.coco.relative must be 0 or more"),
    "twice": ('[blocking]\ntasks = ["a"]\n[watched]\ntasks = ["a"]', "cannot be blocking and watched"),
    "missing": ("allowed_missing = 1.0", "allowed_missing"),
    "newer": ("schema = 2", "newer"),
}


@pytest.mark.parametrize("kind", BAD_POLICIES)
def test_bad_policies_are_refused(kind: str, scored: Scored, tmp_path: Path) -> None:
    text, said = BAD_POLICIES[kind]
    (tmp_path / "p.toml").write_text(text)
    done = call(scored("a", {"vqav2": RIGHT}), "--against", tmp_path / "a", "--policy", tmp_path / "p.toml")
    assert isinstance(done.exception, BadDefinition)
    assert said in str(done.exception)
    assert "p.toml" in str(done.exception)


def change(file: Path, **new: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **new}))


def test_files_that_are_not_what_was_scored(scored: Scored, tmp_path: Path) -> None:
    base = scored("b", {"vqav2": RIGHT})

    def refused(name: str) -> AnyMALEvalError:
        done = call(tmp_path / name, "--against", base)
        assert isinstance(done.exception, AnyMALEvalError), done.output
        assert code(done) == 1
        assert "\n" not in str(done.exception)
        return done.exception

    edited = scored("edited", {"vqav2": right_but(50)}) / "results.json"
    edited.write_text(edited.read_text().replace("0.875", "0.975"))
    assert isinstance(refused("edited"), BadData)
    assert "results.json has changed since it was scored (its digest differs)" in str(refused("edited"))
    scores = scored("scores", {"vqav2": right_but(50)}) / "vqav2" / "scores.jsonl"
    scores.write_text(scores.read_text().replace("said 0.0", "said 1.0"))
    assert "scores.jsonl has changed since it was scored" in str(refused("scores"))
    change(scored("newer", {"vqav2": RIGHT}) / "results.json", schema=2)
    assert "schema 2 is newer" in str(refused("newer"))
    change(scored("newest", {"vqav2": RIGHT}) / "manifest.json", schema=2)
    assert "schema 2 is newer" in str(refused("newest"))
    scored("empty", {})
    assert "the run is empty" in str(refused("empty"))
    (scored("unscored", {"vqav2": RIGHT}) / "results.json").unlink()
    assert isinstance(refused("unscored"), MissingData)
    (scored("no_digests", {"vqav2": RIGHT}) / "digests.json").unlink()
    assert "scoring has not finished" in str(refused("no_digests"))
    (tmp_path / "nothing").mkdir()
    assert isinstance(refused("nothing"), OtherRun)
    assert isinstance(refused("not there"), OtherRun)


def test_wrong_use(scored: Scored, tmp_path: Path) -> None:
    one = scored("one", {"vqav2": RIGHT})
    assert isinstance(call(one, one, "--against", one).exception, WrongUse)
    assert isinstance(call(one, one, "--noise", "--against", one).exception, WrongUse)
    assert isinstance(call(one, "--noise").exception, WrongUse)
    done = call(one, "--against", "unheard-of", "--accepted", tmp_path / "accepted")
    assert isinstance(done.exception, NotInCatalog)
    assert "no accepted run named 'unheard-of'" in str(done.exception)


def test_noise_and_the_floor_that_a_policy_takes_from_it(scored: Scored, tmp_path: Path) -> None:
    runs = [scored(f"r{at}", {"vqav2": right_but(10 + 15 * at)}) for at in range(3)]
    noise = tmp_path / "noise.json"
    done = call("--noise", *runs, "--json", noise)
    assert code(done) == 0, done.exception
    (floor,) = json.loads(noise.read_text())["noise"]
    assert floor["values"] == [0.975, 0.9375, 0.9]
    assert floor["spread"] == pytest.approx(0.075)
    assert floor["scores"] == pytest.approx(30 / N)
    assert floor["answers"] == pytest.approx(30 / N)
    assert "7.50%" in done.output
    assert code(call(runs[1], "--against", runs[0])) == 3
    (tmp_path / "p.toml").write_text('noise = "noise.json"\n')
    assert code(call(runs[1], "--against", runs[0], "--policy", tmp_path / "p.toml")) == 0
    other = {"signature": "another"}
    done = call(
        scored("x", {"vqav2": RIGHT}, **other), "--against", scored("y", {"vqav2": RIGHT}, **other),
        "--policy", tmp_path / "p.toml",
    )  # fmt: skip
    assert "its noise was measured as" in str(done.exception)
    done = call("--noise", runs[0], scored("z", {"vqav2": RIGHT}, prompts="others"))
    assert "is not comparable with" in str(done.exception)
    noise.write_text('{"schema": 9}')
    assert "newer" in str(call(runs[1], "--against", runs[0], "--policy", tmp_path / "p.toml").exception)


def test_demo_runs_say_so(scored: Scored) -> None:
    one = scored("one", {"vqav2": RIGHT}, data="demo")
    assert "demo data" in call(one, "--against", one).output
