"""What a model answered as a judge: a folder in the study for each judge and protocol, a line for each answer.

Answers are kept as they came and read when they are reported. A failure of the server is a line too; a later answer to
the same question takes its place.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from anymal_eval import fingerprint, paths
from anymal_eval.checksums import read_checked_json, read_checked_lines, write_checked_json, write_checked_line
from anymal_eval.codec import decode, encode
from anymal_eval.errors import BadData
from anymal_eval.judge.append_log import AppendLog
from anymal_eval.judge.judge_protocol import JudgeProtocol
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.responses import whole_bytes

FOLDER, FILE, NAME = "judges", "judge.json", "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The content of ``judge.json``.

    Attributes:
        model: as typed, without the address.
        fingerprint: of the model, as its server describes it.
        protocol: all of it, so that answers are read as they were requested.
        texts: the fingerprint of the study's own texts that the prompts hold: guideline and scales; empty where they
            hold none.
        url: where it was, for the reader.
    """

    schema: int = 1
    model: str
    fingerprint: str
    protocol: JudgeProtocol
    texts: str = ""
    url: str = ""

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.model} ({self.protocol.name})"

    @property
    def signature(self) -> str:
        """The rule behind its numbers: two are comparable where these are equal."""
        hashes = "+".join(filter(None, (self.protocol.prompt_hash, self.texts)))
        return f"judge {self.fingerprint}|{self.protocol.name}|prompts {hashes}"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model.partition(":")[2] or self.model)[-80:].strip("-.")
        return f"{safe or 'model'}-{self.protocol.name}-{fingerprint.of(self.signature)[:8]}"


@dataclass(frozen=True, kw_only=True)
class JudgeAnswer:
    """One line: the answer to a question, or why there is none; ``key`` is the content of what was sent."""

    question: str
    key: str
    text: str | None = None
    failure: str = ""
    time: str = ""


class JudgeAnswers:
    """The answers of one judge to one study, open for appending by one process."""

    def __init__(self, study: Path, judge: Judge) -> None:
        """Open, or make.

        Raises:
            BadData: a line is damaged. OtherRun: another process does the same.
        """
        folder = study / FOLDER / judge.folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = AppendLog(folder / NAME, "another process puts the study to the same judge")
        try:
            self.given = read_answers(folder)
            if not (folder / FILE).is_file():
                write_atomic(folder / FILE, write_checked_json(encode(judge)))
        except BaseException:
            self._log.__exit__(None, None, None)
            raise

    def append(self, answer: JudgeAnswer) -> None:
        """Write an answer; the disk has it when this returns."""
        self._log.append(encode(answer))
        self.given[answer.question] = answer

    def __enter__(self) -> Self:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._log.__exit__(None, None, None)


def read_answers(folder: Path) -> dict[str, JudgeAnswer]:
    """The last answer to each question.

    Raises:
        BadData: a line is damaged.
    """
    file = folder / NAME
    if not file.is_file():
        return {}
    rows = read_checked_lines(file, whole_bytes(file), "the same command requests what is missing")
    answers = (decode(JudgeAnswer, row, f"{file}: line {number}") for number, _, row in rows)
    return {answer.question: answer for answer in answers}


def judges(study: Path) -> Iterator[tuple[Judge, dict[str, JudgeAnswer]]]:
    """The judges of a study, with their answers, in the order of their folders.

    Raises:
        BadData: a file was changed.
    """
    for file in sorted((study / FOLDER).glob(f"*/{FILE}")):
        data, matches = read_checked_json(file)
        if matches is not True:
            raise BadData(f"{file}: its checksum differs: the answers beside it were given to what it held")
        yield decode(Judge, data, str(file)), read_answers(file.parent)


class Cache:
    """What a judge answered before, in any study, by the content of what was sent; in the user's cache folder.

    Another address is another judge here, although not in a study: a server can bear any model under a name.
    """

    def __init__(self, judge: Judge) -> None:
        """Read what is there; damaged lines are ignored."""
        self._file = paths.cache() / "judges" / f"{fingerprint.of([judge.fingerprint, judge.url])}.jsonl"
        self._known: dict[str, str] = {}
        with contextlib.suppress(OSError, BadData):
            for _, _, row in read_checked_lines(self._file):
                if isinstance(row.get("text"), str):
                    self._known[str(row.get("key"))] = row["text"]

    def get(self, key: str) -> str | None:
        """The answer to that content; None where there is none."""
        return self._known.get(key)

    def put(self, key: str, text: str) -> None:
        """Keep an answer; on a full or read-only disk it is kept for this process."""
        self._known[key] = text
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.write(handle, write_checked_line({"key": key, "text": text}))  # one write: processes do not mix
            finally:
                os.close(handle)


def content_key(judge: Judge, body: Mapping[str, Any], run: int) -> str:
    """The digest of all that an answer depends on: the model, what is sent, and which of the runs it is."""
    text = json.dumps([judge.fingerprint, body, run], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
