"""Questions about clips, sounds and motions: what comes first, what after, how many, how."""

from random import Random

from anymal_eval.demo.chance import WorldHalf
from anymal_eval.demo.clips import MOVES, Clip, moves_words, resting_place
from anymal_eval.demo.drawing import COLORS, SHAPES
from anymal_eval.demo.motions import Motion
from anymal_eval.demo.pictures import COUNTS
from anymal_eval.demo.questions import Question, others, with_options
from anymal_eval.demo.sounds import Sound
from anymal_eval.demo.wordings import ask

PLACES = dict(zip(MOVES, ("on the left", "on the right", "at the top", "at the bottom", "in the middle"), strict=True))
WAYS = dict(zip(MOVES, ("to the left", "to the right", "upwards", "downwards", "not at all"), strict=True))
DEEDS = {move: moves_words(move, True) for move in MOVES}
PAST = {move: "stayed still" if move == "still" else f"moved {move}" for move in MOVES}
NUMBERS = (*COUNTS, "five")

# NExT-QA's types, by topic
NEXT_TYPES = {
    "next after": "TN",
    "next color after": "TN",
    "next before": "TP",
    "next color before": "TP",
    "next while": "TC",
    "next why": "CW",
    "next how": "CH",
    "next count": "DC",
    "next where": "DL",
    "next shape": "DO",
}
STAR_TYPES = {
    "star which": "Interaction",
    "star after": "Sequence",
    "star next": "Prediction",
    "star able": "Feasibility",
}

Pick = tuple[str, tuple[str, ...]]


def _choice(random: Random, task: str, topic: str, split: WorldHalf, pick: Pick, **slots: str) -> Question:
    """Five options for NExT-QA, four for the others."""
    text, wording = ask(random, topic, split, **slots)
    options, label = with_options(random, pick[0], pick[1], 5 if task == "nextqa" else 4)
    return Question(task=task, topic=topic, text=text, wording=wording, answer=pick[0], options=options, label=label)


def _of(words: dict[str, str], move: str) -> Pick:
    return words[move], others(tuple(words.values()), words[move])


def _shown_first(clip: Clip, answer: str, named: str) -> tuple[str, ...]:
    """Wrong colours, those of the clip itself first among them: an order must be seen, not only a colour."""
    shown = tuple(color for color in clip.colors if color not in (answer, named))
    rest = tuple(color for color in COLORS if color not in (*clip.colors, answer, named))
    return (*shown, *rest)[:4]


def ask_nextqa(random: Random, clip: Clip, split: WorldHalf) -> list[Question]:
    """Three questions of different types."""
    pool = _next_moves(random, clip, split) if clip.kind == "move" else _next_colors(random, clip, split)
    pool.append(_choice(random, "nextqa", "next shape", split, (clip.shape, others(SHAPES, clip.shape))))
    number = NUMBERS[clip.count - 1]
    pool.append(_choice(random, "nextqa", "next count", split, (number, others(NUMBERS, number))))
    return random.sample(pool, 3)


def _next_moves(random: Random, clip: Clip, split: WorldHalf) -> list[Question]:
    first, last = clip.moves
    color = clip.colors[0]
    pool = [
        _choice(random, "nextqa", "next after", split, _of(DEEDS, last), deed=DEEDS[first]),
        _choice(random, "nextqa", "next before", split, _of(DEEDS, first), deed=DEEDS[last]),
        _choice(random, "nextqa", "next while", split, (color, others(COLORS, color)), deed=DEEDS[first]),
        _choice(random, "nextqa", "next how", split, _of(WAYS, first)),
        _choice(random, "nextqa", "next where", split, _of(PLACES, resting_place(clip))),
    ]
    if last != "still":
        causes = {move: f"because they {DEEDS[move]}" for move in MOVES[:4]} | {"": "because they change color"}
        pool.append(_choice(random, "nextqa", "next why", split, _of(causes, last)))
    return pool


def _next_colors(random: Random, clip: Clip, split: WorldHalf) -> list[Question]:
    k = random.randrange(2)
    early, late = clip.colors[k], clip.colors[k + 1]
    last = clip.colors[2]
    return [
        _choice(random, "nextqa", "next color after", split, (late, _shown_first(clip, late, early)), color=early),
        _choice(random, "nextqa", "next color before", split, (early, _shown_first(clip, early, late)), color=late),
        _choice(
            random,
            "nextqa",
            "next why",
            split,
            (f"because they turn {last}", tuple(f"because they turn {c}" for c in _shown_first(clip, last, last))),
        ),
    ]


def ask_star(random: Random, clip: Clip, split: WorldHalf) -> list[Question]:
    """One question of each of the four types; for clips that move. What will come next is more of the last move."""
    if clip.kind != "move":
        return []
    first, last = clip.moves
    # Without the move that the question names: else a guess would gain from leaving it out.
    after = tuple(PAST[move] for move in MOVES if move not in (first, last))
    return [
        _choice(random, "star", "star which", split, (clip.shape, others(SHAPES, clip.shape))),
        _choice(random, "star", "star after", split, (PAST[last], after), deed=PAST[first]),
        _choice(random, "star", "star next", split, _of(DEEDS, last)),
        _choice(random, "star", "star able", split, _of(PLACES, resting_place(clip))),
    ]


def ask_how2qa(random: Random, clip: Clip, split: WorldHalf) -> list[Question]:
    """Two questions of three."""
    pool = [_choice(random, "how2qa", "how shape", split, (clip.shape, others(SHAPES, clip.shape)))]
    if clip.kind == "move":
        pool.append(_choice(random, "how2qa", "how first", split, _of(DEEDS, clip.moves[0])))
        pool.append(_choice(random, "how2qa", "how last", split, _of(DEEDS, clip.moves[1])))
    else:
        for topic, color in (("how color first", clip.colors[0]), ("how color last", clip.colors[2])):
            wrong = _shown_first(clip, color, color)
            pool.append(_choice(random, "how2qa", topic, split, (color, wrong)))
    return random.sample(pool, 2)


def _plain(random: Random, task: str, topic: str, split: WorldHalf, answer: str) -> Question:
    text, wording = ask(random, topic, split)
    return Question(task=task, topic=topic, text=text, wording=wording, answer=answer)


def ask_sound(random: Random, sound: Sound, split: WorldHalf) -> list[Question]:
    """Questions for training on sounds; the benchmark itself has captions only."""
    what = " and then ".join(event.what for event in sound.events)
    found = [_plain(random, "audiocaps", "sound", split, what)]
    if len(sound.events) == 1:
        event = sound.events[0]
        found.append(_plain(random, "audiocaps", "sound manner", split, event.manner))
        if event.what in ("beeps", "bell"):
            found.append(_plain(random, "audiocaps", "sound count", split, str(event.count)))
    return found


def ask_motion(random: Random, motion: Motion, split: WorldHalf) -> list[Question]:
    """Questions for training on motions; the benchmark itself has captions only."""
    found = [_plain(random, "imu_caption", "motion", split, " and then ".join(deed.what for deed in motion.deeds))]
    if len(motion.deeds) == 1 and motion.deeds[0].pace:
        found.append(_plain(random, "imu_caption", "motion pace", split, motion.deeds[0].pace))
    if len(motion.deeds) == 2:
        found.append(_plain(random, "imu_caption", "motion last", split, motion.deeds[1].what))
    return found
