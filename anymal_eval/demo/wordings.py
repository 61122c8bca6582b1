"""Question wordings of the demo world: for each topic some that training uses, and some for evaluation alone."""

import re
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from anymal_eval.demo.chance import WorldHalf

Wording = Literal["seen", "held-out"]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Templates with ``{slots}`` on one topic: ``seen`` for both halves, ``held_out`` for evaluation only."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()


TOPICS: dict[str, Topic] = {
    # one group of shapes; always "shapes", so that the number of the noun reveals nothing
    "color": Topic(
        seen=("What color are the shapes?", "Which color do the shapes have?", "What is the color of the shapes?"),
        held_out=("What color do the shapes have?", "Which color are the shapes?"),
    ),
    "shape": Topic(
        seen=("What shape is shown?", "Which shape is in the picture?", "What kind of shape is this?"),
        held_out=("Which shape is shown?", "What kind of shape is in the picture?"),
    ),
    "count": Topic(
        seen=("How many shapes are there?", "How many shapes are in the picture?", "What is the number of shapes?"),
        held_out=("How many shapes are shown?", "What number of shapes is in the picture?"),
    ),
    "side": Topic(
        seen=("Where are the shapes?", "On which side are the shapes?", "What side of the picture are the shapes on?"),
        held_out=("Which side are the shapes on?", "Where in the picture are the shapes?"),
    ),
    "is color": Topic(
        seen=("Are the shapes {color}?", "Is the color of the shapes {color}?"),
        held_out=("Do the shapes have the color {color}?",),
    ),
    "is shape": Topic(
        seen=("Is there a {shape}?", "Is there a {shape} in the picture?"), held_out=("Is a {shape} in the picture?",)
    ),
    "is side": Topic(seen=("Are the shapes {place}?",), held_out=("Are there shapes {place}?",)),
    # two groups in one picture
    "color of": Topic(seen=("What color is the {shape} group?",), held_out=("Which color is the {shape} group?",)),
    "side of": Topic(seen=("Where is the {shape} group?",), held_out=("On which side is the {shape} group?",)),
    # signs
    "word": Topic(
        seen=("What does the sign say?", "What word is on the sign?", "Which word is written on the sign?"),
        held_out=("What word does the sign say?", "What is written on the sign?"),
    ),
    "board": Topic(
        seen=("What color is the sign?", "Which color does the sign have?"),
        held_out=("What is the color of the sign?",),
    ),
    # world facts
    "fruit": Topic(
        seen=("Which fruit has this color?", "What fruit has the color of the shapes?"),
        held_out=("What fruit has this color?",),
    ),
    "animal": Topic(
        seen=("Which animal has this color?", "What animal has the color of the shapes?"),
        held_out=("What animal has this color?",),
    ),
    "thing": Topic(
        seen=("Which thing has this shape?", "What thing looks like these shapes?"),
        held_out=("What thing has this shape?",),
    ),
    # school questions; the hint is in the context
    "school color": Topic(
        seen=("Which color is shown in the picture?", "Which color does the picture show?"),
        held_out=("What color does the picture show?",),
    ),
    "school shape": Topic(
        seen=("Which of these shapes is in the picture?", "Which of these shapes does the picture show?"),
        held_out=("Which of these shapes is shown in the picture?",),
    ),
    "school caption": Topic(
        seen=("Which sentence fits the picture?", "Which sentence tells what the picture shows?"),
        held_out=("Which sentence tells what is in the picture?",),
    ),
    "school friend": Topic(seen=("Who likes the shapes in the picture?",), held_out=("Who likes these shapes?",)),
    "school box": Topic(
        seen=("Which color are the shapes in the box?", "What color are the shapes in the box?"),
        held_out=("Which color do the shapes in the box have?",),
    ),
    "school corners": Topic(
        seen=("How many corners does a {shape} have?",), held_out=("What number of corners does a {shape} have?",)
    ),
    "school fruit": Topic(seen=("Which fruit is {color}?",), held_out=("What fruit is {color}?",)),
    "hateful": Topic(seen=("Is this meme hateful?", "Is this a hateful meme?")),
    "detail": Topic(
        seen=("Describe the picture in detail.", "Write a detailed description of the picture."),
        held_out=("Describe in detail what the picture shows.",),
    ),
    # clips, in NExT-QA's manner: lower case, no question mark
    "next after": Topic(
        seen=("what do the shapes do after they {deed}", "what happens after the shapes {deed}"),
        held_out=("what did the shapes do after they {deed}",),
    ),
    "next before": Topic(
        seen=("what do the shapes do before they {deed}", "what happens before the shapes {deed}"),
        held_out=("what did the shapes do before they {deed}",),
    ),
    "next color after": Topic(
        seen=("what color are the shapes after they are {color}", "which color comes after {color}"),
        held_out=("which color do the shapes have after they are {color}",),
    ),
    "next color before": Topic(
        seen=("what color are the shapes before they are {color}", "which color comes before {color}"),
        held_out=("which color do the shapes have before they are {color}",),
    ),
    "next while": Topic(
        seen=("what color are the shapes while they {deed}",),
        held_out=("which color do the shapes have while they {deed}",),
    ),
    "next why": Topic(
        seen=("why does the video change near the end",), held_out=("why does the video change at the end",)
    ),
    "next how": Topic(
        seen=("how do the shapes move at first",), held_out=("how do the shapes move when the video starts",)
    ),
    "next count": Topic(
        seen=("how many shapes are there", "how many shapes are in the video"), held_out=("how many shapes are shown",)
    ),
    "next where": Topic(
        seen=("where are the shapes at the end",), held_out=("where are the shapes when the video ends",)
    ),
    "next shape": Topic(
        seen=("what shape is in the video", "which shape is shown"), held_out=("which shape is in the video",)
    ),
    # clips, in STAR's manner
    "star which": Topic(seen=("Which shape moved in the video?",), held_out=("Which shape was moved in the video?",)),
    "star after": Topic(
        seen=("What did the shapes do after they {deed}?", "What happened after the shapes {deed}?"),
        held_out=("What did the shapes do once they {deed}?",),
    ),
    "star next": Topic(seen=("What will the shapes do next?",), held_out=("What will happen next?",)),
    "star able": Topic(
        seen=("Where can a person pick up the shapes?",), held_out=("Where is a person able to pick up the shapes?",)
    ),
    # clips, in How2QA's manner
    "how first": Topic(
        seen=("What do the shapes do first?", "What do the shapes do at the start?"),
        held_out=("What do the shapes do when the video starts?",),
    ),
    "how last": Topic(
        seen=("What do the shapes do last?", "What do the shapes do at the end?"),
        held_out=("What do the shapes do when the video ends?",),
    ),
    "how color first": Topic(
        seen=("What color are the shapes first?", "What color are the shapes at the start?"),
        held_out=("What color are the shapes when the video starts?",),
    ),
    "how color last": Topic(
        seen=("What color are the shapes last?", "What color are the shapes at the end?"),
        held_out=("What color are the shapes when the video ends?",),
    ),
    "how shape": Topic(
        seen=("What shape is shown in the video?", "Which shape does the video show?"),
        held_out=("What shape does the video show?",),
    ),
    # sounds and motions: for training only, their benchmarks want captions
    "sound": Topic(seen=("What makes the sound?", "What is heard?")),
    "sound count": Topic(seen=("How many times does it sound?",)),
    "sound manner": Topic(seen=("What is the sound like?",)),
    "motion": Topic(seen=("What does the person do?", "Which motion is this?")),
    "motion pace": Topic(seen=("How fast is the motion?",)),
    "motion last": Topic(seen=("What does the person do last?",)),
}


def ask(random: Random, topic: str, split: WorldHalf, **slots: str) -> tuple[str, Wording]:
    """A question on this topic. In training always a seen wording; in evaluation one in four is held out."""
    wordings = TOPICS[topic]
    held = bool(wordings.held_out) and random.randrange(4) == 0 and split == "eval"
    template = random.choice(wordings.held_out if held else wordings.seen)
    return template.format(**slots), "held-out" if held else "seen"


@cache
def wording_of(question: str) -> Wording:
    """Whether training uses the wording of this question; case does not matter.

    Raises:
        ValueError: it is no question of the demo world.

    >>> wording_of("What color are the shapes?"), wording_of("Is a star in the picture?")
    ('seen', 'held-out')
    """
    for pattern, wording in _patterns():
        if pattern.fullmatch(question):
            return wording
    raise ValueError(f"not a question of the demo world: {question!r}")


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Wording], ...]:
    """Every template as a pattern; a test draws thousands of questions and finds no text that fits two wordings."""
    found: list[tuple[re.Pattern[str], Wording]] = []
    for topic in TOPICS.values():
        for held, templates in ((True, topic.held_out), (False, topic.seen)):
            for template in templates:
                text = re.sub(r"\\\{\w+\\\}", "[a-z]+(?: [a-z]+){0,3}", re.escape(template))
                found.append((re.compile(text, re.IGNORECASE), "held-out" if held else "seen"))
    return tuple(found)
