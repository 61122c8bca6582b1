"""The layouts of open-ended questions about pictures: VQA (two files), TextVQA and VizWiz."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, listed
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium, missing, refuse_doubles, require
from anymal_eval.sources.rows import VQARow
from anymal_eval.task import DataFile, Split


@dataclass(frozen=True, kw_only=True)
class VQAFiles:
    """A questions file and an annotations file, as visualqa.org gives them.

    In the names ``{split}`` is what the split's files are called. Pictures lie in a folder of that name, or as
    ``folders`` says, as ``COCO_{folder}_{image_id:012d}.jpg``.
    """

    questions: str
    annotations: str
    origin: str
    folders: Mapping[str, str] = field(default_factory=dict)
    images_origin: str = "cocodataset.org/#download"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where; without labels there is no annotations file."""
        named = [DataFile(name=self.questions.format(split=split.in_files), origin=self.origin)]
        if split.labelled:
            named.append(DataFile(name=self.annotations.format(split=split.in_files), origin=self.origin))
        folder = self._folder(split)
        return (*named, DataFile(name=f"{folder}/", origin=self.images_origin, needed=False, is_folder=True))

    def rows(self, root: Path, split: Split) -> Iterator[VQARow]:
        """The questions, in the order of their file, with the answers that belong to them.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        files = self.files(split)
        require(root, files)
        question_file = root / files[0].name
        asked = section(read_json(question_file), "questions", question_file)
        noted = root / files[1].name if split.labelled else None
        answers = by_question(noted) if noted else None
        folder = self._folder(split)
        # The names are made from numbers, so none can lead out of the folder; 214,354 need no further look.
        prefix = f"{root.absolute() / folder}/COCO_{folder}_"
        seen: dict[str, int] = {}
        for number, data in enumerate(asked):
            row = Fields(data, question_file, f"questions[{number}]")
            image_id, question_id = row.whole("image_id"), row.name("question_id")
            seen[question_id] = seen.get(question_id, 0) + 1
            labels = _labels(row, question_id, answers, noted)
            yield VQARow(
                question_id=question_id,
                image_id=str(image_id),
                image=f"{prefix}{image_id:012d}.jpg",
                question=row.text("question"),
                answers=labels.answers("answers") if labels else None,
                answer_type=labels.text("answer_type", "") if labels else "",
                question_type=labels.text("question_type", "") if labels else "",
            )
        _refuse_unmatched(question_file, seen, answers, noted)

    def _folder(self, split: Split) -> str:
        return self.folders.get(split.in_files, split.in_files)


@dataclass(frozen=True, kw_only=True)
class TextVQAFiles:
    """TextVQA's own file, or the pair of files in the VQA layout; own first. OCR tokens are read where they lie."""

    own: str = "TextVQA_0.5.1_{split}.json"
    questions: str = "{split}_questions_vqa_format.json"
    annotations: str = "{split}_annotations_vqa_format.json"
    ocr: str = "TextVQA_Rosetta_OCR_v0.2_{split}.json"
    images: str = "train_images"
    origin: str = "textvqa.org/dataset"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where: the first, or the second and third."""
        pair = "github.com/mlfoundations/open_flamingo"
        named = (
            (self.own, f"{self.origin}; or the next two"),
            (self.questions, pair),
            (self.annotations, pair),
            (self.ocr, f"{self.origin}; if OCR is wanted"),
        )
        return (
            *(DataFile(name=name.format(split=split.in_files), origin=origin, needed=False) for name, origin in named),
            DataFile(name=f"{self.images}/", origin=f"{self.origin} (train_val_images)", needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[VQARow]:
        """The questions, in the order of their file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        own, questions, annotations, ocr, _ = (root / file.name for file in self.files(split))
        tokens = _ocr_tokens(ocr) if ocr.is_file() else {}
        if own.is_file():
            asked, file, key = section(read_json(own), "data", own), own, "data"
            answers, noted = None, None
        elif questions.is_file() and annotations.is_file():
            asked, file, key = section(read_json(questions), "questions", questions), questions, "questions"
            answers, noted = by_question(annotations), annotations
        else:
            either = f"{own.name} (from {self.origin}), or the pair {questions.name}, {annotations.name}"
            raise missing(root, [either])
        seen: dict[str, int] = {}
        for number, data in enumerate(asked):
            row = Fields(data, file, f"{key}[{number}]")
            question_id, image_id = row.name("question_id"), row.name("image_id")
            seen[question_id] = seen.get(question_id, 0) + 1
            labels = row if answers is None else _labels(row, question_id, answers, noted)
            yield VQARow(
                question_id=question_id,
                image_id=image_id,
                image=medium(root, self.images, f"{image_id}.jpg", row),
                question=row.text("question"),
                answers=labels.answers("answers") if split.labelled and labels else None,
                ocr_tokens=tokens.get(image_id, ()),
            )
        _refuse_unmatched(file, seen, answers, noted)


@dataclass(frozen=True, kw_only=True)
class VizWizFiles:
    """VizWiz's one file a split: a list of pictures, each with its question and ten answers."""

    annotations: str = "Annotations/{split}.json"
    origin: str = "vizwiz.org/tasks-and-datasets/vqa"

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return (
            DataFile(name=self.annotations.format(split=split.in_files), origin=self.origin),
            DataFile(name=f"{split.in_files}/", origin=self.origin, needed=False, is_folder=True),
        )

    def rows(self, root: Path, split: Split) -> Iterator[VQARow]:
        """The questions, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        files = self.files(split)
        require(root, files)
        file = root / files[0].name
        for number, data in enumerate(section(read_json(file), "", file)):
            row = Fields(data, file, f"row {number}")
            image = row.name("image")
            yield VQARow(
                question_id=image,
                image_id=image,
                image=medium(root, split.in_files, image, row),
                question=row.text("question"),
                answers=row.answers("answers") if split.labelled else None,
                answer_type=row.text("answer_type", "") if split.labelled else "",
            )


def section(data: Any, key: str, file: Path) -> list[Any]:
    """The list under ``key`` of a JSON file, or the whole of it where ``key`` is empty.

    Raises:
        BadData: it is no list, or is empty.
    """
    if key:
        data = Fields(data, file, "the whole").items(key)
    if not isinstance(data, list) or not data:
        what = f"{key!r}" if key else "the whole"
        raise BadData(f"{file}: {what} must be a list of rows, not {type(data).__name__} or empty")
    return data


def by_question(file: Path) -> dict[str, Fields]:
    """The rows of an annotations file by their question.

    Raises:
        BadData: a question comes twice, or the layout is another.
    """
    rows = [
        Fields(data, file, f"annotations[{number}]")
        for number, data in enumerate(section(read_json(file), "annotations", file))
    ]
    found = {row.name("question_id"): row for row in rows}
    if len(found) < len(rows):
        refuse_doubles((row.name("question_id") for row in rows), file, "question_id")
    return found


def _labels(row: Fields, question_id: str, answers: Mapping[str, Fields] | None, file: Path | None) -> Fields | None:
    if answers is None:
        return None
    labels = answers.get(question_id)
    if labels is None:
        raise row.bad(f"question_id {question_id} has no annotation in {file}")
    if labels.has("image_id") and labels.name("image_id") != row.name("image_id"):
        raise labels.bad(f"image_id {labels.name('image_id')} contradicts the question's {row.name('image_id')}")
    return labels


def _refuse_unmatched(
    file: Path, seen: Mapping[str, int], answers: Mapping[str, Fields] | None, noted: Path | None
) -> None:
    refuse_doubles((name for name, count in seen.items() for _ in range(count)), file, "question_id")
    lacking = [name for name in answers or () if name not in seen]
    if lacking:
        raise BadData(f"{noted}: {len(lacking)} unknown question_id, not in {file.name}: {listed(lacking)}")


def _ocr_tokens(file: Path) -> dict[str, tuple[str, ...]]:
    rows = (Fields(data, file, f"data[{n}]") for n, data in enumerate(section(read_json(file), "data", file)))
    return {row.name("image_id"): row.texts("ocr_tokens") for row in rows}
