"""Runs the jars that pycocoevalcap ships."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.errors import NeedsExtra, NeedsJava


def jar_folder(part: str) -> Path:
    """The folder of ``meteor``, ``spice`` or ``tokenizer`` inside pycocoevalcap, without importing it.

    Raises:
        NeedsExtra: pycocoevalcap is not installed.
    """
    found = importlib.util.find_spec("pycocoevalcap")
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise NeedsExtra("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(places[0]) / part


def run_java(arguments: Sequence[str], folder: Path, text: str = "") -> str:
    """Run a Java program with ``text`` as its input and return its output; both in UTF-8 under any locale.

    Raises:
        NeedsJava: no Java runtime is on the PATH.
        NeedsExtra: the program failed; the message ends with the last line it wrote.
    """
    java = shutil.which("java")
    if java is None:
        raise NeedsJava("no Java runtime is on the PATH; install one (Debian: apt-get install default-jre-headless)")
    command = [java, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *arguments]
    done = subprocess.run(command, cwd=folder, input=text.encode("utf-8", "replace"), capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise NeedsExtra(f"{folder.name}: java ended with {done.returncode}: {lines[-1] if lines else 'no message'}")
    return done.stdout.decode()
