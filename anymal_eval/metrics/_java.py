"""Runs the jars that pycocoevalcap ships, beside the work of this process."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from anymal_eval.errors import NeedsExtra, NeedsJava

STALLED_S = 600.0  # a program that answers no line for so long is ended

_PROGRAMS: ContextVar[Programs | None] = ContextVar("java_programs", default=None)


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
    written = text.encode("utf-8", "replace")
    done = subprocess.run(_command(arguments), cwd=folder, input=written, capture_output=True, check=False)
    if done.returncode:
        raise _failure(folder, done.returncode, done.stderr)
    return done.stdout.decode()


@contextmanager
def java_programs() -> Iterator[Programs]:
    """The Java programs that are started inside the ``with`` block, which are ended with the outermost one."""
    outer = _PROGRAMS.get()
    if outer is not None:
        yield outer
        return
    with ExitStack() as stack:
        programs = Programs(stack)
        token = _PROGRAMS.set(programs)
        try:
            yield programs
        finally:
            _PROGRAMS.reset(token)


def programs() -> Programs:
    """Those of the surrounding :func:`java_programs`."""
    found = _PROGRAMS.get()
    if found is None:
        raise RuntimeError("a Java program is started outside java_programs()")
    return found


class Programs:
    """The Java programs of a run. One that answers line by line serves all of its tasks.

    Attributes:
        stack: closed when the programs are ended.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self._answering: dict[tuple[str, ...], _Program] = {}

    def start(self, arguments: Sequence[str], folder: Path) -> Callable[[], None]:
        """Start a program, and return a function that waits for its end.

        Raises:
            NeedsJava: no Java runtime is on the PATH.
            NeedsExtra: from the function: the program failed; the message ends with the last line it wrote.
        """
        program = _Program(arguments, folder, subprocess.DEVNULL)
        self.stack.callback(program.end)
        program.input.close()

        def wait() -> None:
            if program.process.wait():
                raise program.failure()

        return wait

    def answers(self, arguments: Sequence[str], folder: Path, lines: Sequence[str]) -> Callable[[], list[str]]:
        """Give lines to a program that answers each by one, and return a function that waits for the answers.

        The program is started where it does not run yet, and gets the lines while the caller does other work.

        Raises:
            NeedsJava: no Java runtime is on the PATH.
            NeedsExtra: from the function: the program failed; the message ends with the last line it wrote.
        """
        key = (*arguments, str(folder))
        program = self._answering.get(key)
        if program is None or program.process.poll() is not None:
            program = self._answering[key] = _Program(arguments, folder)
            self.stack.callback(program.end)
        return program.answers(lines)


class _Program:
    """A running Java program."""

    def __init__(self, arguments: Sequence[str], folder: Path, output: int = subprocess.PIPE) -> None:
        self._folder = folder
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the program
        try:
            self.process = subprocess.Popen(
                _command(arguments), cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=self._errors
            )
        except BaseException:
            self._errors.close()
            raise
        self._before: list[threading.Thread] = []

    @property
    def input(self) -> IO[bytes]:
        stream = self.process.stdin
        assert stream is not None  # noqa: S101  # opened as a pipe
        return stream

    def answers(self, lines: Sequence[str]) -> Callable[[], list[str]]:
        found: list[str] = []
        before = list(self._before)
        threads = [threading.Thread(target=self._write, args=(before, lines), daemon=True),
                   threading.Thread(target=self._read, args=(before, len(lines), found), daemon=True)]  # fmt: skip
        self._before = threads
        for thread in threads:
            thread.start()

        def wait() -> list[str]:
            seen = -1
            while threads[1].is_alive():
                threads[1].join(STALLED_S)
                if threads[1].is_alive() and seen == len(found):
                    self.process.kill()
                    raise NeedsExtra(f"{self._folder.name}: java wrote nothing for {STALLED_S / 60:g} minutes")
                seen = len(found)
            if len(found) < len(lines) and self.process.wait():
                raise self.failure()
            return found

        return wait

    def _write(self, before: Sequence[threading.Thread], lines: Sequence[str]) -> None:
        for thread in before:
            thread.join()
        try:
            for line in lines:
                self.input.write(line.encode("utf-8", "replace"))
            self.input.flush()
        except (OSError, ValueError):
            return  # it ended: who reads its answers finds out why

    def _read(self, before: Sequence[threading.Thread], count: int, found: list[str]) -> None:
        for thread in before:
            thread.join()
        stream = self.process.stdout
        try:
            while stream is not None and len(found) < count and (line := stream.readline()):
                found.append(line.decode("utf-8", "replace").rstrip("\r\n"))
        except (OSError, ValueError):
            return  # closed by the end of the run

    def failure(self) -> NeedsExtra:
        self._errors.seek(0)
        return _failure(self._folder, self.process.returncode, self._errors.read())

    def end(self) -> None:
        """End the program, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._before:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                continue  # what was not yet written to a program that has ended


def _command(arguments: Sequence[str]) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise NeedsJava("no Java runtime is on the PATH; install one (Debian: apt-get install default-jre-headless)")
    return [java, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *arguments]


def _failure(folder: Path, code: int, errors: bytes) -> NeedsExtra:
    lines = errors.decode(errors="replace").strip().splitlines()
    return NeedsExtra(f"{folder.name}: java ended with {code}: {lines[-1] if lines else 'no message'}")
