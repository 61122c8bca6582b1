"""Open-ended questions about pictures: VQAv2, OK-VQA, TextVQA and VizWiz, official files and copies on the hub."""

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from anymal_eval.codec import read_bytes
from anymal_eval.errors import BadData
from anymal_eval.json_rows import list_in
from anymal_eval.records import Media, record
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium, missing
from anymal_eval.sources.tables import BySplit, JsonFiles, Row, Table, each
from anymal_eval.task import DataFile, Split

# Pictures lie in a folder with the name of their split. VQAv2's test-dev is a part of test.
ANNOTATORS = 10
FOLDERS = {"test-dev2015": "test2015"}


@record
class VQARow:
    """A question about a picture, with ten answers, or None without public labels. Absent types are empty.

    A medium, in this and all other row types, is an absolute file path or ``row:ID@REVISION/SPLIT#ROW``.
    """

    question_id: str
    image_id: str
    image: str
    question: str
    answers: tuple[str, ...] | None
    answer_type: str = ""
    question_type: str = ""
    ocr_tokens: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def picture(uri: str) -> tuple[Media, ...]:
    """The media of a question; questions about one picture share the record."""
    return (Media(kind="image", uri=uri),)


def types(row: VQARow) -> Mapping[str, str]:
    """The groups of a question: its types, where they are known and it has answers. Questions share them."""
    return _types(row.answer_type, row.question_type) if row.answers else {}


@lru_cache(maxsize=4096)
def _types(answer_type: str, question_type: str) -> Mapping[str, str]:
    named = {"answer_type": answer_type, "question_type": question_type}
    return {name: kind for name, kind in named.items() if kind}


@each
def vqa(row: Row) -> VQARow:
    """A question of VQAv2 or OK-VQA in the layout of visualqa.org; lmms-lab/VQAv2 has its keys in one row."""
    labels, folder = _labels(row), FOLDERS.get(row.split.in_files, row.split.in_files)
    return VQARow(
        question_id=row.name("question_id"),
        image_id=str(row.whole("image_id")),
        image=row.medium(f"{folder}/COCO_{folder}_{{image_id:012d}}.jpg"),
        question=row.text("question"),
        answers=labels.answers("answers") if labels else None,
        answer_type=labels.text("answer_type", "") if labels else "",
        question_type=labels.text("question_type", "") if labels else "",
    )


@each
def okvqa_copy(row: Row) -> VQARow:
    """lmms-lab/OK-VQA: no image id, but a question's id is its picture's with one digit more."""
    question_id = row.name("question_id")
    if not question_id.isdecimal() or len(question_id) < 2:
        raise row.bad(f"'question_id' must be a number of two digits or more, not {question_id!r}")
    image_id = question_id[:-1]
    return VQARow(
        question_id=question_id,
        image_id=image_id,
        image=row.medium_in("val2014", f"COCO_val2014_{int(image_id):012d}.jpg"),
        question=row.text("question"),
        answers=row.answers("answers"),
        answer_type=row.text("answer_type"),
        question_type=row.text("question_type"),
    )


@each
def textvqa(row: Row) -> VQARow:
    """TextVQA's own rows and those in the VQA layout; lmms-lab/textvqa and facebook/textvqa, with OCR tokens or not."""
    labels = _labels(row)
    return VQARow(
        question_id=row.name("question_id"),
        image_id=row.name("image_id"),
        image=row.medium("train_images/{image_id}.jpg"),
        question=row.text("question"),
        answers=labels.answers("answers") if labels else None,
        ocr_tokens=row.texts("ocr_tokens") if row.has("ocr_tokens") else (),
    )


@each
def vizwiz(row: Row) -> VQARow:
    """VizWiz's list of pictures, each with its question and ten answers."""
    image, labelled = row.name("image"), row.split.labelled
    return VQARow(
        question_id=image,
        image_id=image,
        image=row.medium("{split}/{image}"),
        question=row.text("question"),
        answers=row.answers("answers") if labelled else None,
        answer_type=row.text("answer_type", "") if labelled else "",
    )


@each
def vizwiz_copy(row: Row) -> VQARow:
    """lmms-lab/VizWiz-VQA: ``question_id`` is the picture's file name without its ending."""
    image, labelled = f"{row.text('question_id').removesuffix('.jpg')}.jpg", row.split.labelled
    return VQARow(
        question_id=image,
        image_id=image,
        image=row.medium_in(row.split.in_files, image),
        question=row.text("question"),
        answers=row.answers("answers") if labelled else None,
        answer_type=row.text("category") if labelled else "",
    )


def _labels(row: Row) -> Fields | None:
    # The answers are in a second file, or in the same row.
    labels = row.annotation
    if labels is not None and labels.has("image_id") and labels.name("image_id") != row.name("image_id"):
        raise labels.bad(f"image_id {labels.name('image_id')} contradicts the question's {row.name('image_id')}")
    return (labels or row) if row.split.labelled else None


@dataclass(slots=True)
class _Question:
    question_id: int
    image_id: int
    question: str


@dataclass(slots=True)
class _Answer:
    answer: str


@dataclass(slots=True)
class _Labels:
    question_id: int
    image_id: int
    answers: list[_Answer]
    answer_type: str = ""
    question_type: str = ""


def _regular(table: Table, root: Path, split: Split) -> Generator[VQARow, None, bool]:
    """What ``vqa`` makes of the files of visualqa.org, while each annotation stands where its question does."""
    files = [root / file.name for file in table.files(split) if not file.is_folder]
    keys = ("questions", "annotations")[: len(files)]
    lists = [list_in(read_bytes(file), key, file) for file, key in zip(files, keys, strict=True)]
    whole = [found for found in lists if found]
    if len(whole) < len(files) or len({*map(len, whole)}) > 1:
        return False
    questions, *labels = whole
    notes: Iterable[_Labels | None] = labels[0].typed(_Labels) if labels else itertools.repeat(None)
    folder, home = FOLDERS.get(split.in_files, split.in_files), root.absolute()
    pictures: dict[int, tuple[str, str]] = {}  # by id: the same as text, and the file
    seen = set()
    for row, note in zip(questions.typed(_Question), notes, strict=False):
        if note is not None and not (
            note.question_id == row.question_id and note.image_id == row.image_id and len(note.answers) == ANNOTATORS
        ):
            return False
        if row.image_id not in pictures:
            try:
                name = f"COCO_{folder}_{row.image_id:012d}.jpg"
                pictures[row.image_id] = str(row.image_id), medium(home, folder, name, Fields({}, files[0], ""))
            except BadData:
                return False
        seen.add(row.question_id)
        image_id, image = pictures[row.image_id]
        yield VQARow(
            question_id=str(row.question_id),
            image_id=image_id,
            image=image,
            question=row.question,
            answers=None if note is None else tuple(map(sys.intern, map(_TEXT, note.answers))),
            answer_type="" if note is None else note.answer_type,
            question_type="" if note is None else note.question_type,
        )
    return len(seen) == len(questions)


_TEXT: Callable[[_Answer], str] = attrgetter("answer")


@dataclass(frozen=True, kw_only=True)
class VQAFiles(BySplit):
    """A questions file and an annotations file, as visualqa.org gives them, beside a folder of COCO pictures."""

    questions: str
    annotations: str
    origin: str

    def table(self, split: Split) -> JsonFiles:
        """Both files, joined by ``question_id``."""
        return JsonFiles(
            file=self.questions,
            key="questions",
            id="question_id",
            origin=self.origin,
            annotations=JsonFiles(file=self.annotations, key="annotations", id="question_id", origin=self.origin),
            folders={FOLDERS.get(split.in_files, split.in_files): "cocodataset.org/#download"},
            read=vqa,
            regular=_regular,
        )


@dataclass(frozen=True, kw_only=True)
class TextVQAFiles:
    """TextVQA's own file if it is there, else the pair in the VQA layout. OCR tokens are read where they are."""

    own: JsonFiles
    pair: JsonFiles
    ocr: str = "TextVQA_Rosetta_OCR_v0.2_{split}.json"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where: the first, or the second and third."""
        own, folder = self.own.files(split)
        ocr = DataFile(name=self.ocr.format(split=split.in_files), origin=f"{own.origin}; if OCR is wanted")
        named = (replace(own, origin=f"{own.origin}; or the next two"), *self.pair.files(split), ocr)
        return (*(replace(file, needed=False) for file in named), folder)

    def rows(self, root: Path, split: Split) -> Iterator[VQARow]:
        """The questions, in the order of their file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        own, questions, annotations, ocr, _ = (root / file.name for file in self.files(split))
        if not own.is_file() and not (questions.is_file() and annotations.is_file()):
            either = f"{own.name} (from {self.own.origin}), or the pair {questions.name}, {annotations.name}"
            raise missing(root, [either])
        rows = (self.own if own.is_file() else self.pair).rows(root, split)
        if not ocr.is_file():
            return rows
        tokens = _ocr_tokens(JsonFiles(file=ocr.name, origin="", key="data").rows(root, split))
        return (replace(row, ocr_tokens=tokens.get(row.image_id, ())) for row in rows)


def _ocr_tokens(rows: Iterator[Row]) -> Mapping[str, tuple[str, ...]]:
    return {row.name("image_id"): row.texts("ocr_tokens") for row in rows}
