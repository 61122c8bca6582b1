"""The demo world without files: scenes with their captions, questions and answers, for training on."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from numpy.typing import NDArray

from anymal_eval.demo import clips, motions, pictures, sounds
from anymal_eval.demo.chance import WorldHalf, content_hash, draw_for, stream
from anymal_eval.demo.pictures import Picture, PictureKind, Spoilt
from anymal_eval.demo.questions import ASK, Question
from anymal_eval.demo.questions_time import ask_how2qa, ask_motion, ask_nextqa, ask_sound, ask_star
from anymal_eval.demo.school import ask_school_picture, ask_school_text
from anymal_eval.errors import WrongUse
from anymal_eval.records import MediaKind

SPOILT: tuple[Spoilt, ...] = ("dark", "blurred", "covered")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One scene: its array, its captions and the questions about it.

    ``array``: image (64, 64, 3) uint8 RGB; audio (n,) int16 at 8 kHz; video (16, 64, 64, 3) uint8 at 8 a second;
    imu (6, 1000) float32 at 200 Hz. ``rate`` is samples or frames a second, 0 for an image. ``captions`` are five,
    the first is the canonical one. A spoilt picture has the caption "a picture that is too bad to see".
    """

    kind: MediaKind
    array: NDArray[Any]
    rate: int
    captions: tuple[str, ...]
    questions: tuple[Question, ...]
    digest: str


def pairs(modality: MediaKind, *, count: int, seed: int = 0, split: WorldHalf = "train") -> Iterator[Pair]:
    """Yield ``count`` scenes of this kind; the same ones for the same arguments, on every machine.

    A content of the training split never occurs in evaluation files, nor the other way round, whatever the seeds.

    >>> first = next(pairs("image", count=1))
    >>> first.array.shape, len(first.captions)
    ((64, 64, 3), 5)

    Raises:
        WrongUse: there is no such kind of medium.
    """
    makers = {"image": _image, "audio": _audio, "video": _video, "imu": _imu}
    if modality not in makers:
        raise WrongUse(f"the demo world has no {modality!r}: it has {', '.join(makers)}")
    for index in range(count):
        yield makers[modality](stream(split, f"pairs/{modality}", seed, index), split)


def _image(random: Random, split: WorldHalf) -> Pair:
    kinds: tuple[PictureKind, ...] = (*(("group",) * 12), "two groups", *(("sign",) * 5), *(("meme",) * 2))
    kind = random.choice(kinds)
    spoilt: Spoilt = random.choice(SPOILT) if kind in ("group", "sign") and random.randrange(6) == 0 else ""
    picture, array = draw_for(split, lambda: pictures.draw_picture(random, kind, spoilt), pictures.render_picture)
    captions = (TOO_BAD,) * 5 if spoilt else pictures.picture_captions(picture)
    return Pair(
        kind="image",
        array=array,
        rate=0,
        captions=captions,
        questions=tuple(_picture_questions(random, picture, split)),
        digest=content_hash(array),
    )


TOO_BAD = "a picture that is too bad to see"


def _picture_questions(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    if picture.spoilt:
        return ASK["vizwiz"](random, picture, split)
    tasks = {
        "group": ("vqav2", "okvqa", "vizwiz", "mmit_cap"),
        "two groups": ("vqav2",),
        "sign": ("textvqa", "vizwiz", "mmit_cap"),
        "meme": ("hateful_memes",),
    }[picture.kind]
    found = [question for task in tasks for question in ASK[task](random, picture, split)]
    if picture.kind == "group":
        found.append(ask_school_picture(random, picture, split))
    return found


def text_questions(*, count: int, seed: int = 0, split: WorldHalf = "train") -> Iterator[Question]:
    """School questions without any medium: on a hint, or on what one knows."""
    for index in range(count):
        random = stream(split, "pairs/text", seed, index)
        yield ask_school_text(random, split, random.choice(("hint", "neither")))


def _audio(random: Random, split: WorldHalf) -> Pair:
    sound, array = draw_for(split, lambda: sounds.draw_sound(random), sounds.render_sound)
    return Pair(
        kind="audio",
        array=array,
        rate=sounds.RATE,
        captions=sounds.sound_captions(sound),
        questions=tuple(ask_sound(random, sound, split)),
        digest=content_hash(array),
    )


def _video(random: Random, split: WorldHalf) -> Pair:
    clip, array = draw_for(split, lambda: clips.draw_clip(random), clips.render_clip)
    questions = (*ask_nextqa(random, clip, split), *ask_star(random, clip, split), *ask_how2qa(random, clip, split))
    return Pair(
        kind="video",
        array=array,
        rate=clips.FPS,
        captions=clips.clip_captions(clip),
        questions=questions,
        digest=content_hash(array),
    )


def _imu(random: Random, split: WorldHalf) -> Pair:
    motion, array = draw_for(split, lambda: motions.draw_motion(random), motions.render_motion)
    return Pair(
        kind="imu",
        array=array,
        rate=motions.RATE,
        captions=motions.motion_captions(motion),
        questions=tuple(ask_motion(random, motion, split)),
        digest=content_hash(array),
    )
