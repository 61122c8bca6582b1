"""What the columns of each hub copy mean: the same rows as the official files give.

Every function here reads an iterator of hub rows. Where a copy holds no media, they are looked for where the
official layout has them, under ``DIR/<task>``.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

from anymal_eval.sources.clips import nextqa_row, star_row
from anymal_eval.sources.folder import medium
from anymal_eval.sources.hateful_memes import LABELS, meme_id
from anymal_eval.sources.how2qa import value_row
from anymal_eval.sources.hub import HubRow
from anymal_eval.sources.rows import CaptionRow, ClipRow, MemeRow, ScienceQARow, VQARow
from anymal_eval.sources.scienceqa import grade

Row = TypeVar("Row")
Reader = Callable[[Iterator[HubRow]], Iterator[Row]]


def _each(read: Callable[[HubRow], Row]) -> Reader[Row]:
    def all_of_them(rows: Iterator[HubRow]) -> Iterator[Row]:
        return map(read, rows)

    return all_of_them


def _medium(row: HubRow, folder: str, name: str) -> str:
    return row.medium or medium(row.root, folder, name, row.fields)


@_each
def vqav2(row: HubRow) -> VQARow:
    """lmms-lab/VQAv2: the official keys in one row."""
    fields, labelled = row.fields, row.split.labelled
    folder = "val2014" if labelled else "test2015"
    image_id = fields.whole("image_id")
    return VQARow(
        question_id=fields.name("question_id"),
        image_id=str(image_id),
        image=_medium(row, folder, f"COCO_{folder}_{image_id:012d}.jpg"),
        question=fields.text("question"),
        answers=fields.answers("answers") if labelled else None,
        answer_type=fields.text("answer_type") if labelled else "",
        question_type=fields.text("question_type") if labelled else "",
    )


@_each
def okvqa(row: HubRow) -> VQARow:
    """lmms-lab/OK-VQA: no image id, but a question's id is its picture's with one digit more."""
    fields = row.fields
    question_id = fields.name("question_id")
    if not question_id.isdecimal() or len(question_id) < 2:
        raise fields.bad(f"'question_id' must be a number of two digits or more, not {question_id!r}")
    image_id = question_id[:-1]
    return VQARow(
        question_id=question_id,
        image_id=image_id,
        image=_medium(row, "val2014", f"COCO_val2014_{int(image_id):012d}.jpg"),
        question=fields.text("question"),
        answers=fields.answers("answers"),
        answer_type=fields.text("answer_type"),
        question_type=fields.text("question_type"),
    )


@_each
def textvqa(row: HubRow) -> VQARow:
    """lmms-lab/textvqa and facebook/textvqa: the official keys, OCR tokens in the first."""
    fields = row.fields
    image_id = fields.name("image_id")
    return VQARow(
        question_id=fields.name("question_id"),
        image_id=image_id,
        image=_medium(row, "train_images", f"{image_id}.jpg"),
        question=fields.text("question"),
        answers=fields.answers("answers"),
        ocr_tokens=fields.texts("ocr_tokens") if fields.has("ocr_tokens") else (),
    )


@_each
def vizwiz(row: HubRow) -> VQARow:
    """lmms-lab/VizWiz-VQA: ``question_id`` is the picture's file name without its ending."""
    fields, labelled = row.fields, row.split.labelled
    image = f"{fields.text('question_id').removesuffix('.jpg')}.jpg"
    return VQARow(
        question_id=image,
        image_id=image,
        image=_medium(row, row.split.in_files, image),
        question=fields.text("question"),
        answers=fields.answers("answers") if labelled else None,
        answer_type=fields.text("category") if labelled else "",
    )


@_each
def scienceqa(row: HubRow) -> ScienceQARow:
    """derek-thomas/ScienceQA: it has no problem ids, so an id is the split and the row."""
    fields = row.fields
    choices = fields.texts("choices")
    return ScienceQARow(
        problem_id=f"{row.split.name}-{row.number}",
        image=row.medium,
        question=fields.text("question"),
        choices=choices,
        answer=fields.index("answer", len(choices)) if row.split.labelled else None,
        hint=fields.text("hint", ""),
        grade=grade(fields),
        subject=fields.text("subject"),
    )


@_each
def hateful_memes(row: HubRow) -> MemeRow:
    """neuralcatcher/hateful_memes: the official lines; pictures are files of the repository."""
    fields = row.fields
    return MemeRow(
        meme_id=meme_id(fields),
        image=_medium(row, ".", fields.text("img") if fields.has("img") else ""),
        text=fields.text("text"),
        label=fields.index("label", LABELS),
    )


@_each
def coco(row: HubRow) -> CaptionRow:
    """yerevann/coco-karpathy: captions and names; the pictures must lie under ``DIR/coco``."""
    fields = row.fields
    name = fields.name("cocoid")
    return CaptionRow(
        row_id=name,
        origin=name,
        medium=_medium(row, "val2014", fields.text("filename")),
        captions=fields.texts("sentences"),
    )


def audiocaps(rows: Iterator[HubRow]) -> Iterator[CaptionRow]:
    """OpenSound/AudioCaps: one caption a row, gathered by clip; the sound is that of the clip's first row."""
    clips: dict[tuple[str, int], tuple[str, list[str]]] = {}
    for row in rows:
        key = row.fields.name("youtube_id"), row.fields.whole("start_time")
        if key not in clips:
            clips[key] = _medium(row, "audio", f"{key[0]}_{key[1]}.wav"), []
        clips[key][1].append(row.fields.text("caption"))
    cuts = Counter(youtube_id for youtube_id, _ in clips)
    for (youtube_id, start), (sound, captions) in clips.items():
        yield CaptionRow(
            row_id=f"{youtube_id}_{start}" if cuts[youtube_id] > 1 else youtube_id,
            origin=youtube_id,
            medium=sound,
            captions=tuple(captions),
        )


@_each
def nextqa(row: HubRow) -> ClipRow:
    """lmms-lab/NExTQA, configuration MC: the official columns; the videos must lie under ``DIR/nextqa``."""
    return nextqa_row(row.fields, _medium(row, "videos", f"{row.fields.name('video')}.mp4"))


@_each
def star(row: HubRow) -> ClipRow:
    """A copy of the user's, with the official keys and perhaps the video."""
    clip = _medium(row, "videos", f"{row.fields.name('video_id')}.mp4")
    return star_row(row.fields, clip, row.split.labelled)


@_each
def how2qa(row: HubRow) -> ClipRow:
    """A copy of the user's, with the keys of VALUE's release and perhaps the video."""
    clip = _medium(row, "videos", f"{row.fields.name('vid_name')}.mp4")
    return value_row(row.fields, clip, row.split.labelled)


def own(key: str) -> Reader[CaptionRow]:
    """A copy of the user's, with the keys of our JSON lines; ``key`` names the medium."""

    def read(row: HubRow) -> CaptionRow:
        fields = row.fields
        name = fields.name("id")
        return CaptionRow(
            row_id=name,
            origin=fields.name("origin") if fields.has("origin") else name,
            medium=row.medium or medium(row.root, ".", fields.text(key), fields),
            start_s=fields.seconds("start_s") if fields.has("start_s") else None,
            end_s=fields.seconds("end_s") if fields.has("end_s") else None,
            question=fields.text("question", ""),
            captions=fields.texts("references"),
        )

    return _each(read)
