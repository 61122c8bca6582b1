"""The documentation is true: its commands run, what it names is there, and each task has its page."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from anymal_eval import catalog
from anymal_eval.cli.main import cli
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.task import Task
from tests.conftest import ROOT, SHIPPED

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TASK_PAGES = sorted(page for page in (DOCS / "tasks").glob("*.md") if page.stem != "README")
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"(?:python -m anymal_eval|anymal-eval) ([a-z]+)((?:[^`\n]|\\\n)*)")
# What the documentation shows and this machine cannot do; each block says why.
NOT_RUN = {
    "anymal-eval run --tasks all --model anymal:CHECKPOINT --protocol anymal-2023 --data-root DATA --with-blind",
    "anymal-eval data check vqav2 --data-root DATA",
    "anymal-eval export runs/after --format eval-results",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind it (``exit 4``, ``not-run: why``), its text."""

    language: str
    about: str
    text: str

    @property
    def commands(self) -> list[str]:
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    return [Block(each[1], each[2].strip(), each[3]) for each in FENCE.finditer(page.read_text(encoding="utf-8"))]


def call(command: str) -> int:
    program, *arguments = shlex.split(command)
    assert program == "anymal-eval"
    try:
        code = cli.main(arguments, standalone_mode=False)
    except AnyMALEvalError as error:
        print(f"error: {error}")
        return error.exit_code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.commands for block in blocks(page))], ids=lambda page: page.stem
)
def test_every_command_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.exit", lambda code=0: None)
    for block in blocks(page):
        if block.language == "toml":
            # The page says to save it under that name.
            (tmp_path / "policy.toml").write_text(block.text, encoding="utf-8")
        if block.about.startswith("not-run:"):
            assert set(block.commands) <= NOT_RUN
            continue
        expected = int(block.about.removeprefix("exit ") or 0)
        for command in block.commands:
            code = call(command)
            outputs = capsys.readouterr()
            assert code == expected, f"{command}\n{outputs.out[-500:]}\n{outputs.err[-500:]}"
            assert outputs.out, command


def test_what_is_not_run_is_known() -> None:
    found = {command for page in PAGES for block in blocks(page) if block.about.startswith("not-run:")
             for command in block.commands}  # fmt: skip
    assert found == NOT_RUN


def named(text: str) -> Iterator[tuple[str, list[str]]]:
    for found in NAMED.finditer(text):
        yield found[1], re.findall(r"(?<![\w-])--[a-z][a-z-]*", found[2])


def within(command: click.Command) -> list[click.Command]:
    """A command, and all that it groups."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [command, *(found for each in below for found in within(each))]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    known = cli.list_commands(click.Context(cli))
    for name, options in named(page.read_text(encoding="utf-8")):
        assert name in known, name
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        parts = within(command)
        there = {option for part in parts for parameter in part.params for option in parameter.opts} | {"--help"}
        assert set(options) <= there, (name, set(options) - there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_shipped_task_has_its_page() -> None:
    assert {page.stem for page in TASK_PAGES} >= SHIPPED


@pytest.mark.parametrize("name", [page.stem for page in TASK_PAGES])
def test_the_page_of_a_task_has_its_facts(name: str) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    text = (DOCS / "tasks" / f"{name}.md").read_text(encoding="utf-8")
    for metric in task.metrics:
        assert f"`{metric}" in text or "as for [" in text.lower(), metric
    assert f"`{task.headline}" in text
    for split in task.splits:
        assert f"`{split.name}`" in text
        assert not split.expected or f"{split.expected:,}" in text
    assert f"[{name}]({name}.md)" in (DOCS / "tasks" / "README.md").read_text(encoding="utf-8")
