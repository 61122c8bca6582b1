"""What models, servers and data files wrote is shown: no terminal and no page obeys it."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from anymal_eval import catalog
from anymal_eval.cli._listing import list_or_show
from anymal_eval.cli.main import cli
from anymal_eval.paths import builtin_tasks
from anymal_eval.visible import visible, visible_json, visible_line

HOSTILE = (
    "\x1b[31mred", "\x1b]8;;https://example.org\x07link\x1b]8;;\x07", "\x1b]0;title\x07", "\x9b2Jclear", "\x9d0;x\x9c",
    "\x1bP+q544e\x1b\\", "a\rb", "a\bb", "\x00", "\x7f", "\u202eturned", "\u2067isolated\u2069", "\u200bzero\u200d",
    "\ufeffmark", "soft\u00adhyphen", "a\u2028b", "a\u2029b", "\U000e0041tag", "\u061carabic", "\u0085next",
)  # fmt: skip
# A file name cannot hold NUL.
NAMES = [f"{number}{text}.jpg".replace("\0", "") for number, text in enumerate(HOSTILE)]
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def hidden(text: str) -> set[str]:
    """The characters that no output may hold, by Unicode's own categories."""
    return {
        f"U+{ord(letter):04X}" for letter in text if unicodedata.category(letter) in HIDDEN and letter not in "\t\n"
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """VizWiz, whose ids are file names, with hostile names, questions and answers."""
    home = tmp_path / "data" / "vizwiz"
    (home / "Annotations").mkdir(parents=True)
    rows = [
        {"image": name, "question": f"what {text} is it?", "answer_type": f"{text}other", "answerable": 1,
         "answers": [{"answer": f"yes{text}", "answer_confidence": "yes"}] * 10}
        for name, text in zip(NAMES, HOSTILE, strict=True)
    ]  # fmt: skip
    (home / "Annotations" / "val.json").write_text(json.dumps(rows))
    return home.parent


def answers(folder: Path, name: str, texts: list[str]) -> Path:
    file = folder / name
    rows = [{"id": each, "answer": text} for each, text in zip(NAMES, texts, strict=False)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_no_output_holds_what_a_terminal_obeys(tmp_path: Path, data: Path, printed: Callable[..., str]) -> None:
    before = answers(tmp_path, "before.jsonl", [f"yes{text}" for text in HOSTILE])
    after = answers(tmp_path, "after.jsonl", [f"no{text}" for text in HOSTILE])
    lacking = answers(tmp_path, "lacking.jsonl", [f"no{text}" for text in HOSTILE[:-3]])  # three are errors
    shown = []
    for name, file in (("before", before), ("after", after), ("lacking", lacking)):
        shown.append(printed("run", "--tasks", "vizwiz", "--model", f"replay:{file}", "--split", "val",
                             "--data-root", data, "--out", tmp_path / name))  # fmt: skip
    assert "3 of 20 answers are errors" in shown[2]
    shown.append(printed("show", "vizwiz", "-n", 20, "--split", "val", "--data-root", data))
    assert "<U+001B>[31mred" in shown[-1]
    assert "<U+202E>turned" in shown[-1]
    files = {kind: tmp_path / f"check.{kind}" for kind in ("junit", "markdown", "json")}
    shown.append(printed("check", tmp_path / "after", "--against", tmp_path / "before",
                         *(part for kind, file in files.items() for part in (f"--{kind}", file))))  # fmt: skip
    assert "U+" in files["markdown"].read_text(), shown[-1]
    for kind in ("md", "latex", "csv", "html"):
        shown.append(printed("table", tmp_path / "after", tmp_path / "before", "--format", kind))
    printed("report", tmp_path / "after", "--against", tmp_path / "before", "--out", tmp_path / "report",
            "--data-root", data)  # fmt: skip
    pages = [file for file in (tmp_path / "report").rglob("*") if file.suffix in (".html", ".js", ".svg", ".css")]
    assert any("turned" in file.read_text() for file in pages)
    tables = list((tmp_path / "after").glob("table.*"))
    assert len(pages) > 5
    assert len(tables) == 3
    for file in (
        *pages,
        *tables,
        *files.values(),
        tmp_path / "after" / "results.json",
        tmp_path / "after" / "manifest.json",
    ):
        assert not hidden(file.read_text(encoding="utf-8")), file
    for text in shown:
        assert not hidden(text)


def test_errors_that_quote_a_file(tmp_path: Path, data: Path, printed: Callable[..., str]) -> None:
    file = tmp_path / "answers.jsonl"
    for text in HOSTILE:
        file.write_text(json.dumps({"id": f"unknown\n{text}", "answer": "x"}) + "\n")
        said = printed("run", "--tasks", "vizwiz", "--model", f"replay:{file}", "--split", "val", "--data-root", data,
                       "--out", tmp_path / "run")  # fmt: skip
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert not hidden(said)
    assert not hidden(printed("table", "\x1b[31m"))
    assert not hidden(printed("run", "--tasks", "\x9b2J", "--model", "constant"))


@pytest.mark.parametrize("text", HOSTILE)
def test_task_files_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    source = (builtin_tasks() / "vizwiz.py").read_text(encoding="utf-8").replace('name="vizwiz"', 'name="own"')
    summary = text.translate({0: None, ord("\\"): None, ord("\r"): None})
    (tmp_path / "own.py").write_text(source.replace('"""', f'"""{summary}', 1), encoding="utf-8")
    done = CliRunner().invoke(cli, ["data", "describe", "own", "--tasks-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert not hidden(done.output)
    known = catalog.tasks([tmp_path])
    for name, as_json in ((None, False), (None, True), ("own", False), ("own", True)):
        list_or_show(known, name, as_json, lambda each: {"summary": known.summary(each), "lines": [text]})
        shown = capsys.readouterr().out
        assert "own" in shown or name
        assert not hidden(shown)
        if as_json:
            found = json.loads(shown)
            assert found["own"] == known.summary("own") if name is None else found["lines"] == [text]


@pytest.mark.parametrize("first", range(0, 0x110000, 0x8000))
def test_every_character(first: int) -> None:
    text = "".join(map(chr, range(first, first + 0x8000)))
    assert not hidden(visible(text))
    assert not hidden(visible_line(text))
    kept = [letter for letter in text if unicodedata.category(letter)[0] in "LNPS" and letter in visible(letter)]
    assert len(kept) > 0.99 * sum(unicodedata.category(letter)[0] in "LNPS" for letter in text) - 20
    data = {"text": " ".join(text)}  # JSON joins the halves of a surrogate pair
    assert json.loads(visible_json(json.dumps(data, ensure_ascii=False))) == data
