"""Does the network see the order of a clip's frames? Questions of the demo world about before and after.

    python -m benchmarks.frame_order [--steps 700] [--seeds 0,1] [--write]

The encoder is ``frames``, whose features carry no time; the projector is ``perceiver``, with a learned time for each
frame and without. Both are trained on the same batches from the same seed, projector alone, under the demo model's
language model. Six minutes on one core for a seed.

Every clip comes twice: forwards and with its frames reversed. Both get the same question about the colour in the
middle of three ("what color are the shapes after they are red"), with the same options, and their right answers
differ. Whoever knows the frames without their order sees one and the same set of frames, question and options twice,
answers the same twice, and is right on at most one of the two: the ceiling is one half, whatever it computes.
``ceiling`` counts it from the examples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor

from anymal_eval import paths
from anymal_eval.anymal import tiny
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.anymal.encoders import EncoderOptions
from anymal_eval.anymal.encoders.frames import Options as FramesOptions
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.anymal.encoders.siglip import Options as ViTOptions
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.anymal.projectors.perceiver import Options as PerceiverOptions
from anymal_eval.anymal.splice import spread
from anymal_eval.anymal.tokenized_conversation import TokenizedConversation, tokenize_conversation
from anymal_eval.checkpoints.loading import Loading, quiet
from anymal_eval.demo.chance import WorldHalf, content_hash, draw_for, stream
from anymal_eval.demo.clips import Clip, draw_clip, render_clip
from anymal_eval.demo.drawing import COLORS, SIDE
from anymal_eval.demo.questions import with_options
from anymal_eval.demo.wordings import ask
from benchmarks.measuring import write_section

FRAMES = 8
OPTIONS = 5  # as in NExT-QA
ROWS, RATE, WARMUP = 32, 3e-3, 0.06
DOCS = Path(__file__).parents[1] / "docs" / "training.md"
ARCHITECTURE = {
    "model_type": "siglip_vision_model", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
    "num_attention_heads": 4, "image_size": SIDE, "patch_size": 32,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question about a clip of (8, 64, 64, 3) frames."""

    frames: NDArray[np.uint8]
    question: str
    options: tuple[str, ...]
    answer: str

    @property
    def unordered(self) -> tuple[object, ...]:
        """All that is known of it without the order of the frames."""
        return (*sorted(content_hash(frame) for frame in self.frames), self.question, *self.options)


def draw(split: WorldHalf, clips: int, seed: int, colors: Sequence[str] = COLORS) -> list[Example]:
    """Two questions about each of so many clips, each for the clip and for its reversal.

    ``colors`` are those of the world. With three of them the options are the two that may be right.
    """
    found = []
    for index in range(clips):
        random = stream(split, "frame order", seed, index)
        clip, array = draw_for(split, partial(_clip, random, colors), render_clip)
        frames = array[pick(len(array), FRAMES)]
        first, middle, last = clip.colors
        others = tuple(color for color in colors if color not in clip.colors)
        for topic, answers in (("next color after", (last, first)), ("next color before", (first, last))):
            text, _ = ask(random, topic, split, color=middle)
            rest = tuple(random.sample(others, min(OPTIONS - 2, len(others))))
            options, _ = with_options(random, answers[0], (answers[1], *rest), len(rest) + 2)
            for shown, answer in zip((frames, frames[::-1]), answers, strict=True):
                found.append(Example(frames=shown, question=f"\n{text}", options=options, answer=answer))
    return found


def _clip(random: Random, colors: Sequence[str]) -> Clip:
    clip = draw_clip(random, "color")
    return clip if colors == COLORS else replace(clip, colors=tuple(random.sample(colors, 3)))


def ceiling(examples: Sequence[Example]) -> float:
    """The accuracy of the best answers that depend on the frames without their order, the question and the options.

    For each set of frames with a question it is the most frequent right answer: no such predictor does better, since it
    answers equally wherever these are equal.
    """
    answers: dict[tuple[object, ...], Counter[str]] = {}
    for example in examples:
        answers.setdefault(example.unordered, Counter())[example.answer] += 1
    return sum(max(counted.values()) for counted in answers.values()) / len(examples)


def build(folder: Path, *, times: bool, seed: int) -> AnyMAL:
    """The demo model's language model, a tiny image encoder with fixed random weights, and a fresh projector."""
    torch.manual_seed(seed)
    image = folder / "image"
    if not image.exists():
        with quiet():
            tiny.write_encoder(image, ViTOptions(kind="siglip", path="", architecture=ARCHITECTURE))
    encoder: EncoderOptions = FramesOptions(kind="frames", path=str(image), image="siglip", frames=FRAMES, layer=-1)
    projector = PerceiverOptions(
        kind="perceiver", tokens=8, layers=2, width=96, heads=4, head_size=24, frames=FRAMES if times else 0
    )
    config = AnyMALConfig(
        llm=LLMConfig(path=str(paths.demo_model().parent / "llm")),
        modalities={"video": ModalityConfig(encoder=encoder, projector=projector)},
    )
    torch.manual_seed(seed)
    network = create(config, Loading())
    network.requires_grad_(False)
    network.projectors.requires_grad_(True)
    return network


def encoded(network: AnyMAL, examples: Sequence[Example]) -> list[Tensor]:
    """(n, e) features of each example's clip; a clip of two questions is encoded once."""
    found: dict[str, Tensor] = {}
    for example in examples:
        key = content_hash(example.frames)
        if key not in found:
            with torch.no_grad():
                (found[key],) = network.encode("video", [network.preprocess("video", example.frames)])
    return [found[content_hash(example.frames)] for example in examples]


def turns(example: Example) -> tuple[Turn, ...]:
    """The demo protocol's prompt: the clip, then the question."""
    return (Turn(role="user", parts=(Slot(medium="video"), example.question)),)


def tokenized(network: AnyMAL, example: Example) -> TokenizedConversation:
    """The conversation with its answer."""
    answer = Turn(role="assistant", parts=(example.answer,))
    return tokenize_conversation(network.chat, (*turns(example), answer), network.llm.ends)


def train(network: AnyMAL, examples: Sequence[Example], steps: int, seed: int) -> None:
    """Train the projector on the answers."""
    features = encoded(network, examples)
    rows = [tokenized(network, example) for example in examples]
    optimizer = torch.optim.AdamW(network.projectors.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARMUP)
    order = np.random.default_rng(seed)
    network.train()
    for _ in range(steps):
        chosen = order.choice(len(examples), ROWS, replace=False)
        media = network.project("video", [features[at] for at in chosen])
        conversations = [rows[at] for at in chosen]
        loss = network.summed_loss(spread(network.llm, conversations, [[one] for one in media]))
        (loss / sum(one.targets for one in conversations)).backward()
        torch.nn.utils.clip_grad_norm_(network.projectors.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    network.train(False)


def accuracy(network: AnyMAL, examples: Sequence[Example]) -> float:
    """How many answers are the option with the greatest log-probability, by the ranker of evaluation."""
    features, right = encoded(network, examples), 0
    with torch.no_grad():
        for start in range(0, len(examples), ROWS):
            part = examples[start : start + ROWS]
            made = [network.chat.options(turns(example), example.options) for example in part]
            media = network.project("video", features[start : start + ROWS])
            batch = network.rows([prompt for prompt, _ in made], [[one] for one in media])
            for example, scores in zip(part, network.rank(batch, [ids for _, ids in made]), strict=True):
                right += example.options[int(np.argmax(scores))] == example.answer
    return right / len(examples)


def measure(folder: Path, *, times: bool, steps: int, seed: int, clips: tuple[int, int]) -> float:
    """The accuracy on clips of the evaluation split after a training, with the learned times or without."""
    network = build(folder, times=times, seed=seed)
    train(network, draw("train", clips[0], seed), steps, seed)
    return accuracy(network, draw("eval", clips[1], 0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--eval-clips", type=int, default=200)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    examples = draw("eval", given.eval_clips, 0)
    most = ceiling(examples)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in map(int, given.seeds.split(",")):
            made = {}
            for times in (True, False):
                clips = (given.clips, given.eval_clips)
                made[times] = measure(Path(folder), times=times, steps=given.steps, seed=seed, clips=clips)
                print(seed, times, f"{made[times]:.3f}", f"{time.process_time() - started:.0f} s", flush=True)
            rows.append([seed, f"{made[True]:.3f}", f"{made[False]:.3f}", f"{most:.3f}"])
    text = tabulate(rows, headers=["seed", "with times", "without", "ceiling without order"], tablefmt="pipe")
    print(text)
    if given.write:
        write_section("frame order", text, DOCS)


if __name__ == "__main__":
    main()
