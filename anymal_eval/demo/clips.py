"""Clips of the demo world, 16 frames at 8 a second: shapes move one way and then another, or change colour twice."""

from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo import drawing
from anymal_eval.demo.drawing import COLORS, SHAPES, SIDE
from anymal_eval.demo.pictures import COUNTS, plural

FRAMES = 16
FPS = 8
MOVES = ("left", "right", "up", "down", "still")
STEP = {"left": (-16, 0), "right": (16, 0), "up": (0, -16), "down": (0, 16), "still": (0, 0)}
ClipKind = Literal["move", "color"]
KINDS: tuple[ClipKind, ...] = ("move", "move", "color")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One to three equal shapes: two moves in one colour ("move"), or three colours in one place ("color")."""

    kind: ClipKind
    shape: str
    count: int
    colors: tuple[str, ...]
    moves: tuple[str, ...]
    radius: int
    offset: tuple[int, int]
    ground: int
    slope: int

    @property
    def noun(self) -> str:
        """The shape's name in the number that fits the count."""
        return plural(self.shape) if self.count > 1 else self.shape


def draw_clip(random: Random, kind: ClipKind | None = None) -> Clip:
    """Draw a clip; without a kind two in three move. The two moves differ, so do the three colours."""
    chosen: ClipKind = random.choice(KINDS) if kind is None else kind
    count = random.randrange(1, 4)
    moves = tuple(random.sample(MOVES, 2)) if chosen == "move" else ()
    return Clip(
        kind=chosen,
        shape=random.choice(SHAPES),
        count=count,
        colors=tuple(random.sample(COLORS, 1 if chosen == "move" else 3)),
        moves=moves,
        radius=(random.randrange(9, 12), 7, 6)[count - 1],
        offset=(random.randrange(-2, 3), random.randrange(-2, 3)),
        ground=random.randrange(len(drawing.BACKGROUNDS)),
        slope=random.randrange(4, 40),
    )


def render_clip(clip: Clip) -> NDArray[np.uint8]:
    """The clip as (16, 64, 64, 3) RGB bytes; the same on every machine."""
    frames = [_frame(clip, k) for k in range(FRAMES)]
    return np.stack(frames).astype(np.uint8)


def _frame(clip: Clip, k: int) -> NDArray[np.int32]:
    canvas = drawing.background(clip.ground, clip.slope)
    x, y = (SIDE // 2 + part for part in clip.offset)
    color = clip.colors[k * len(clip.colors) // FRAMES]
    if clip.kind == "move":
        # Laid out backwards from the end, so that the last move determines where the shapes come to rest.
        first, last = (STEP[move] for move in clip.moves)
        half = FRAMES // 2 - 1
        done = min(k, half), max(k - half - 1, 0)
        x += first[0] * (done[0] - half) // half + last[0] * done[1] // half
        y += first[1] * (done[0] - half) // half + last[1] * done[1] // half
    spread = clip.radius + 3
    spots = {
        1: ((0, 0),),
        2: ((-spread, 0), (spread, 0)),
        3: ((-spread, spread * 4 // 5), (spread, spread * 4 // 5), (0, -spread * 4 // 5)),
    }[clip.count]
    for dx, dy in spots:
        drawing.put_shape(canvas, clip.shape, color, (x + dx, y + dy), clip.radius)
    return canvas


def resting_place(clip: Clip) -> str:
    """Where the shapes of a "move" clip end: "left" .. "down", or "still" for the middle."""
    return clip.moves[-1]


def moves_words(move: str, many: bool) -> str:
    """A move as a verb phrase.

    >>> moves_words("up", False), moves_words("still", True)
    ('moves up', 'stay still')
    """
    if move == "still":
        return "stay still" if many else "stays still"
    return f"move {move}" if many else f"moves {move}"


def clip_captions(clip: Clip) -> tuple[str, ...]:
    """Five captions; the first is the canonical one."""
    many = clip.count > 1
    if clip.kind == "move":
        what = f"{COUNTS[clip.count - 1]} {clip.colors[0]} {clip.noun}"
        deeds = " and then ".join(moves_words(move, many) for move in clip.moves)
    else:
        what = f"{COUNTS[clip.count - 1]} {clip.noun}"
        deeds = f"turn{'' if many else 's'} from {clip.colors[0]} to {clip.colors[1]} and then to {clip.colors[2]}"
    return (
        f"{what} {deeds}",
        f"in this video {what} {deeds}",
        f"first {what} {deeds}",
        f"we see how {what} {deeds}",
        f"{what} {deeds} on a pale ground",
    )
