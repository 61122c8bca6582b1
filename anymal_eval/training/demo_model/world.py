"""The training split of the demo world: scenes in memory, and the files that ``train`` reads.

The files have the layouts of any other data: ``pairs-KIND.jsonl`` for alignment, ``instructions.jsonl`` for instruction
tuning, media beside them. Nothing of the evaluation split is drawn here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from anymal_eval.demo import Pair, Question, pairs, text_questions
from anymal_eval.demo.files import write_clip, write_jsonl, write_motion, write_picture, write_sound
from anymal_eval.records import MediaKind

KINDS: tuple[MediaKind, ...] = ("image", "audio", "video", "imu")
_ENDING = {"image": "png", "audio": "wav", "video": "mp4", "imu": "npy"}


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenes by medium, and school questions without media."""

    pairs: Mapping[MediaKind, tuple[Pair, ...]]
    texts: tuple[Question, ...]


def draw(counts: Mapping[MediaKind, int], texts: int, seed: int) -> Scenes:
    """Draw scenes of the training split, the same for the same arguments."""
    return Scenes(
        pairs={kind: tuple(pairs(kind, count=counts[kind], seed=seed)) for kind in KINDS},
        texts=tuple(text_questions(count=texts, seed=seed)),
    )


def question_text(question: Question) -> str:
    """A question as the demo protocol writes it: a line break before every line, its context first, no options."""
    context = [question.context.get(name, "") for name in ("hint", "ocr")]
    return "".join(f"\n{line}" for line in (*context, question.text) if line)


CAPTION = "\n"  # the prompt for a caption: an empty question
HARD = ("is color", "is shape", "is side", "color of", "side of", "hateful", "school friend", "school caption")
QUESTIONS = 4  # about one medium in the instructions
TWICE = "hateful"  # memes are a tenth of the pictures with one question each: it comes twice


def sample_questions(random: Random, pair: Pair) -> list[Question]:
    """Some of a scene's questions, with preference for the hard ones, in random order."""
    drawn = random.sample(pair.questions, min(2 * QUESTIONS, len(pair.questions)))
    drawn = sorted(drawn, key=lambda one: one.topic not in HARD)[:QUESTIONS]
    random.shuffle(drawn)
    return drawn


def write(scenes: Scenes, folder: Path, seed: int) -> None:
    """Write ``pairs-KIND.jsonl`` (canonical captions), ``instructions.jsonl`` and all media."""
    random = Random(seed)
    instructions: list[dict[str, object]] = []
    for kind, drawn in scenes.pairs.items():
        rows: list[dict[str, object]] = []
        for index, pair in enumerate(drawn):
            name = f"{kind}/{index:06d}.{_ENDING[kind]}"
            write_medium(pair, folder / name)
            rows.append({"id": f"{kind}-{index}", str(kind): name, "caption": pair.captions[0]})
            texts = [
                (question_text(question), question.answer)
                for question in sample_questions(random, pair)
                for _ in range(2 if question.topic == TWICE else 1)
            ]
            texts += [(CAPTION, pair.captions[0])] if index % 2 else []
            for k, (instruction, response) in enumerate(texts):
                row = {"id": f"{kind}-{index}-{k}", str(kind): name}
                instructions.append({**row, "instruction": instruction, "response": response})
        write_jsonl(folder / f"pairs-{kind}.jsonl", rows)
    for index, question in enumerate(scenes.texts):
        row = {"id": f"text-{index}"}
        instructions.append({**row, "instruction": question_text(question), "response": question.answer})
    random.shuffle(instructions)
    write_jsonl(folder / "instructions.jsonl", instructions)


def write_medium(pair: Pair, path: Path) -> None:
    """Write a scene's array losslessly, as the evaluation files are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match pair.kind:
        case "image":
            write_picture(path, pair.array)
        case "audio":
            write_sound(path, pair.array, pair.rate)
        case "video":
            write_clip(path, pair.array, pair.rate)
        case "imu":
            write_motion(path, pair.array)


def sentences(scenes: Scenes) -> Iterable[str]:
    """All texts of the scenes, for the tokenizer."""
    for drawn in scenes.pairs.values():
        for pair in drawn:
            yield from pair.captions
            for question in pair.questions:
                yield f"{question_text(question)} {question.answer}"
    for question in scenes.texts:
        yield f"{question_text(question)} {question.answer}"
