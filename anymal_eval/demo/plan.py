"""What is to be written for one task, and the scenes it is written from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo import clips, motions, pictures, sounds
from anymal_eval.demo.chance import Pixel, Scene, WorldHalf, draw_for, stream
from anymal_eval.demo.clips import Clip, ClipKind
from anymal_eval.demo.motions import Motion
from anymal_eval.demo.pictures import Picture
from anymal_eval.demo.sounds import Sound

Groups = dict[str, dict[str, str]]  # example id -> the groups it counts in

LEAD = 8  # frames before and after the window of a long clip
WINDOW = (1.0, 2.95)  # seconds: frames 8 to 23 of a long clip, the end short of frame 24


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One task's files: how many examples, from which seed, for which split."""

    task: str
    examples: int
    seed: int
    split: WorldHalf

    def official(self, evaluation: str) -> str:
        """The benchmark's own name for the split, given its name for the evaluation one ("val2014" -> "train2014")."""
        if self.split == "eval":
            return evaluation
        return "train2014" if evaluation.endswith("2014") else "train"

    def random(self, index: int) -> Random:
        """The stream of scene ``index``."""
        return stream(self.split, self.task, self.seed, index)

    def scenes(
        self, draw: Callable[[Random], Scene], render: Callable[[Scene], NDArray[Pixel]]
    ) -> Iterator[tuple[int, Random, Scene, NDArray[Pixel]]]:
        """Scenes without end: number, stream, scene, array; their content belongs to this split alone."""
        for index in count():
            random = self.random(index)
            scene, array = draw_for(self.split, partial(draw, random), render)
            yield index, random, scene, array

    def pictures(self, draw: Callable[[Random], Picture]) -> Iterator[tuple[int, Random, Picture, NDArray[np.uint8]]]:
        """Pictures without end."""
        return self.scenes(draw, pictures.render_picture)

    def sounds(self) -> Iterator[tuple[int, Random, Sound, NDArray[np.int16]]]:
        """Sounds without end."""
        return self.scenes(sounds.draw_sound, sounds.render_sound)

    def clips(self, kind: ClipKind | None = None) -> Iterator[tuple[int, Random, Clip, NDArray[np.uint8]]]:
        """Clips without end."""
        return self.scenes(lambda random: clips.draw_clip(random, kind), clips.render_clip)

    def motions(self) -> Iterator[tuple[int, Random, Motion, NDArray[np.float32]]]:
        """Motions without end."""
        return self.scenes(motions.draw_motion, motions.render_motion)


def long_clip(random: Random, clip: NDArray[np.uint8], split: WorldHalf) -> NDArray[np.uint8]:
    """The clip between the end and the start of another one, (32, 64, 64, 3); questions are about ``WINDOW`` alone."""
    _, around = draw_for(split, lambda: clips.draw_clip(random), clips.render_clip)
    return np.concatenate([around[-LEAD:], clip, around[:LEAD]])


def long_motion(random: Random, motion: NDArray[np.float32], split: WorldHalf) -> NDArray[np.float32]:
    """The motion with a second of another one on both sides, (6, 1400); the captions describe seconds 1 to 6."""
    _, around = draw_for(split, lambda: motions.draw_motion(random), motions.render_motion)
    second = motions.RATE
    return np.concatenate([around[:, -second:], motion, around[:, :second]], axis=1)
