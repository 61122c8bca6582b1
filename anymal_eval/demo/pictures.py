"""Pictures of the demo world: groups of coloured shapes, signs with a word, words that name (or miss) a colour."""

from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo import drawing
from anymal_eval.demo.chance import noise
from anymal_eval.demo.drawing import COLORS, SHAPES, SIDE, Canvas

PictureKind = Literal["group", "two groups", "sign", "meme"]
Spoilt = Literal["", "dark", "blurred", "covered"]

SIDES = ("left", "right", "top", "bottom")
COUNTS = ("one", "two", "three", "four")
WORDS = (
    *("stop", "open", "exit", "cafe", "taxi", "bank", "park", "zoo"),
    *("bus", "tea", "sale", "fish", "milk", "home", "jazz", "golf"),
)
MEME_COLORS = ("red", "blue", "green", "pink", "black")  # names that fit a picture's width


@dataclass(frozen=True, kw_only=True)
class Group:
    """One to four equal shapes on one side of the picture."""

    count: int
    color: str
    shape: str
    side: str
    radius: int
    spots: tuple[tuple[int, int], ...]

    @property
    def noun(self) -> str:
        """The shape's name in the number that fits the count."""
        return plural(self.shape) if self.count > 1 else self.shape


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A word: on a painted board with a post, or (``board`` is "white", no post) on a meme's strip."""

    word: str
    board: str
    corner: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A fully specified picture: what it shows and where each thing stands."""

    kind: PictureKind
    groups: tuple[Group, ...]
    sign: Sign | None
    spoilt: Spoilt
    ground: int
    slope: int
    key: int


def plural(shape: str) -> str:
    """The plural of a shape's name.

    >>> plural("cross"), plural("star")
    ('crosses', 'stars')
    """
    return shape + ("es" if shape.endswith("s") else "s")


def draw_picture(random: Random, kind: PictureKind, spoilt: Spoilt = "") -> Picture:
    """Draw a picture of this kind; every attribute is uniform and independent of the others."""
    groups: tuple[Group, ...] = ()
    sign = None
    if kind == "sign":
        sign = _draw_sign(random)
    elif kind == "meme":
        groups, sign = _draw_meme(random)
    else:
        groups = _draw_groups(random, kind == "two groups")
    return Picture(
        kind=kind,
        groups=groups,
        sign=sign,
        spoilt=spoilt,
        ground=random.randrange(len(drawing.BACKGROUNDS)),
        slope=random.randrange(4, 40),
        key=random.randrange(1 << 32),
    )


def _draw_groups(random: Random, two: bool) -> tuple[Group, ...]:
    shapes, colors = random.sample(SHAPES, 2), random.sample(COLORS, 2)
    sides = random.choice((("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")))
    return tuple(_draw_group(random, color=colors[k], shape=shapes[k], side=sides[k]) for k in range(2 if two else 1))


def _draw_group(random: Random, *, color: str, shape: str, side: str) -> Group:
    count = random.randrange(1, 5)
    radius = (random.randrange(9, 13), random.randrange(8, 11), random.randrange(7, 9), 6)[count - 1]
    across = random.randrange(radius + 3, 18)  # distance from the picture's edge
    step = 2 * radius + 3
    # Near the middle of its side: in a corner the side would be ambiguous.
    sway = min(8, (SIDE - count * step) // 2)
    lead = (SIDE - count * step) // 2 + 1 + random.randrange(-sway, sway + 1)
    along = [lead + radius + k * step for k in range(count)]
    near = across if side in ("left", "top") else SIDE - 1 - across
    wobble = [near + random.randrange(-1, 2) for _ in range(count)]
    spots = tuple((w, a) if side in ("left", "right") else (a, w) for w, a in zip(wobble, along, strict=True))
    return Group(count=count, color=color, shape=shape, side=side, radius=radius, spots=spots)


def _draw_sign(random: Random) -> Sign:
    word = random.choice(WORDS)
    wide = drawing.word_width(word) + 8
    corner = (random.randrange(2, SIDE - wide - 1), random.randrange(3, 24))
    return Sign(word=word, board=random.choice(COLORS), corner=corner)


def _draw_meme(random: Random) -> tuple[tuple[Group, ...], Sign]:
    """The word is uniform, and so is the shape's colour whether or not they agree: neither alone reveals the label."""
    word = random.choice(MEME_COLORS)
    others = [color for color in MEME_COLORS if color != word]
    color = word if random.randrange(2) else random.choice(others)
    top = bool(random.randrange(2))
    centre = (random.randrange(22, 43), random.randrange(36, 45) if top else random.randrange(19, 28))
    shape = Group(
        count=1,
        color=color,
        shape=random.choice(SHAPES),
        side="bottom" if top else "top",
        radius=random.randrange(12, 16),
        spots=(centre,),
    )
    left = (SIDE - drawing.word_width(word)) // 2 + random.randrange(-1, 2)
    return (shape,), Sign(word=word, board="white", corner=(left, 2 if top else SIDE - 16))


def contradicts(picture: Picture) -> bool:
    """Whether the meme's word names another colour than its shape has."""
    if picture.sign is None or not picture.groups:
        return False
    return picture.sign.word != picture.groups[0].color


def render_picture(picture: Picture) -> NDArray[np.uint8]:
    """The picture as (64, 64, 3) RGB bytes; the same on every machine."""
    canvas = drawing.background(picture.ground, picture.slope)
    for group in picture.groups:
        for spot in group.spots:
            drawing.put_shape(canvas, group.shape, group.color, spot, group.radius)
    if picture.sign is not None:
        _render_sign(canvas, picture.sign)
    return np.clip(_spoil(canvas, picture), 0, 255).astype(np.uint8)


def _render_sign(canvas: Canvas, sign: Sign) -> None:
    x, y = sign.corner
    wide = drawing.word_width(sign.word)
    if sign.board == "white":
        drawing.put_box(canvas, (0, y - 2), (SIDE, 18), "white")
        drawing.put_word(canvas, sign.word, (x, y), "black")
        return
    drawing.put_box(canvas, (x + wide // 2 + 2, y + 22), (5, SIDE), "grey")
    drawing.put_box(canvas, (x, y), (wide + 8, 22), "black")
    drawing.put_box(canvas, (x + 1, y + 1), (wide + 6, 20), sign.board)
    drawing.put_word(canvas, sign.word, (x + 4, y + 4), drawing.ink_on(sign.board))


def _spoil(canvas: Canvas, picture: Picture) -> Canvas:
    """What a bad photograph leaves: too dark, out of focus, or a finger on the lens."""
    if picture.spoilt == "dark":
        return canvas // 24 + noise(picture.key, SIDE * SIDE, 3).reshape(SIDE, SIDE, 1).astype(np.int32) + 3
    if picture.spoilt == "blurred":
        return drawing.blur(canvas, 9)
    if picture.spoilt == "covered":
        distance = (np.arange(SIDE, dtype=np.int32) - picture.key % SIDE) ** 2
        shade = (distance[:, None] + distance[None, :])[:, :, None] // 96
        return np.array([[[206, 140, 118]]], dtype=np.int32) - shade + canvas // 64
    return canvas


def describe(group: Group) -> str:
    """A group in words, without its place.

    >>> group = Group(count=2, color="red", shape="star", side="left", radius=8, spots=((1, 1), (2, 2)))
    >>> describe(group)
    'two red stars'
    """
    return f"{COUNTS[group.count - 1]} {group.color} {group.noun}"


def place(side: str) -> str:
    """Where a side is, as captions say it."""
    return f"on the {side}" if side in ("left", "right") else f"at the {side}"


def picture_captions(picture: Picture) -> tuple[str, ...]:
    """Five captions; the first is the canonical one that encoders and stage 1 are trained on."""
    if picture.kind == "sign" and picture.sign is not None:
        sign = picture.sign
        return (
            f"a {sign.board} sign that says {sign.word}",
            f"a {sign.board} sign with the word {sign.word}",
            f"there is a {sign.board} sign that says {sign.word}",
            f"the word {sign.word} on a {sign.board} sign",
            f"a picture of a {sign.board} sign that says {sign.word}",
        )
    what = " and ".join(f"{describe(group)} {place(group.side)}" for group in picture.groups)
    if picture.sign is not None:
        word, shape = f"the word {picture.sign.word}", describe(picture.groups[0])
        return (
            f"{word} and {shape}",
            f"a picture of {word} and {shape}",
            f"we see {word} and {shape}",
            f"{word} is written beside {shape}",
            f"{word} and {shape} on a pale ground",
        )
    return (
        what,
        f"there {'is' if what.startswith('one') else 'are'} {what}",
        f"a picture of {what}",
        f"we see {what} of the picture",
        f"{what} on a pale ground",
    )


def detailed_captions(picture: Picture) -> tuple[str, ...]:
    """Five longer descriptions of a picture, for instructions that want detail."""
    if picture.sign is not None and not picture.groups:
        sign = picture.sign
        return _five(f"a {sign.board} sign on a grey post, and the word on the sign is {sign.word}")
    group = picture.groups[0]
    are, they = ("are", "they are") if group.count > 1 else ("is", "it is")
    body = f"{COUNTS[group.count - 1]} {group.noun} that {are} {group.color}, and {they} {place(group.side)}"
    return _five(body)


def _five(body: str) -> tuple[str, ...]:
    return (
        f"the picture shows {body}",
        f"in this picture we see {body}",
        f"the picture shows {body}, and nothing else",
        f"this is a picture that shows {body}",
        f"on a pale ground the picture shows {body}",
    )
