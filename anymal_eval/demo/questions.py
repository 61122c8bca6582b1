"""Questions about pictures in the manner of each benchmark, with the answer and plausible wrong ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from anymal_eval.demo.chance import WorldHalf
from anymal_eval.demo.drawing import COLORS, SHAPES
from anymal_eval.demo.pictures import SIDES, Group, Picture, contradicts, detailed_captions, place
from anymal_eval.demo.wordings import Wording, ask


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and its answer. With ``options`` the answer is ``options[label]``.

    ``like`` are other words for the answer, ``near`` wrong answers that people do give. ``context`` holds what the
    benchmark gives beside the question: ``hint`` (ScienceQA), ``ocr`` (Hateful Memes).
    """

    task: str
    topic: str
    text: str
    wording: Wording
    answer: str
    options: tuple[str, ...] = ()
    label: int | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    like: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


LIKE = {
    "red": "dark red",
    "orange": "light orange",
    "yellow": "gold",
    "green": "dark green",
    "blue": "dark blue",
    "purple": "violet",
    "pink": "light pink",
    "black": "dark",
    "circle": "ball",
    "square": "box",
    "triangle": "pyramid",
    "star": "5 pointed star",
    "cross": "plus",
    "diamond": "rhombus",
    "left": "left side",
    "right": "right side",
    "top": "upper side",
    "bottom": "lower side",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "yes": "yes it is",
    "no": "no it is not",
}
FACTS: dict[str, dict[str, tuple[str, str]]] = {  # topic -> attribute -> (as people write it, its stem)
    "fruit": {
        "red": ("cherries", "cherry"),
        "orange": ("oranges", "orange"),
        "yellow": ("bananas", "banana"),
        "green": ("limes", "lime"),
        "blue": ("blueberries", "blueberry"),
        "purple": ("grapes", "grape"),
        "pink": ("peaches", "peach"),
        "black": ("blackberries", "blackberry"),
    },
    "animal": {
        "red": ("crabs", "crab"),
        "orange": ("foxes", "fox"),
        "yellow": ("chicks", "chick"),
        "green": ("frogs", "frog"),
        "blue": ("whales", "whale"),
        "purple": ("snails", "snail"),
        "pink": ("pigs", "pig"),
        "black": ("crows", "crow"),
    },
    "thing": {
        "circle": ("wheels", "wheel"),
        "square": ("windows", "window"),
        "triangle": ("tents", "tent"),
        "star": ("badges", "badge"),
        "cross": ("churches", "church"),
        "diamond": ("kites", "kite"),
    },
}


def others(values: Sequence[str], value: str) -> tuple[str, ...]:
    """The values without this one."""
    return tuple(v for v in values if v != value)


def with_options(random: Random, answer: str, wrong: Sequence[str], count: int) -> tuple[tuple[str, ...], int]:
    """``count`` options with the answer at a uniform place; the wrong ones drawn without repetition.

    >>> with_options(Random(1), "a", ("b", "c"), 3)[0] in {("a", "b", "c"), ("b", "a", "c"), ("b", "c", "a"),
    ...     ("a", "c", "b"), ("c", "a", "b"), ("c", "b", "a")}
    True
    """
    options = random.sample(list(wrong), count - 1)
    label = random.randrange(count)
    options.insert(label, answer)
    return tuple(options), label


def _open(
    random: Random, task: str, topic: str, split: WorldHalf, answer: tuple[str, Sequence[str]], **slots: str
) -> Question:
    text, wording = ask(random, topic, split, **slots)
    word, values = answer
    near = tuple(random.sample(others(values, word), 2)) if len(values) > 2 else others(values, word)
    like = (LIKE[word],) if word in LIKE else ()
    return Question(task=task, topic=topic, text=text, wording=wording, answer=word, like=like, near=near)


def _yes_no(random: Random, split: WorldHalf, group: Group) -> Question:
    """Yes in half of the cases; otherwise the one attribute in question differs."""
    topic, slot, values, value = random.choice(
        (
            ("is color", "color", COLORS, group.color),
            ("is shape", "shape", SHAPES, group.shape),
            ("is side", "place", tuple(place(side) for side in SIDES), place(group.side)),
        )
    )
    yes = bool(random.randrange(2))
    named = value if yes else random.choice(others(values, value))
    return _open(random, "vqav2", topic, split, ("yes" if yes else "no", ("yes", "no")), **{slot: named})


def ask_vqav2(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """Five questions on one group (a count, one or two yes/no, two or three others); four on two groups."""
    if picture.kind == "two groups":
        found = []
        for group in picture.groups:
            found.append(_open(random, "vqav2", "color of", split, (group.color, COLORS), shape=group.shape))
            found.append(_open(random, "vqav2", "side of", split, (group.side, SIDES), shape=group.shape))
        return found
    (group,) = picture.groups
    found = [
        _open(random, "vqav2", "count", split, (str(group.count), ("1", "2", "3", "4"))),
        _yes_no(random, split, group),
        _open(random, "vqav2", "color", split, (group.color, COLORS)),
        _open(random, "vqav2", "shape", split, (group.shape, SHAPES)),
        _open(random, "vqav2", "side", split, (group.side, SIDES)),
    ]
    if random.randrange(2):
        found[random.randrange(2, 5)] = _yes_no(random, split, group)
    random.shuffle(found)
    return found


def ask_textvqa(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """One question on the word."""
    if picture.sign is None:
        return []
    word = picture.sign.word
    question = _open(random, "textvqa", "word", split, (word, (word, word[:-1], word + "s")))
    return [_like(question, f"{word} sign")]


def _like(question: Question, *like: str) -> Question:
    return Question(**{**vars(question), "like": like})


def ask_vizwiz(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """One question; on a spoilt picture the answer is "unanswerable"."""
    chosen: tuple[str, tuple[str, Sequence[str]]]
    if picture.sign is not None:
        word, board = picture.sign.word, picture.sign.board
        chosen = ("word", (word, (word, word[:-1], "unanswerable")))
        if random.randrange(2) and picture.spoilt != "blurred":
            chosen = ("board", (board, COLORS))
    else:
        group = picture.groups[0]
        choices: list[tuple[str, tuple[str, Sequence[str]]]] = [
            ("count", (str(group.count), ("1", "2", "3", "4"))),
            ("shape", (group.shape, SHAPES)),
        ]
        # A colour can be seen out of focus: not a question there.
        choices += [("color", (group.color, COLORS))] if picture.spoilt != "blurred" else []
        chosen = random.choice(choices)
    question = _open(random, "vizwiz", chosen[0], split, chosen[1])
    if not picture.spoilt:
        return [question]
    like = ("unsuitable", "unsuitable image")
    return [Question(**{**vars(question), "answer": "unanswerable", "like": like, "near": question.near})]


def ask_okvqa(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """Two questions that take a fact about the world besides the picture; answers are stems."""
    group = picture.groups[0]
    found = []
    for topic in random.sample(("fruit", "animal", "thing"), 2):
        facts = FACTS[topic]
        key = group.shape if topic == "thing" else group.color
        stems = tuple(stem for _, stem in facts.values())
        found.append(_open(random, "okvqa", topic, split, (facts[key][1], stems)))
    return found


def ask_hateful_memes(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """The one question of the benchmark's stand-in: whether the word contradicts the picture."""
    if picture.sign is None:
        return []
    text, wording = ask(random, "hateful", split)
    label = int(contradicts(picture))
    question = Question(
        task="hateful_memes",
        topic="hateful",
        text=text,
        wording=wording,
        answer=("no", "yes")[label],
        options=("no", "yes"),
        label=label,
        context={"ocr": picture.sign.word},
    )
    return [question]


def ask_mmit_cap(random: Random, picture: Picture, split: WorldHalf) -> list[Question]:
    """One request for detail; the other wordings of the description are in ``like``."""
    text, wording = ask(random, "detail", split)
    first, *rest = detailed_captions(picture)
    return [
        Question(task="mmit_cap", topic="detail", text=text, wording=wording, answer=first, like=tuple(rest)),
    ]


ASK: dict[str, Callable[[Random, Picture, WorldHalf], list[Question]]] = {
    "vqav2": ask_vqav2,
    "textvqa": ask_textvqa,
    "vizwiz": ask_vizwiz,
    "okvqa": ask_okvqa,
    "hateful_memes": ask_hateful_memes,
    "mmit_cap": ask_mmit_cap,
}
