"""The AnyMAL network: media -> features -> modality tokens -> places in the prompt -> an answer.

Order of calls: ``preprocess`` and ``chat.prompt`` or ``chat.options`` in any thread; then, in one thread, ``encode``
(each medium once), ``project``, ``rows``, and ``generate`` or ``rank``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval.anymal import encoders, projectors
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.conversation import Chat, Prompt
from anymal_eval.anymal.encoders import Encoder, Medium
from anymal_eval.anymal.encoding import encode_windows
from anymal_eval.anymal.llm import LLM, llm_of_shapes, load_llm
from anymal_eval.anymal.projectors import Projector
from anymal_eval.anymal.splice import Batch, pad, splice
from anymal_eval.anymal.target_loss import target_losses
from anymal_eval.checkpoints.loading import BackboneLoading, Loading
from anymal_eval.errors import BadData, BadDefinition
from anymal_eval.generation import BatchedPrefix, Completion, PrefixKV, memory_guard, prefill, to_device
from anymal_eval.records import Decoding

LORA = "lora"  # the part of a network that its adapters are; the others are the projectors, by medium


class AnyMAL(nn.Module):
    """Frozen encoders, trained projectors and a frozen LLM, with or without adapters.

    Shapes:  w windows · n tokens of a window · e encoder width · k modality tokens · d LLM width
    """

    def __init__(
        self,
        config: AnyMALConfig,
        llm: LLM,
        encoder_of: Mapping[Medium, Encoder],
        projector_of: Mapping[Medium, Projector],
    ) -> None:
        super().__init__()
        self.config = config
        self.llm = llm
        self.encoders = nn.ModuleDict({str(medium): encoder for medium, encoder in encoder_of.items()})
        self.projectors = nn.ModuleDict({str(medium): projector for medium, projector in projector_of.items()})
        self.encoder_calls = 0
        self.train(False)

    @property
    def chat(self) -> Chat:
        """Turns conversations into token ids."""
        return self.llm.chat

    @property
    def accepts(self) -> frozenset[Medium]:
        """The media that it has encoders for."""
        return frozenset(self.config.modalities)

    def encoder(self, medium: Medium) -> Encoder:
        """The encoder of a medium.

        Raises:
            BadData: there is none.
        """
        if medium not in self.encoders:
            raise BadData(f"this network has no encoder for {medium}; it takes {', '.join(sorted(self.encoders))}")
        return cast(Encoder, self.encoders[medium])

    def preprocess(self, medium: Medium, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """Preprocess a decoded array: (w, ...) on the CPU. Safe in any thread.

        Raises:
            BadData: no encoder for this medium. MediaError: not this medium's form.
        """
        return self.encoder(medium).preprocess(media, sample_rate)

    def encode(self, medium: Medium, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute the features of media, those of each independently of all others.

        Args:
            medium: selects the encoder.
            inputs: (w_i, ...) each, from ``preprocess``.

        Returns:
            (w_i * n, e) each, on the network's device. On a CPU they are bitwise the same in any batch and with any
            number of threads; see :mod:`anymal_eval.anymal.encoding` for other devices.
        """
        encoder = self.encoder(medium)
        counts = [len(windows) for windows in inputs]
        if not counts:
            return []
        with memory_guard(f"encoding {sum(counts)} windows of {medium}"):
            features, calls = encode_windows(encoder, [window for windows in inputs for window in windows])
        self.encoder_calls += calls
        return [own.flatten(0, 1) for own in torch.split(features, counts)]

    def project(self, medium: Medium, features: Sequence[Tensor]) -> list[Tensor]:
        """Project features to modality tokens.

        Args:
            medium: selects the projector.
            features: (n_i, e) each. Those of one length are batched, so that none is padded.

        Returns:
            (k_i, d) each.
        """
        self.encoder(medium)
        projector = self.projectors[medium]
        precision = next((value.dtype for value in projector.parameters()), torch.float32)
        out: dict[int, Tensor] = {}
        for length in sorted({len(one) for one in features}):
            rows = [index for index, one in enumerate(features) if len(one) == length]
            stacked = torch.stack([to_device(features[index], self.llm.device, precision) for index in rows])
            out.update(zip(rows, projector(stacked), strict=True))
        return [out[index] for index in range(len(features))]

    def rows(
        self,
        prompts: Sequence[Prompt],
        media: Sequence[Sequence[Tensor]],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Batch:
        """Embed prompts as a left-padded batch.

        Args:
            prompts: b of them.
            media: for each its modality tokens (k_i, d), in the order of its places.
            answers: for training, the ids that each row ends with and that carry the loss.

        Raises:
            BadData: the counts do not agree.
        """
        if len(prompts) != len(media):
            raise BadData(f"{len(prompts)} prompts and {len(media)} lists of media")
        rows = [splice(self.llm, prompt, given) for prompt, given in zip(prompts, media, strict=True)]
        if answers is None:
            return pad(rows)
        ends = [self.llm.embed(answer) for answer in answers]
        return pad([torch.cat(pair) for pair in zip(rows, ends, strict=True)], answers)

    def prefill(self, batch: Batch) -> PrefixKV:
        """Compute rows once, as prefixes of other rows."""
        self.llm.check_context(batch.lengths, 0)
        return prefill(self.llm.model, batch.inputs)

    def generate(self, batch: Batch, decoding: Decoding, prefix: BatchedPrefix | None = None) -> list[Completion]:
        """Generate an answer to every row; see :meth:`anymal_eval.generation.TextGenerator.generate`.

        Raises:
            ContextTooLong: a row does not fit. BadLogits: its logits hold NaN or infinity.
        """
        self.llm.check_context(batch.lengths, decoding.max_new_tokens)
        return self.llm.generator.generate(batch.inputs, self.with_own_stop(decoding), prefix)

    def with_own_stop(self, decoding: Decoding) -> Decoding:
        """A decoding that also ends at the texts by which the network was trained to end its answers."""
        own = tuple(text for text in self.config.llm.stop or () if text not in decoding.stop)
        return replace(decoding, stop=(*decoding.stop, *own)) if own else decoding

    def rank(
        self, batch: Batch, options: Sequence[Sequence[Sequence[int]]], prefix: BatchedPrefix | None = None
    ) -> list[tuple[float, ...]]:
        """Score every row's options; see :meth:`anymal_eval.generation.OptionRanker.rank`.

        Raises:
            BadData: a row without options, or an option without tokens.
            ContextTooLong: a row does not fit. BadLogits: its logits hold NaN or infinity.
        """
        if len(options) != len(batch.mask) or any(not option for row in options for option in row):
            raise BadData("every row needs its options, and every option at least one token")
        self.llm.check_context(batch.lengths, max((len(option) for row in options for option in row), default=0))
        return self.llm.ranker.rank(batch.inputs, options, prefix)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (b, t, v), with gradients."""
        out: Tensor = self.llm(
            inputs_embeds=batch.embeds, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
        ).logits
        return out

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the targets: the loss of AnyMAL is that of the answers' tokens alone."""
        return self.target_losses(batch).mean()

    def summed_loss(self, batch: Batch) -> Tensor:
        """The same summed over the targets, for a mean over several batches."""
        return self.target_losses(batch).sum()

    def target_losses(self, batch: Batch) -> Tensor:
        """The cross-entropy of each target: (n,) in float32, row by row, with gradients."""
        if batch.targets is None or batch.predicting is None:
            raise BadData("a loss needs rows with answers")
        inputs = {"inputs_embeds": batch.embeds, "position_ids": batch.positions}
        if batch.attention is not None:
            inputs["attention_mask"] = batch.attention
        targets = batch.targets.flatten()[batch.predicting + 1]
        return target_losses(self.llm.model, inputs, batch.predicting, targets)

    def train(self, mode: bool = True) -> "AnyMAL":
        """Set the mode of the trained parts alone: frozen parts keep dropout off."""
        super().train(mode)
        self.encoders.eval()
        if not any(parameter.requires_grad for parameter in self.llm.parameters()):
            self.llm.eval()
        return self


def build_encoders(config: AnyMALConfig, loading: BackboneLoading) -> dict[Medium, Encoder]:
    """The encoder of every medium.

    Raises:
        BadDefinition: an encoder takes another medium.
    """
    found = {medium: encoders.build(part.encoder, loading) for medium, part in config.modalities.items()}
    for medium, encoder in found.items():
        if encoder.medium != medium:
            kind = config.modalities[medium].encoder.kind
            raise BadDefinition(f"modalities.{medium}: the encoder {kind} takes {encoder.medium}")
    return found


def build_projectors(config: AnyMALConfig, encoder_of: Mapping[Medium, Encoder], width: int) -> dict[Medium, Projector]:
    """A new projector for every medium, from its encoder's width to the language model's."""
    parts = config.modalities.items()
    return {medium: projectors.build(part.projector, encoder_of[medium].width, width) for medium, part in parts}


def create_encoders(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """A network for ``preprocess`` and ``encode``: its LLM and projectors have shapes but no weights.

    Args:
        config: its parts; of the language model ``config.json`` alone is read.
        loading: precision and device.

    Raises:
        BadCheckpoint: an encoder is missing, incomplete or not in safetensors.
    """
    llm = llm_of_shapes(config.llm, loading)
    encoder_of = build_encoders(config, loading.backbone)
    with torch.device("meta"):
        network = AnyMAL(config, llm, encoder_of, build_projectors(config, encoder_of, llm.width))
    network.encoders.to(loading.device)
    return network


def create(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """A network with loaded frozen parts and new projectors and adapters.

    Args:
        config: its parts.
        loading: precision, quantization, device.

    Raises:
        BadCheckpoint: a backbone is missing, incomplete or not in safetensors.
    """
    llm = load_llm(config.llm, loading, list(config.modalities), config.lora)
    encoder_of = build_encoders(config, loading.backbone)
    network = AnyMAL(config, llm, encoder_of, build_projectors(config, encoder_of, llm.width))
    # The LLM is in its place and must not move, or will be sharded onto the device.
    if loading.quantize != "none" or loading.device_map is not None or loading.sharded:
        place = loading.device if loading.sharded else llm.device
        network.encoders.to(place)
        network.projectors.to(place)
        return network
    return network.to(loading.device)


def part_of(name: str) -> str:
    """The part that a weight belongs to; empty for one that is always frozen.

    >>> part_of("network.projectors.image.proj.weight"), part_of("network.llm.model.0.q_proj.lora_A.default.weight")
    ('image', 'lora')
    """
    if "lora_" in name:
        return LORA
    return name.partition("projectors.")[2].partition(".")[0]


def to_bf16(network: AnyMAL) -> None:
    """Turn the trained weights, which take gradients, into bf16."""
    for value in network.parameters():
        if value.requires_grad:
            value.data = value.data.to(torch.bfloat16)
