"""ScienceQA: all problems in one file and the splits in another, and its copy on the hub."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, listed
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium, refuse_doubles, require
from anymal_eval.sources.tables import Row
from anymal_eval.task import DataFile, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class ScienceQARow:
    """A school question with two to five choices; ``image`` is None for most of them. ``grade``: 1 to 12, or None.

    ``key`` is the same in the official files and in every copy, which have no problem ids.
    """

    problem_id: str
    key: str
    image: str | None
    question: str
    choices: tuple[str, ...]
    answer: int | None
    hint: str
    grade: int | None
    subject: str


@dataclass(frozen=True, kw_only=True)
class ScienceQAFiles:
    """``problems.json`` and ``pid_splits.json`` of lupantech/ScienceQA, in the order of the splits' file."""

    problems: str = "problems.json"
    splits: str = "pid_splits.json"
    origin: str = "github.com/lupantech/ScienceQA data/scienceqa"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.problems, origin=self.origin),
            DataFile(name=self.splits, origin=self.origin),
            DataFile(name=f"images/{split.in_files}/", origin="scienceqa.github.io", needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[ScienceQARow]:
        """The problems of the split.

        Raises:
            MissingData, BadData: naming the file, the problem and the key.
        """
        require(root, self.files(split))
        problem_file, split_file = root / self.problems, root / self.splits
        problems = read_json(problem_file, ids_as_keys=True)
        if not isinstance(problems, dict) or not problems:
            raise BadData(f"{problem_file}: the whole must be an object of problems by id")
        names = Fields(read_json(split_file), split_file, "the whole").texts(split.in_files)
        refuse_doubles(names, split_file, "problem id")
        lacking = [name for name in names if name not in problems]
        if lacking:
            raise BadData(
                f"{problem_file}: {len(lacking)} of {len(names)} problems of {split_file.name} are not there:"
                f" {listed(lacking)}; is the file whole?"
            )

        seen: Counter[str] = Counter()

        def read(name: str) -> ScienceQARow:
            row = Fields(problems[name], problem_file, f"problem {name}")
            image = row.text("image", "")
            path = medium(root, f"images/{split.in_files}", f"{name}/{image}", row) if image else None
            return _row(row, name, path, seen, labelled=split.labelled)

        return map(read, names)


def scienceqa_copy(rows: Iterator[Row]) -> Iterator[ScienceQARow]:
    """derek-thomas/ScienceQA: it has no problem ids, so an id is the split and the row; its key is of the content."""
    seen: Counter[str] = Counter()
    for row in rows:
        yield _row(row, f"{row.split.name}-{row.number}", row.uri or None, seen, labelled=row.split.labelled)


def _key(row: Fields, choices: tuple[str, ...], image: str | None, seen: Counter[str]) -> str:
    """A digest of what a problem says. Problems that differ by their picture alone are counted, in their order."""
    parts = [row.text("question"), *choices, row.text("hint", ""), row.text("solution", ""), str(image is not None)]
    digest = hashlib.sha256("\0".join(" ".join(part.split()) for part in parts).encode()).hexdigest()[:16]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _row(row: Fields, name: str, image: str | None, seen: Counter[str], *, labelled: bool) -> ScienceQARow:
    choices = row.texts("choices")
    if len(choices) < 2:
        raise row.bad(f"'choices' must hold at least two, not {len(choices)}")
    return ScienceQARow(
        problem_id=name,
        key=_key(row, choices, image, seen),
        image=image,
        question=row.text("question"),
        choices=choices,
        answer=row.index("answer", len(choices)) if labelled else None,
        hint=row.text("hint", ""),
        grade=_grade(row) if row.has("grade") else None,
        subject=row.text("subject", ""),
    )


def _grade(row: Fields) -> int:
    text = row.text("grade")
    number = text.removeprefix("grade")
    if not number.isdecimal() or not 1 <= int(number) <= 12:
        raise row.bad(f"'grade' must be grade1 to grade12, not {text!r}")
    return int(number)
