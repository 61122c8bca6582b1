"""School questions in ScienceQA's manner: on a picture, on a picture and a hint, on a hint alone, or on neither."""

from itertools import product
from random import Random
from typing import Literal

from anymal_eval.demo.chance import WorldHalf
from anymal_eval.demo.drawing import COLORS, SHAPES
from anymal_eval.demo.pictures import COUNTS, Picture, describe, plural
from anymal_eval.demo.questions import FACTS, Question, others, with_options
from anymal_eval.demo.wordings import ask

AnswerPlace = Literal["picture", "hint", "neither"]

CORNERS = {"square": "4", "triangle": "3", "star": "10", "cross": "12", "diamond": "4"}
FRIENDS = ("Ana", "Ben", "Eva", "Max", "Tom")


def _choice(random: Random, topic: str, split: WorldHalf, pick: tuple[str, tuple[str, ...]], **slots: str) -> Question:
    """A question with two to five choices; ``hint`` among the slots becomes the context."""
    hint = slots.pop("hint", "")
    text, wording = ask(random, topic, split, **slots)
    answer, wrong = pick
    count = min(random.choice((2, 2, 3, 4, 5)), len(wrong) + 1)
    options, label = with_options(random, answer, wrong, count)
    return Question(
        task="scienceqa",
        topic=topic,
        text=text,
        wording=wording,
        answer=answer,
        options=options,
        label=label,
        context={"hint": hint},
    )


def ask_school_picture(random: Random, picture: Picture, split: WorldHalf) -> Question:
    """A question that takes the picture, and in half of the cases shows a hint; for friends it takes both."""
    group = picture.groups[0]
    topic = random.choice(("school color", "school shape", "school caption", "school friend"))
    if topic == "school color":
        hint = random.choice(("", "The picture shows shapes of one color."))
        return _choice(random, topic, split, (group.color, others(COLORS, group.color)), hint=hint)
    if topic == "school shape":
        hint = random.choice(("", "The picture shows shapes of one kind."))
        return _choice(random, topic, split, (group.shape, others(SHAPES, group.shape)), hint=hint)
    if topic == "school caption":
        wrong = _wrong_captions(random, picture)
        return _choice(random, topic, split, (describe(group), wrong))
    friends = random.sample(FRIENDS, 2)
    colors = [group.color, random.choice(others(COLORS, group.color))]
    hints = [f"{friend} likes {color} shapes." for friend, color in zip(friends, colors, strict=True)]
    random.shuffle(hints)
    return _choice(random, topic, split, (friends[0], (friends[1],)), hint=" ".join(hints))


def _wrong_captions(random: Random, picture: Picture) -> tuple[str, ...]:
    """Seven captions with another number, colour or shape in all combinations.

    With the right one they are all corners of a cube, so that the options' texts do not reveal the right one.
    """
    group = picture.groups[0]
    counts = (group.count, random.choice([k for k in range(1, 5) if k != group.count]))
    colors = (group.color, random.choice(others(COLORS, group.color)))
    shapes = (group.shape, random.choice(others(SHAPES, group.shape)))
    captions = [
        f"{COUNTS[count - 1]} {color} {plural(shape) if count > 1 else shape}"
        for count, color, shape in product(counts, colors, shapes)
    ]
    return tuple(captions[1:])


def ask_school_text(random: Random, split: WorldHalf, place: AnswerPlace) -> Question:
    """A question without a picture: on a hint alone, or on what one knows."""
    if place == "hint":
        color, shape = random.choice(COLORS), random.choice(SHAPES)
        hint = f"A box holds {random.choice(COUNTS[1:])} {color} {plural(shape)}."
        return _choice(random, "school box", split, (color, others(COLORS, color)), hint=hint)
    if random.randrange(2):
        shape = random.choice(sorted(CORNERS))
        wrong = others(("3", "4", "5", "10", "12"), CORNERS[shape])
        return _choice(random, "school corners", split, (CORNERS[shape], wrong), shape=shape)
    color = random.choice(COLORS)
    stems = tuple(stem for _, stem in FACTS["fruit"].values())
    answer = FACTS["fruit"][color][1]
    return _choice(random, "school fruit", split, (answer, others(stems, answer)), color=color)
