"""The layout of ScienceQA: all problems in one file, the splits in another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, listed
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium, refuse_doubles, require
from anymal_eval.sources.rows import ScienceQARow
from anymal_eval.task import DataFile, Split


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
        for name in names:
            yield self._row(root, split, name, Fields(problems[name], problem_file, f"problem {name}"))

    def _row(self, root: Path, split: Split, name: str, row: Fields) -> ScienceQARow:
        image = row.text("image", "")
        choices = row.texts("choices")
        if len(choices) < 2:
            raise row.bad(f"'choices' must hold at least two, not {len(choices)}")
        return ScienceQARow(
            problem_id=name,
            image=medium(root, f"images/{split.in_files}", f"{name}/{image}", row) if image else None,
            question=row.text("question"),
            choices=choices,
            answer=row.index("answer", len(choices)) if split.labelled else None,
            hint=row.text("hint", ""),
            grade=grade(row) if row.has("grade") else None,
            subject=row.text("subject", ""),
        )


def grade(row: Fields) -> int:
    """The number in ``grade7``.

    Raises:
        BadData: it is none from 1 to 12.
    """
    text = row.text("grade")
    number = text.removeprefix("grade")
    if not number.isdecimal() or not 1 <= int(number) <= 12:
        raise row.bad(f"'grade' must be grade1 to grade12, not {text!r}")
    return int(number)
