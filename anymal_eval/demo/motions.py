"""Motions of the demo world: six channels (acceleration x y z in m/s2, rotation x y z in rad/s) at 200 Hz for 5 s."""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo.chance import noise, oscillate

RATE = 200  # samples a second
WINDOW = 1000  # samples of a motion: 5 s
UNIT = 1024  # integer steps of one m/s2 or rad/s
GRAVITY = 9 * UNIT + 829
ACTIVITIES = (
    *("walks", "runs", "jumps", "stands up", "sits down"),
    *("turns left", "turns right", "nods", "shakes the head", "stands still"),
)
PACED = frozenset({"walks", "runs", "jumps", "nods", "shakes the head"})  # continuous motions, slow or quick


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One activity; ``pace`` is "slowly", "quickly" or, for what happens once, empty. ``rate`` is in milli-hertz."""

    what: str
    pace: str
    rate: int
    start: int  # in per mille of its stretch, where a single movement starts


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One activity for 5 s, or two for 2.5 s each."""

    deeds: tuple[Deed, ...]
    strength: int  # of 1024
    key: int


def draw_motion(random: Random) -> Motion:
    """Draw a motion: three in four hold one activity, the others two different ones."""
    two = random.randrange(4) == 0
    deeds = tuple(_draw_deed(random, what) for what in random.sample(ACTIVITIES, 2 if two else 1))
    return Motion(deeds=deeds, strength=random.randrange(840, 1200), key=random.randrange(1 << 32))


def _draw_deed(random: Random, what: str) -> Deed:
    pace = random.choice(("slowly", "quickly")) if what in PACED else ""
    base = {"walks": 1300, "runs": 2500, "jumps": 1000, "nods": 900, "shakes the head": 900}.get(what, 500)
    rate = base * (8 if pace == "quickly" else 5) // 5
    return Deed(what=what, pace=pace, rate=rate + random.randrange(rate // 8), start=random.randrange(150, 450))


def render_motion(motion: Motion) -> NDArray[np.float32]:
    """The motion as (6, 1000); every value is a whole number of 1/1024, exact in float32 on every machine."""
    n = WINDOW // len(motion.deeds)
    parts = [_render_deed(deed, n) for deed in motion.deeds]
    values = np.concatenate(parts, axis=1) * motion.strength // 1024
    values[2] += GRAVITY
    for channel in range(6):
        values[channel] += noise(motion.key + channel, WINDOW, 60)
    return (values.astype(np.float32) / np.float32(UNIT)).astype(np.float32)


def _render_deed(deed: Deed, n: int) -> NDArray[np.int64]:
    """One activity before gravity and noise, (6, n), in 1/1024 of a unit."""
    out = np.zeros((6, n), dtype=np.int64)
    steady = np.full(n, deed.rate, dtype=np.int64)
    swing, double = oscillate(steady, RATE) // 16, oscillate(2 * steady, RATE) // 16  # +-1 unit
    once = _bump(n, n * deed.start // 1000, n * 2 // 5)
    if deed.what in ("walks", "runs"):
        force = 2 if deed.what == "walks" else 7
        out[2], out[0], out[5] = double * force, swing * force // 2, swing * force // 6
    elif deed.what == "jumps":
        out[2] = np.maximum(swing, 0) * 16 - 4 * np.minimum(double, 0)
        out[0] = double // 2
    elif deed.what in ("stands up", "sits down"):
        sign = 1 if deed.what == "stands up" else -1
        out[2] = sign * 4 * (once - np.roll(once, n // 5) * (np.arange(n) >= n // 5))
        out[4] = sign * once
    elif deed.what in ("turns left", "turns right"):
        out[5] = (2 if deed.what == "turns left" else -2) * once
        out[1] = out[5] // 2
    elif deed.what in ("nods", "shakes the head"):
        out[4 if deed.what == "nods" else 5] = swing * 3 // 2
        out[0 if deed.what == "nods" else 1] = swing // 2
    return out


def _bump(n: int, start: int, width: int) -> NDArray[np.int64]:
    """A single smooth push of 1 unit, a parabola of ``width`` samples from ``start``."""
    t = np.arange(n, dtype=np.int64) - start
    return np.where((t >= 0) & (t < width), 4 * t * (width - t) * UNIT // (width * width), 0)


def motion_captions(motion: Motion) -> tuple[str, ...]:
    """Five captions; the first is the canonical one."""
    deeds = " and then ".join(f"{deed.what} {deed.pace}".strip() for deed in motion.deeds)
    return (
        f"a person {deeds}",
        f"the person {deeds}",
        f"a person {deeds} for a while",
        f"someone with a head camera {deeds}",
        f"a person {deeds} in a room",
    )
