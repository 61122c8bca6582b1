"""What a contributor meets first is true: versions, hooks, workflow, forms, links, and the site's navigation."""

import datetime
import json
import os
import pydoc
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anymal_eval import __version__
from tests.conftest import ROOT, SHIPPED

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    found = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "type"} <= found.keys()
    assert (found["cff-version"], found["type"], found["license"]) == ("1.2.0", "software", "MIT")
    assert found["version"] == __version__
    (paper,) = found["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert [each["value"] for each in paper["identifiers"]] == ["arXiv:2309.16058"]
    assert len(paper["authors"]) == 13


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\] - (\S+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0][0] == __version__
    assert [version for version, _ in versions] == sorted((version for version, _ in versions), reverse=True)
    assert len(versions) == text("CHANGELOG.md").count("\n## ")
    for place, (_, date) in enumerate(versions):
        assert (place == 0 and date == "Unreleased") or datetime.date.fromisoformat(date)
    assert set(re.findall(r"^### (.+)$", text("CHANGELOG.md"), re.MULTILINE)) <= set(KINDS)


def test_a_released_version_has_one_date() -> None:
    top = re.search(r"^## \[[^\]]+\] - (\S+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert top is not None
    assert str(read("CITATION.cff").get("date-released", "Unreleased")) == top[1]


def steps(workflow: Any) -> Iterator[Any]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_the_workflow_calls_the_script_that_exists() -> None:
    workflow = read(".github/workflows/ci.yml")
    calls = [step["run"] for step in steps(workflow) if "run" in step]
    assert calls == [".ci/run --without-shared"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in pythons), "3.10 unquoted is 3.1"
    assert f'requires-python = ">={pythons[0]}"' in text("pyproject.toml")
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "run", "--without"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert "usage: .ci/run [--without-shared]" in done.stderr


REPORT = """<testsuites><testsuite><testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><skipped message="{reason}"/></testcase></testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("reason", "lists", "code"),
    [
        ("inspect_ai is not installed: its log was not read back", ["allowed_skips.txt"], 0),
        ("the golden data are not here: golden", ["allowed_skips.txt"], 1),
        ("the golden data are not here: golden", ["allowed_skips.txt", "allowed_skips_without_shared.txt"], 0),
        ("Chromium is not here", ["allowed_skips.txt", "allowed_skips_without_shared.txt"], 1),
    ],
)
def test_a_skip_is_allowed_where_its_list_is_named(tmp_path: Path, reason: str, lists: list[str], code: int) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(reason=reason))
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "skips.py", report, *(ROOT / ".ci" / name for name in lists)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert f"tests.a::two: {reason}" in done.stdout


@pytest.mark.parametrize("name", ["allowed_skips.txt", "allowed_skips_without_shared.txt"])
def test_every_allowed_reason_is_one_that_a_test_gives(name: str) -> None:
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("anymal_eval/**/*.py")]
    sources = [file.read_text(encoding="utf-8") for file in files if file.name != Path(__file__).name]
    for reason in (ROOT / ".ci" / name).read_text().splitlines():
        if reason and reason[0] != "#":
            assert any(reason in source for source in sources), reason


def hooks() -> dict[str, Any]:
    repos = read(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"], "hooks of other repositories need the network"
    return {hook["id"]: hook for hook in repos[0]["hooks"]}


def test_hooks_are_local_and_call_the_projects_own_programs() -> None:
    found = hooks()
    assert {hook["language"] for hook in found.values()} == {"system", "pygrep"}
    assert found["ruff"]["entry"].startswith(".venv/bin/ruff check")
    assert found["mypy"]["entry"] == ".venv/bin/python -m mypy"
    pytest.importorskip("pre_commit")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("hook", "wrong", "right"),
    [
        ("trailing-whitespace", "a \nb\n", "a\n\nb\n"),
        ("end-of-file", "a\nb", "a\nb\n"),
        ("end-of-file", "a\n\n", "a\n"),
        ("conflict-markers", "a\n<<<<<<< HEAD\n", "a\n=======\n"),
        ("tabs", "\ta\n", "    a\n"),
    ],
)
def test_whitespace_hooks_find_what_they_are_for(hook: str, wrong: str, right: str, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    command = ["git", "-C", str(tmp_path)]
    subprocess.run([*command, "init", "-q"], check=True)
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    for content, code in ((wrong, 1), (right, 0)):
        (tmp_path / "file.txt").write_text(content)
        subprocess.run([*command, "add", "-A"], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", hook, "--files", "file.txt"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ | {"PRE_COMMIT_HOME": str(tmp_path / ".git" / "cache")},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_issue_forms_are_forms(form: Path) -> None:
    found = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert found == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "labels", "body"} == found.keys()
    fields = [part for part in found["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = LINK.findall(text(page))
    assert links
    for target in links:
        assert (ROOT / target).exists(), target
    if page == "README.md":
        assert "CONTRIBUTING.md" in links


def test_the_readme_prints_what_the_accepted_demo_model_scored() -> None:
    (found,) = (ROOT / "results" / "accepted").glob("demo-anymal-*/results.json")
    rows = json.loads(found.read_text())["measurements"]
    scores = {row["task"]: row for row in rows if row["headline"]}
    printed = re.findall(r"^    (\w+) +[A-Za-z ]+? +([\d.]+) \[([\d.]+), ([\d.]+)\]", text("README.md"), re.MULTILINE)
    assert len(printed) == 3
    for task, *numbers in printed:
        row = scores[task]
        assert [float(each) for each in numbers] == [round(100 * row[key], 2) for key in ("value", "ci_low", "ci_high")]


def test_the_readme_fits_a_screen_and_has_every_task() -> None:
    assert max(map(len, text("README.md").splitlines())) <= 110
    assert set(re.findall(r"^\| \[(\w+)\]\(docs/tasks/", text("README.md"), re.MULTILINE)) == SHIPPED


def test_contributing_names_what_exists() -> None:
    path = re.compile(r"`((?:anymal_eval|tests|tasks|docs|\.ci)/[^`\s*]+|[A-Z]+\.(?:md|cff))`")
    named = set(path.findall(text("CONTRIBUTING.md")))
    assert len(named) > 10
    for name in named:
        folder = Path(name.partition("NAME")[0])
        assert (ROOT / folder).exists(), name
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", text("CONTRIBUTING.md"))) <= targets
    for kind in ("task", "model", "metric", "encoder", "protocol"):
        assert re.search(rf"^\| {kind} \|.*\(docs/adding-an?-{kind}\.md\)", text("CONTRIBUTING.md"), re.MULTILINE), kind


def pages(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    else:
        for part in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from pages(part)


def test_every_page_is_in_the_navigation_once() -> None:
    named = sorted(pages(read("mkdocs.yml")["nav"]))
    assert named == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def test_the_site_asks_no_other_host() -> None:
    site = read("mkdocs.yml")
    assert site["theme"]["font"] is False
    assert site["strict"] is True
    assert not {"extra_javascript", "extra_css", "repo_url"} & site.keys()
    # With --quiet, MkDocs does not count the warnings that --strict is for.
    assert re.search(r"^\tNO_MKDOCS_2_WARNING=1 .* mkdocs build --strict$", text("Makefile"), re.MULTILINE)
    for hook in site["hooks"]:
        assert (ROOT / hook).is_file()


def test_api_pages_name_modules_that_can_be_imported() -> None:
    modules = [name for page in (ROOT / "docs" / "api").glob("*.md")
               for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)]  # fmt: skip
    assert len(modules) >= 5
    for name in modules:
        assert pydoc.locate(name) is not None, name
