"""Writes ``docs/screens/``: the tutorial's commands in tmux, on terminals of 80 and 120 columns.

    python docs/screens.py            # a quarter of an hour; tmux must be there

A line that the terminal had to wrap ends it with an error.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCREENS = ROOT / "docs" / "screens"
WIDTHS = (80, 120)
SESSION = "anymal-eval-screens"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = ("anymal-eval --help", "anymal-eval run --help", "anymal-eval run --tasks vqav2,audiocaps --dry-run")
MORE = ("anymal-eval score runs/before --details", "anymal-eval check runs/after --against runs/before --details")


def commands(folder: Path) -> Iterator[str]:
    """The first steps of the README, then the tutorial's in their order; files that it tells to save are written."""
    yield from README
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for language, about, body in FENCE.findall(text):
        if language == "toml":
            (folder / "policy.toml").write_text(body, encoding="utf-8")
        if "not-run" not in about:
            typed = (line[2:] for line in body.splitlines() if line.startswith("$ "))
            yield from (line for line in typed if "--format latex" not in line)
    yield from MORE


def tmux(*arguments: str) -> str:
    """A command of tmux, and what it prints."""
    done = subprocess.run(["tmux", "-L", SESSION, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def screen(command: str, folder: Path) -> str:
    """What the terminal shows after a command."""
    done = folder / "done"
    done.unlink(missing_ok=True)
    tmux("send-keys", "-t", SESSION, f"clear; tmux -L {SESSION} clear-history", "Enter")
    time.sleep(1)
    tmux("send-keys", "-t", SESSION, "-l", command)
    tmux("send-keys", "-t", SESSION, "Enter")
    tmux("send-keys", "-t", SESSION, "-l", "touch done")
    tmux("send-keys", "-t", SESSION, "Enter")
    while not done.exists():
        time.sleep(0.2)
    time.sleep(0.5)
    shown, joined = (tmux("capture-pane", "-t", SESSION, "-p", "-S", "-", *more) for more in ((), ("-J",)))
    typed = re.escape(command[:40])
    # What is typed may be wider than the terminal; what is printed may not.
    wrapped = {line.rstrip() for line in joined.splitlines()} - {line.rstrip() for line in shown.splitlines()}
    wrapped = {line for line in wrapped if not re.search(typed, line) and len(line.split()) > 1}
    if wrapped:
        sys.exit(f"{command}: wrapped: {wrapped}")
    # Joined: a command that is wider than the terminal, and a path, can be copied.
    typed_ahead = ("$ touch done", "touch done", "$")
    lines = [line.rstrip() for line in joined.rstrip().splitlines() if line.strip() not in typed_ahead]
    return "\n".join(lines).replace(str(ROOT), "~/anymal_eval").replace(f"{folder}/", "").rstrip() + "\n"


def main() -> None:
    """Write a file of screens for each width."""
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "bin" / "anymal-eval"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m anymal_eval "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        keep = {"PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}", "PS1": "$ ",
                "ANYMAL_EVAL_CACHE": "cache", "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8", "HOME": name}  # fmt: skip
        for width in WIDTHS:
            shell = ["env", "-i", "TERM=screen-256color", *(f"{key}={value}" for key, value in keep.items())]
            tmux("-f", "/dev/null", "new-session", "-d", "-s", SESSION, "-x", str(width), "-y", "50", "-c", name,
                 *shell, "bash", "--norc", "--noprofile")  # fmt: skip
            tmux("set-option", "-g", "history-limit", "10000")
            try:
                shown = [screen(command, folder) for command in commands(folder)]
            finally:
                tmux("kill-server")
            (SCREENS / f"{width}.txt").write_text("\n".join(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
