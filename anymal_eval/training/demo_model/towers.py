"""The demo model's four encoders, each pre-trained alone to predict the canonical caption, then frozen.

A temporary head predicts all words of a caption in parallel, one slot per word: a canonical caption is a function of
the scene, so no autoregressive decoder is needed.

Shapes:  b scenes · n tokens · e encoder width · s slots · v words
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.anymal.encoders.imu2clip import IMU2CLIP
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.demo import Pair
from anymal_eval.records import MediaKind
from anymal_eval.training.demo_model.optimizer import Schedule
from anymal_eval.training.demo_model.recipe import Course

END = "."
# The demo world's sounds are 8 kHz; at the published 48 kHz five in six of the mel bins would be empty.
HEARING = {
    "sampling_rate": 8000,
    "fft_window_size": 512,
    "hop_length": 64,
    "frequency_min": 0,
    "frequency_max": 4000,
    "padding": "pad",
}
HEAD_WIDTH, HEAD_LAYERS, HEADS = 128, 2, 4
IGNORED = -100


class Captioner(nn.Module):
    """An encoder with the temporary head."""

    def __init__(self, encoder: Encoder, slots: int, words: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.input = nn.Linear(encoder.width, HEAD_WIDTH)
        self.slot_embeds = nn.Parameter(torch.randn(slots, HEAD_WIDTH) * 0.5)
        layer = nn.TransformerDecoderLayer(
            HEAD_WIDTH, HEADS, 2 * HEAD_WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, HEAD_LAYERS, norm=nn.LayerNorm(HEAD_WIDTH))
        self.head = nn.Linear(HEAD_WIDTH, words)

    def forward(self, windows: Tensor) -> Tensor:
        """(b, ...) windows -> (b, s, v) logits."""
        seen = self.input(self.encoder(windows))
        out: Tensor = self.head(self.layers(self.slot_embeds.expand(len(windows), -1, -1), seen))
        return out


class Captions:
    """Canonical captions as slots."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        split = [[*pair.captions[0].split(), END] for pair in pairs]
        self.words = sorted({word for caption in split for word in caption})
        place = {word: index for index, word in enumerate(self.words)}
        self.slots = max(map(len, split))
        self.targets = torch.full((len(split), self.slots), IGNORED)
        for row, caption in enumerate(split):
            self.targets[row, : len(caption)] = torch.tensor([place[word] for word in caption])


def inputs_of(encoder: Encoder, pairs: Sequence[Pair]) -> Tensor:
    """Every scene as the encoder's first window, (b, ...)."""
    found = []
    for pair in pairs:
        array = pair.array
        if pair.kind == "audio":
            array = array.astype(np.float32) / 32768
        found.append(encoder.preprocess(array, pair.rate or None)[0])
    return torch.stack(found)


def train(
    config: AnyMALConfig,
    kind: MediaKind,
    pairs: Sequence[Pair],
    course: Course,
    log: Callable[[int, float], None],
) -> None:
    """Pre-train one encoder and write it to its path in ``config``."""
    torch.manual_seed(0)
    options = config.modalities[kind].encoder
    tiny.write_encoder(Path(options.path), options, **(HEARING if kind == "audio" else {}))
    encoder = encoders.build(options, BackboneLoading())
    captions = Captions(pairs)
    inputs = inputs_of(encoder, pairs)
    network = Captioner(encoder, captions.slots, len(captions.words))
    network.requires_grad_(True).train()
    schedule = Schedule(network, rate=course.rate, steps=course.steps)
    for step in range(course.steps):
        rows = torch.randint(len(pairs), (course.rows,))
        logits = network(inputs[rows])
        loss = cross_entropy(logits.flatten(0, 1), captions.targets[rows].flatten(), ignore_index=IGNORED)
        schedule.step(loss)
        log(step, loss.item())
    _save(encoder.eval(), Path(options.path))


def _save(encoder: Encoder, path: Path) -> None:
    if isinstance(encoder, IMU2CLIP):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, path)
    else:
        encoder.get_submodule("model").save_pretrained(path, safe_serialization=True)  # type: ignore[operator]
