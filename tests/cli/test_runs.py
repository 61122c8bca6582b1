"""Runs as things: their names and folders, what is recorded of each, the list, and the comparison of several."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anymal_eval.cli.compare import compare
from anymal_eval.cli.runs import runs
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.run import run
from anymal_eval.evaluation.write import FinishedRun
from anymal_eval.store import sessions


def evaluated(**options: Any) -> FinishedRun:
    tasks = options.pop("tasks", "hateful_memes")
    fixed = {"model": "constant", "options": {"says": "no"}, "data": "demo", "demo_examples": 12}
    return run(make_plan(tasks, **{**fixed, **options}), SilentConsole())


def call(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the command is given; runs are in results/runs below it."""
    before, own = Path.cwd(), tmp_path_factory.mktemp("work")
    os.chdir(own)
    yield own
    os.chdir(before)


@pytest.fixture(scope="module")
def three(folder: Path) -> tuple[Path, ...]:
    """Two runs over the same examples, and one over others."""
    one = evaluated(name="first", command="anymal-eval run --name first").root
    other = evaluated(name="second", options={"says": "yes"}).root
    return one, other, evaluated(demo_examples=16).root


def test_a_name_is_the_runs_and_the_folders(three: tuple[Path, ...]) -> None:
    assert three[0] == Path("results/runs/first")
    before = (three[0] / "results.json").read_bytes()
    assert json.loads(before)["run"]["name"] == "first"
    manifest = json.loads((three[0] / "manifest.json").read_bytes())
    assert manifest["run"] == "first"
    assert "first" not in json.dumps(manifest["identity"])
    assert evaluated(out=three[0]).manifest.run == "first"  # a command without a name keeps it
    assert (three[0] / "results.json").read_bytes() == before
    with pytest.raises(WrongUse, match="--name"):
        evaluated(name="../x")
    with pytest.raises(OtherRun, match="differs in fingerprint"):
        evaluated(name="first", options={"says": "maybe"})


def test_what_is_recorded_beside_the_results(three: tuple[Path, ...]) -> None:
    first, *_ = sessions.read(three[0] / "timings.json")
    assert first["command"] == "anymal-eval run --name first"
    assert first["started"].endswith("+00:00")
    assert first["host"]
    assert first["wall"] > 0
    assert "command" not in sessions.read(three[2] / "timings.json")[0]


def test_no_secret_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "aB3dE5fG7hJ9kL1m"  # noqa: S105  # made up
    monkeypatch.setenv("MY_SERVER_TOKEN", secret)
    for given in (
        ["--api-key", secret], [f"--api-key={secret}"], ["-o", f"api_key={secret}"], ["-o", f"hf_token={secret}"],
        ["--model", f"openai:https://user:{secret}@host/v1"], [f"https://host/v1?key={secret}&x=1"],
        [f"url=https://host/v1#{secret}"], [f"https://host/bot{secret}xyz12/v1"], ["-o", f"header=Bearer {secret}"],
        [f"hf_{secret}x"], [f"sk-{secret}"], ["--note", f"with {secret} in it"],
    ):  # fmt: skip
        assert secret not in sessions.command_line(["run", *given]), given
    plain = [
        "run",
        "--max-new-tokens",
        "5",
        "-o",
        "says=no",
        "--hub-revision",
        "0123456789abcdef0123456789abcdef01234567",
    ]
    assert sessions.command_line(plain) == f"anymal-eval {' '.join(plain)}"
    assert sessions.command_line(["run", "--system", "be brief"]) == "anymal-eval run --system 'be brief'"


def test_another_run_has_another_default_folder(folder: Path) -> None:
    base = evaluated(demo_examples=200).root
    others: list[dict[str, Any]] = [
        {}, {"demo_examples": 14}, {"limit": 5}, {"ablate": "no-media"}, {"max_new_tokens": 3},
    ]  # fmt: skip
    roots = {base, *(evaluated(**more).root for more in others)}
    assert len(roots) == 6
    assert evaluated(demo_examples=14).root in roots
    assert evaluated(tasks="vqav2").root in roots  # a further task of the same run
    assert {path.name for path in Path("results/runs").iterdir()} >= {root.name for root in roots}


def test_the_folder_of_an_earlier_version_is_found(folder: Path) -> None:
    new = evaluated(demo_examples=18)
    identity = new.manifest.identity
    earlier = evaluated(demo_examples=200).root  # its name has been the same for every size
    shutil.rmtree(earlier)
    shutil.move(new.root, earlier)
    for name in ("manifest.json", "results.json"):  # as that version named the run
        text = (earlier / name).read_text().replace(new.root.name, earlier.name)
        (earlier / name).write_text(text)
    before = (earlier / "hateful_memes" / "responses.jsonl").read_bytes()
    again = evaluated(demo_examples=18)
    assert (again.root, again.manifest.identity) == (earlier, identity)
    assert (earlier / "hateful_memes" / "responses.jsonl").read_bytes() == before
    other = evaluated(demo_examples=200)
    assert other.root.name.startswith(f"{earlier.name}-")
    assert evaluated(demo_examples=200).root == other.root


def test_the_list(three: tuple[Path, ...]) -> None:
    (broken := Path("results/runs/broken")).mkdir(exist_ok=True)
    (broken / "manifest.json").write_text("{")
    done = call(runs, "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    by_name = {row["name"]: row for row in found["runs"]}
    assert by_name["first"]["command"] == "anymal-eval run --name first"
    assert by_name["first"]["scores"]["hateful_memes"]["value"] == 0.5
    assert by_name["first"]["seconds"] > 0
    assert [row["folder"] for row in found["broken"]] == [str(broken)]
    done = call(runs, "--name", "*s*t", "--task", "memes", "--sort", "name", "--reverse")
    assert done.exit_code == 0, done.exception
    assert [row.split("|")[1].strip() for row in done.stdout.splitlines() if row.startswith("| ")] == ["run", "first"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("results/runs/broken: manifest.json")
    assert "no run of" in call(runs, "--model", "gpt").stderr
    assert "write date, name, model, time or a task" in str(call(runs, "--sort", "size").exception)
    shutil.rmtree(broken)


def test_a_comparison_of_several(three: tuple[Path, ...]) -> None:
    done = call(compare, *three, "--json")
    assert done.exit_code == 0, done.exception
    (task,) = json.loads(done.stdout)["tasks"]
    assert [cell["verdict"] for cell in task["cells"]] == [None, "same", "not comparable"]
    assert "examples were 12, are 16" in task["cells"][2]["why"]
    assert task["cells"][1]["ci_low"] < task["cells"][1]["value"] < task["cells"][1]["ci_high"]
    done = call(compare, *three[:2], "--against", three[1])
    assert "| second (base) " in done.stdout
    assert call(compare, three[0]).exit_code == 2
