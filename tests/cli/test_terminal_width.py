"""The commands of the tutorial on a terminal of 80, 120 and 46 columns: no line is wider, no markup is left, in colour.

They run in one process with a terminal of its own. Two small runs stand for the tutorial's, whose network and METEOR
take minutes.
"""

import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from anymal_eval.cli.main import cli
from tests.conftest import ROOT
from tests.test_docs import DOCS, blocks

WIDTHS = (80, 120, 46)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)(?:;\d+)*m")
MARKUP = re.compile(r"\*\*|\\[|*_b]|``|\|-{3}|</?[bui]>|\[/")
NEXT = "\n<<<next>>>"
DRIVER = """
import fcntl, json, struct, sys, termios
from anymal_eval.cli.main import main
for width, arguments in json.loads(sys.argv[1]):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    print("\\n<<<next>>>", flush=True)
    sys.argv = ["anymal-eval", *arguments]
    try:
        main()
    except SystemExit as ended:
        print(f"<<<{ended.code}>>>", flush=True)
"""
RUN = "run --tasks hateful_memes,vqav2 --model constant --data demo --demo-examples 120"
RUNS = (f"{RUN} --out runs/before", f"{RUN} -o says=zebra --out runs/after")
MORE = (
    "--help", "run --help", "train align --help", "checkpoints estimate --help", "metrics", "protocols",
    "score runs/before --details", "check runs/after --against runs/before --details",
    "table runs/before runs/after --like anymal-2023/4", "check --noise runs/before runs/before",
    "checkpoints check anymal:demo", "tasks nothing", f"{RUN} --dry-run",
)  # fmt: skip


def tutorial() -> Iterator[str]:
    """Its commands, but for runs, trainings, and what needs them or the accepted run of the demo model."""
    for block in blocks(DOCS / "tutorial.md"):
        for command in block.commands if not block.about.startswith("not-run") else ():
            line = command.removeprefix("anymal-eval ")
            left_out = ("run ", "train ", "data draw", "accept ", "report ")
            # LaTeX is source for another program, and the policy is a file that the page tells to save.
            if not line.startswith(left_out) and not re.search("--policy|--format latex|anymal:demo", line):
                yield line


def on_terminal(folder: Path, commands: list[tuple[int, str]], **more: str) -> list[str]:
    """What each command draws on a terminal of so many columns, with the sequences that control it."""
    ours, theirs = pty.openpty()
    given = json.dumps([(width, shlex.split(command)) for width, command in commands])
    keep = {"PYTHONPATH": str(ROOT), "ANYMAL_EVAL_CACHE": str(folder / "cache"), "TERM": "xterm-256color", **more}
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    started = subprocess.Popen(
        [sys.executable, "-c", DRIVER, given],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**environment, **keep},
    )  # fmt: skip
    os.close(theirs)
    drawn = b""
    while select.select([ours], [], [], 300)[0]:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    assert started.wait(60) == 0, drawn.decode(errors="replace")[-3000:]
    texts = drawn.decode().replace("\r\n", "\n").split(NEXT)[1:]
    assert len(texts) == len(commands)
    return texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def session(folder: Path) -> list[tuple[int, str, str]]:
    """Width, command and what it draws, of every command at every width."""
    commands = [(width, command) for width in WIDTHS for command in (*RUNS, *dict.fromkeys((*tutorial(), *MORE)))]
    drawn = on_terminal(folder, commands)
    return [(width, command, text) for (width, command), text in zip(commands, drawn, strict=True)]


def test_no_line_is_wider_than_the_terminal(session: list[tuple[int, str, str]]) -> None:
    for width, command, text in session:
        for line in re.split(r"[\r\n]", CONTROL.sub("", text)):
            # A path that is longer stays whole, on a line of its own, so that it can be copied.
            assert cell_len(line) <= width or len(line.split()) == 1, f"{command} at {width}: {line}"


def test_no_markup_is_left(session: list[tuple[int, str, str]]) -> None:
    for width, command, text in session:
        found = MARKUP.search(CONTROL.sub("", text))
        # The prompts themselves may hold marks: they are shown as they are.
        assert found is None or command.startswith(("show", RUN)), f"{command} at {width}: {found}"


def test_every_command_does_its_work(session: list[tuple[int, str, str]]) -> None:
    for width, command, text in session:
        code = 1 if command == "tasks nothing" else 3 if command.startswith("check runs/after") else 0
        assert f"<<<{code}>>>" in text, f"{command} at {width}: {text}"


def test_a_run_is_one_row_a_task(session: list[tuple[int, str, str]]) -> None:
    for width, command, text in session:
        if command == RUNS[0] and width >= 80:
            lines = CONTROL.sub("", text).splitlines()
            (memes,) = [line for line in lines if line.startswith("hateful_memes  ")]
            assert re.fullmatch(r"hateful_memes  ROC AUC {2,}50\.00 \[[\d.]+, [\d.]+\] +[\d.]+ +120 *", memes)
            assert not [line for line in lines if "vqa_accuracy@" in line]
        if command.startswith("score") and "--details" in command and width >= 80:
            assert "vqa_accuracy@2021 [" in CONTROL.sub("", text)


def test_verdicts_have_colours(session: list[tuple[int, str, str]]) -> None:
    (text,) = [text for width, command, text in session
               if width == 80 and command == "check runs/after --against runs/before"]  # fmt: skip
    assert re.search(r"\x1b\[(1;)?31mworse", text)


def test_no_color_and_a_dumb_terminal_are_honoured(folder: Path, session: list[tuple[int, str, str]]) -> None:
    assert session
    commands = [(80, "check runs/after --against runs/before"), (80, RUNS[0])]
    for text in on_terminal(folder, commands, NO_COLOR="1"):
        assert not COLOUR.search(text), text
    for text in on_terminal(folder, commands, TERM="dumb"):
        assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_screens_in_the_documentation_are_not_wider(width: int) -> None:
    screens = (DOCS / "screens" / f"{width}.txt").read_text(encoding="utf-8")
    printed = [line for line in screens.splitlines() if not line.startswith("$ ")]
    assert len(printed) > 200
    for line in printed:
        assert cell_len(line) <= width or len(line.split()) == 1, line
    assert not MARKUP.search("\n".join(printed).replace("*Do not*", ""))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("run --tasks vq", ["vqav2"]), ("run --tasks coco,audio", ["coco,audiocaps"]), ("run --prot", ["--protocol"]),
        ("run --model instr", ["instructblip"]), ("show next", ["nextqa"]), ("checkpoints est", ["estimate"]),
        ("run --engine r", ["ray"]),
    ],
)  # fmt: skip
def test_a_shell_completes_commands_options_and_names(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ANYMAL_EVAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"anymal-eval {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    with pytest.raises(SystemExit) as ended:
        cli.main([], prog_name="anymal-eval", standalone_mode=False)
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [f"plain,{name}" for name in offered]
