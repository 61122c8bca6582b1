"""Accepted runs, found again by task and model; their tables, and when those are stale."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from anymal_eval.cli.accept import accept
from anymal_eval.cli.check import check
from anymal_eval.cli.table import table
from anymal_eval.errors import BadData, CannotTell, IncompleteRun, OtherRun
from anymal_eval.report.accepted import INDEX, stale, write_tables
from anymal_eval.store import digests
from anymal_eval.store.accepted import accepted_runs
from anymal_eval.store.folder import BLIND
from anymal_eval.store.stored import open_run
from tests.conftest import ROOT

Scored = Callable[..., Path]
RIGHT = np.ones((100, 1))


def call(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])  # type: ignore[arg-type]


def test_an_accepted_run_holds_the_same_in_less(scored: Scored, tmp_path: Path) -> None:
    run, results = scored("run", {"vqav2": RIGHT, "coco": RIGHT}), tmp_path / "results"
    (run / "vqav2" / "responses.jsonl").write_text("{}\n")
    done = call(accept, run, "--results", results)
    assert done.exit_code == 0, done.exception
    (kept,) = accepted_runs(results / "accepted")
    assert open_run(kept.root).scores("vqav2") == open_run(run).scores("vqav2")
    files = {str(file.relative_to(kept.root)) for file in kept.root.rglob("*") if file.is_file()}
    assert files == {
        "manifest.json", "results.json", "digests.json", "vqav2/scores.jsonl.gz", "vqav2/statistics.npz",
        "coco/scores.jsonl.gz", "coco/statistics.npz",
    }  # fmt: skip
    packed = kept.root / "vqav2" / "scores.jsonl.gz"
    before = packed.read_bytes()
    assert len(before) < (run / "vqav2" / "scores.jsonl").stat().st_size / 5
    assert call(accept, run, "--results", results).exit_code == 0
    assert packed.read_bytes() == before
    assert (results / "tables" / "accepted.md").is_file()


def test_check_finds_it_by_task_and_model(scored: Scored, tmp_path: Path) -> None:
    accepted = tmp_path / "results" / "accepted"
    assert (
        call(accept, scored("night", {"vqav2": RIGHT}, model="anymal:7b"), "--results", tmp_path / "results").exit_code
        == 0
    )
    assert call(accept, scored("o", {"vqav2": RIGHT}, model="blip2"), "--results", tmp_path / "results").exit_code == 0
    retrained = scored("retrained", {"vqav2": RIGHT * 0.5, "coco": RIGHT}, model="anymal:7b")
    for name in (["--against", "anymal:7b"], ["--against", "anymal"], ["--against", "blip2"], []):
        done = call(check, retrained, *name, "--accepted", accepted)
        assert "vqav2: worse" in done.output, done.exception
        assert "coco: not compared: only this run has it" in done.output
    limited = scored("demo", {"vqav2": RIGHT}, model="anymal:7b", data="demo")
    assert "no accepted run named" in str(call(check, limited, "--accepted", accepted).exception)


def test_check_counts_what_the_run_lacks_and_names_the_accepted_run(scored: Scored, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name, tasks in (("one", {"vqav2": RIGHT, "coco": RIGHT}), ("two", {"star": RIGHT})):
        assert call(accept, scored(name, tasks, model="anymal:7b"), "--results", results).exit_code == 0
    run = scored("new", {"vqav2": RIGHT, "star": RIGHT}, model="anymal:7b")
    for against in (["--against", "anymal"], []):
        done = call(check, run, *against, "--accepted", results / "accepted")
        assert isinstance(done.exception, CannotTell)
        assert "coco: not compared: only anymal" in done.output
        assert f"for vqav2, coco: {results / 'accepted'}" in done.stderr
    alone = scored("alone", {"vqav2": RIGHT, "coco": RIGHT}, model="anymal:7b")
    done = call(check, alone, "--accepted", results / "accepted")
    assert "the run lacks what anymal:7b has: star" in str(done.exception)


def test_check_asks_for_one_of_several_models(scored: Scored, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for model, task in (("anymal:7b", "vqav2"), ("anymal:13b", "coco")):
        assert call(accept, scored(model[-2:], {task: RIGHT}, model=model), "--results", results).exit_code == 0
    run = scored("new", {"vqav2": RIGHT, "coco": RIGHT}, model="anymal:70b")
    done = call(check, run, "--against", "anymal", "--accepted", results / "accepted")
    assert isinstance(done.exception, OtherRun)
    assert "(anymal:7b)" in str(done.exception)
    assert "(anymal:13b)" in str(done.exception)
    assert "name one of these folders" in str(done.exception)


def test_a_second_run_of_the_model_replaces_the_first_only_with_replace(scored: Scored, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, second = scored("first", {"vqav2": RIGHT}), scored("second", {"vqav2": RIGHT})
    assert call(accept, first, "--results", results).exit_code == 0
    done = call(accept, second, "--results", results)
    assert isinstance(done.exception, OtherRun)
    assert "give --replace" in str(done.exception)
    assert call(accept, second, "--replace", "--results", results).exit_code == 0
    assert [run.manifest.identity["fingerprint"] for run in accepted_runs(results / "accepted")] == ["second"]
    assert stale(results / "accepted", results / "tables") == []
    both = scored("both", {"vqav2": RIGHT, "coco": RIGHT})
    assert call(accept, both, "--replace", "--results", results).exit_code == 0
    assert isinstance(call(accept, first, "--replace", "--results", results).exception, OtherRun)


def test_runs_with_errors_or_without_answers_are_refused(scored: Scored, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = call(accept, scored("e", {"vqav2": RIGHT}, states=["error"] + ["ok"] * 99), "--results", results)
    assert isinstance(done.exception, IncompleteRun)
    assert "vqav2 has 1 errors among 100 answers" in str(done.exception)
    edited = scored("edited", {"vqav2": RIGHT}) / "results.json"
    edited.write_text(edited.read_text().replace('"value": 1.0', '"value": 0.9'))
    assert isinstance(call(accept, edited.parent, "--results", results).exception, BadData)
    assert not results.exists()


def test_tables_are_stale_after_any_change(scored: Scored, tmp_path: Path) -> None:
    accepted, tables = tmp_path / "results" / "accepted", tmp_path / "results" / "tables"
    assert stale(accepted, tables) == []
    call(accept, scored("run", {"vqav2": RIGHT}), "--results", tmp_path / "results")
    names = sorted(file.name for file in tables.iterdir())
    assert {f"accepted.{end}" for end in ("md", "csv", "tex", "html")} <= set(names)
    assert stale(accepted, tables) == []
    (tables / "accepted.md").write_text("other")
    (tables / "accepted.csv").unlink()
    (tables / "more.md").write_text("x")
    index = tables / INDEX
    index.write_text(json.dumps({"tables": [*json.loads(index.read_text())["tables"], "more.md"]}))
    (tables / "of_the_user.md").write_text("x")
    assert stale(accepted, tables) == [
        "accepted.csv is missing",
        "accepted.md is stale",
        "more.md belongs to no accepted run",
    ]
    write_tables(accepted, tables)
    assert sorted(file.name for file in tables.iterdir()) == sorted([*names, "of_the_user.md"])


def test_the_tables_of_this_repository_are_current() -> None:
    results = ROOT / "results"
    wrong = stale(results / "accepted", results / "tables")
    assert not wrong, f"{wrong}; python -m anymal_eval table --accepted writes them anew"
    for run in accepted_runs(results / "accepted"):
        open_run(run.root)


def test_a_gain_over_another_run_is_paired(scored: Scored) -> None:
    scores = np.random.default_rng(0).gamma(2, 0.5, (400, 1))
    before = scored("b", {"coco": scores}, model="old")
    after = scored("a", {"coco": scores * 1.1 + np.random.default_rng(1).normal(0, 0.01, (400, 1))}, model="new")
    done = call(table, before, after, "--against", "old")
    assert done.exit_code == 0, done.exception
    assert "+10.0 % [+9.9, +10.1]" in done.output or "+9.9 % [" in done.output or "+10.1 % [" in done.output
    assert "paired by example" in done.output


def test_a_gain_over_another_run_without_its_scores_uses_both_intervals(run_folder: Callable[..., Path]) -> None:
    def results(value: float, model: str) -> dict[str, object]:
        row = {
            "task": "coco", "split": "test", "data": "official", "protocol": "plain", "metric": "cider", "version": "1",
            "output": "cider", "signature": "s", "value": value, "unit": "cider", "better": "higher",
            "ci_low": value - 0.1, "ci_high": value + 0.1, "ci_method": "t", "n": 5000, "n_expected": 5000,
            "states": {"ok": 5000}, "group": None, "headline": True,
        }  # fmt: skip
        return {"schema": 1, "run": {"name": model, "model": model}, "measurements": [row]}

    folders = [run_folder(results(1.0, "old"), "old"), run_folder(results(1.2, "new"), "new")]
    done = call(table, *folders, "--against", "old")
    assert done.exit_code == 0, done.exception
    assert "+20.0 % [+5." in done.output


def test_the_run_without_media_stands_below_its_own(scored: Scored) -> None:
    run = scored("run", {"vqav2": RIGHT}, model="anymal:7b")
    blind = scored("blind_one", {"vqav2": RIGHT * 0.5}, model="anymal:7b")
    file = blind / "results.json"
    data = json.loads(file.read_text())
    data["run"]["ablate"] = "no-media"
    file.write_text(json.dumps(data))
    digests.write(blind, ["vqav2"])
    blind.rename(run / BLIND)
    chance = scored("chance", {"vqav2": RIGHT * 0.1}, model="constant")
    done = call(table, run, chance)
    assert done.exit_code == 0, done.exception
    rows = [line.split("|")[1].strip() for line in done.output.splitlines() if line.startswith("|")]
    assert rows[2:] == ["anymal:7b", "anymal:7b (no-media)", "constant (chance)"]
    assert "**" not in done.output.replace("**Measured**", ""), "neither a blind row nor chance competes"


def test_an_edited_result_is_noticed_by_the_table(scored: Scored) -> None:
    file = scored("run", {"vqav2": RIGHT}) / "results.json"
    data = json.loads(file.read_text())
    data["measurements"][0]["value"] = 0.99
    file.write_text(json.dumps(data))
    assert isinstance(call(table, file.parent).exception, BadData)


@pytest.mark.parametrize("wrong", [["--like", "anymal-2023/4"], ["--gains", "anymal-2023"]])
def test_accepted_tables_take_nothing_else(wrong: list[str]) -> None:
    assert "leave out everything else" in str(call(table, "--accepted", *wrong).exception)
