"""Sounds of the demo world, 8 kHz, 1 to 2 s: tones that rise or fall, beeps and bells to count, engines, noise."""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo.chance import noise, oscillate

RATE = 8000  # samples a second
EVENTS = ("rising tone", "falling tone", "beeps", "bell", "engine", "noise")
TIMES = ("once", "twice", "three times", "four times")
COUNTS = ("one", "two", "three", "four")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that sounds. ``manner``: high or low, for engines fast or slow, for noise loud or soft."""

    what: str
    manner: str
    count: int
    length: int  # samples
    pitch: int  # hertz, jittered within the manner's range


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One event, or two one after the other; ``key`` seeds the faint hiss under it."""

    events: tuple[Event, ...]
    level: int  # of 1024
    key: int


def draw_sound(random: Random) -> Sound:
    """Draw a sound: three in four hold one event, the others two different ones."""
    two = random.randrange(4) == 0
    kinds = random.sample(EVENTS, 2 if two else 1)
    events = tuple(_draw_event(random, what, short=two) for what in kinds)
    return Sound(events=events, level=random.randrange(760, 1024), key=random.randrange(1 << 32))


def _draw_event(random: Random, what: str, *, short: bool) -> Event:
    manners = {"engine": ("fast", "slow"), "noise": ("loud", "soft"), "bell": ("high", "low")}.get(
        what, ("high", "low")
    )
    manner = random.choice(manners)
    counted = what in ("beeps", "bell")
    count = random.randrange(1, 5 if what == "beeps" else 4) if counted else 1
    pitch = {"high": 1500, "low": 420, "fast": 110, "slow": 36, "loud": 1, "soft": 1}[manner]
    length = 7600 if short else random.randrange(9600, 15200)
    return Event(what=what, manner=manner, count=count, length=length, pitch=pitch + random.randrange(pitch // 5 + 1))


def render_sound(sound: Sound) -> NDArray[np.int16]:
    """The sound as (n,) PCM16 at 8 kHz, n between 9,600 and 16,000; the same on every machine."""
    gap = np.zeros(400, dtype=np.int64)
    parts: list[NDArray[np.int64]] = []
    for k, event in enumerate(sound.events):
        parts += [gap] * (k > 0) + [_render_event(event, sound.key + k)]
    wave = np.concatenate(parts) * sound.level // 1024
    sampled: NDArray[np.int16] = np.clip(wave + noise(sound.key, len(wave), 40), -32767, 32767).astype(np.int16)
    return sampled


def _render_event(event: Event, key: int) -> NDArray[np.int64]:
    n = event.length
    time = np.arange(n, dtype=np.int64)
    if event.what in ("rising tone", "falling tone"):
        sweep = 1000 * event.pitch + 1000 * event.pitch * (time if event.what == "rising tone" else n - time) // n
        return oscillate(sweep, RATE) * _fade(n, 400) // 1024
    if event.what in ("beeps", "bell"):
        return _strikes(event)
    if event.what == "engine":
        puff = (time * event.pitch * 64 // RATE) % 64  # a saw of 64 steps a stroke
        rough = (48 - puff) * 220 + noise(key, n, 2600) * (64 - puff) // 64
        return rough * _fade(n, 600) // 1024
    return noise(key, n, 13000 if event.manner == "loud" else 2200) * _fade(n, 600) // 1024


def _strikes(event: Event) -> NDArray[np.int64]:
    """``count`` beeps or bell strokes at equal distances: a beep is short and even, a bell rings out."""
    wave = np.zeros(event.length, dtype=np.int64)
    every = event.length // 4
    for k in range(event.count):
        n = every * 9 // 16 if event.what == "beeps" else every - 40
        steady = np.full(n, 1000 * event.pitch, dtype=np.int64)
        tone = oscillate(steady, RATE)
        if event.what == "beeps":
            stroke = tone * _fade(n, 120) // 1024
        else:
            left = n - np.arange(n, dtype=np.int64)
            partials = tone + oscillate(steady * 27 // 10, RATE) * 3 // 5 + oscillate(steady // 2, RATE) // 2
            stroke = partials * 3 // 5 * (left * left // n) // n
        wave[k * every : k * every + n] = stroke
    return wave


def _fade(n: int, edge: int) -> NDArray[np.int64]:
    """A ramp up and down over ``edge`` samples, in 1/1024."""
    time = np.arange(n, dtype=np.int64)
    near: NDArray[np.int64] = np.minimum(np.minimum(time, n - 1 - time), edge)
    return near * 1024 // edge


def event_words(event: Event) -> tuple[str, str]:
    """An event in two wordings.

    >>> event_words(Event(what="bell", manner="low", count=2, length=8000, pitch=420))
    ('a low bell rings twice', 'a bell with a low pitch is rung twice')
    """
    manner = event.manner
    if event.what == "beeps":
        beeps = f"{COUNTS[event.count - 1]} {manner} beep{'s' if event.count > 1 else ''}"
        return f"{beeps} sound{'' if event.count > 1 else 's'}", f"a machine makes {beeps}"
    if event.what == "bell":
        times = TIMES[event.count - 1]
        return f"a {manner} bell rings {times}", f"a bell with a {manner} pitch is rung {times}"
    if event.what == "engine":
        return f"an engine runs {'fast' if manner == 'fast' else 'slowly'}", f"a {manner} engine is running"
    if event.what == "noise":
        return f"a {manner} noise hisses", f"{manner} hissing noise is heard"
    rises = "rises" if event.what == "rising tone" else "falls"
    return f"a {manner} tone {rises}", f"a tone with a {manner} pitch {rises}"


def sound_captions(sound: Sound) -> tuple[str, ...]:
    """Five captions; the first is the canonical one."""
    first = " and then ".join(event_words(event)[0] for event in sound.events)
    second = " and then ".join(event_words(event)[1] for event in sound.events)
    return (first, second, f"{first} in a quiet room", f"we hear that {first}", f"{first} near the microphone")
