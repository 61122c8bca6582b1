"""``data check --all``: every faulty row and every missing file, in one go."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from anymal_eval.cli.data import data
from anymal_eval.demo import write_task
from anymal_eval.errors import BadData


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_task("scienceqa", tmp_path, examples=40)
    file = tmp_path / "scienceqa" / "problems.json"
    problems = json.loads(file.read_text())
    for number, problem in enumerate(problems.values()):
        if number % 10 == 0:
            del problem["question"]
        if number % 10 == 5:
            problem["answer"] = 99
    file.write_text(json.dumps(problems))
    return tmp_path


def test_every_fault_is_listed(root: Path) -> None:
    done = CliRunner().invoke(data, ["check", "scienceqa", "--data-root", str(root), "--all", "--annotations"],
                              standalone_mode=False)  # fmt: skip
    assert done.return_value == 1
    lines = [line for line in done.stdout.splitlines() if "problems.json" in line]
    assert sum("no key 'question'" in line for line in lines) == 4
    assert sum("'answer' is 99" in line for line in lines) == 4
    assert len(lines) == 8
    assert "32 examples" in done.stdout
    without = CliRunner().invoke(data, ["check", "scienceqa", "--data-root", str(root)], standalone_mode=False)
    assert isinstance(without.exception, BadData)


def test_every_missing_file_is_listed(tmp_path: Path) -> None:
    write_task("coco", tmp_path, examples=9)
    pictures = sorted((tmp_path / "coco").rglob("*.jpg"))
    for picture in pictures:
        picture.unlink()
    for every, shown in ((["--all"], len(pictures)), ([], 3)):
        done = CliRunner().invoke(data, ["check", "coco", "--data-root", str(tmp_path), *every], standalone_mode=False)
        assert done.return_value == 1
        assert sum(str(picture) in done.stdout for picture in pictures) == shown


def test_every_line_of_a_csv_is_listed(tmp_path: Path) -> None:
    write_task("nextqa", tmp_path, examples=20)
    file = next((tmp_path / "nextqa").glob("*.csv"))
    header, *lines = file.read_text().splitlines()
    place = header.split(",").index("answer")
    for number in (2, 5, 11):
        cells = lines[number].split(",")
        cells[place] = "nine"
        lines[number] = ",".join(cells)
    file.write_text("\n".join([header, *lines]) + "\n")
    done = CliRunner().invoke(data, ["check", "nextqa", "--data-root", str(tmp_path), "--all", "--annotations"],
                              standalone_mode=False)  # fmt: skip
    assert done.return_value == 1
    found = [line for line in done.stdout.splitlines() if file.name in line]
    assert [line.partition(": line ")[2].partition(":")[0] for line in found] == ["4", "7", "13"]
    assert "17 examples" in done.stdout
