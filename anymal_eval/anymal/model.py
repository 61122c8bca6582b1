"""The AnyMAL network: media -> features -> modality tokens -> a place in the prompt -> an answer.

For the harness the order is: in threads ``preprocess`` and ``chat.prompt`` / ``chat.options``; then, in one thread,
``encode`` (each medium once), ``project``, ``rows``, and ``generate`` or ``rank``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from anymal_eval.anymal import decoding, encoders, prefix, projectors
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.conversation import Chat, Prompt
from anymal_eval.anymal.encoders import Encoder, Medium
from anymal_eval.anymal.llm import LLM, llm_of_shapes, load_llm
from anymal_eval.anymal.projectors import Projector
from anymal_eval.anymal.splice import IGNORED, Batch, pad, splice
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import BadData
from anymal_eval.generation.devices import to_device

_WINDOWS = 32  # through an encoder at once: bounds its activations, not the batch


class AnyMAL(nn.Module):
    """Frozen encoders, projectors, a frozen LLM (perhaps with adapters).

    Shapes:  w windows · n tokens of a window · e encoder width · k modality tokens · d LLM width
    """

    def __init__(
        self, config: AnyMALConfig, llm: LLM, coders: Mapping[Medium, Encoder], heads: Mapping[Medium, Projector]
    ) -> None:
        super().__init__()
        self.config = config
        self.llm = llm
        self.encoders = nn.ModuleDict({str(medium): coder for medium, coder in coders.items()})
        self.projectors = nn.ModuleDict({str(medium): head for medium, head in heads.items()})
        self.encoder_calls = 0
        self.train(False)

    @property
    def chat(self) -> Chat:
        """Conversations to token ids."""
        return self.llm.chat

    @property
    def accepts(self) -> frozenset[Medium]:
        """The media it has encoders for."""
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
        """A decoded array -> (w, ...) on the CPU. Safe in any thread.

        Raises:
            BadData: no encoder for this medium. MediaError: not this medium's form.
        """
        return self.encoder(medium).preprocess(media, sample_rate)

    def encode(self, medium: Medium, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Frozen features.

        Args:
            medium: which encoder.
            inputs: (w_i, ...) each, from ``preprocess``.

        Returns:
            (w_i * n, e) each, on the network's device.
        """
        encoder = self.encoder(medium)
        counts = [len(windows) for windows in inputs]
        if not counts:
            return []
        stacked = torch.cat(list(inputs))
        device = next(encoder.parameters()).device
        with torch.no_grad(), decoding.memory_guard(f"encoding {len(stacked)} windows of {medium}"):
            parts = []
            for chunk in torch.split(stacked, _WINDOWS):
                self.encoder_calls += 1
                parts.append(encoder(to_device(chunk, device)))
        return [features.flatten(0, 1) for features in torch.split(torch.cat(parts), counts)]

    def project(self, medium: Medium, features: Sequence[Tensor]) -> list[Tensor]:
        """Modality tokens.

        Args:
            medium: which projector.
            features: (n_i, e) each. Those of one length go together, so none is ever padded.

        Returns:
            (k_i, d) each.
        """
        self.encoder(medium)
        projector = self.projectors[medium]
        out: dict[int, Tensor] = {}
        for length in sorted({len(one) for one in features}):
            rows = [index for index, one in enumerate(features) if len(one) == length]
            stacked = torch.stack([to_device(features[index], self.llm.device, torch.float32) for index in rows])
            out.update(zip(rows, projector(stacked), strict=True))
        return [out[index] for index in range(len(features))]

    def rows(
        self,
        prompts: Sequence[Prompt],
        media: Sequence[Sequence[Tensor]],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Batch:
        """A left-padded batch.

        Args:
            prompts: b of them.
            media: for each its modality tokens (k_i, d), in the order of its places.
            answers: where given, the ids each row ends with, to be learned.

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

    def prefill(self, batch: Batch) -> prefix.Prefix:
        """Compute rows once; see :mod:`anymal_eval.anymal.prefix` for sharing them."""
        decoding.check_context(self.llm, batch.lengths, 0)
        with decoding.memory_guard(f"prefilling {len(batch.mask)} rows"):
            return prefix.prefill(self.llm, batch)

    def generate(
        self, batch: Batch, how: decoding.Decoding, shared: prefix.Prefix | None = None
    ) -> list[decoding.Generation]:
        """Let every row go on; see :func:`anymal_eval.anymal.decoding.generate`."""
        return decoding.generate(self.llm, batch, how, shared)

    def rank(
        self, batch: Batch, options: Sequence[Sequence[Sequence[int]]], shared: prefix.Prefix | None = None
    ) -> list[tuple[float, ...]]:
        """Score every row's options; see :func:`anymal_eval.anymal.decoding.rank`."""
        return decoding.rank(self.llm, batch, options, shared)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (b, t, v), with gradients."""
        out: Tensor = self.llm(
            inputs_embeds=batch.embeds, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        ).logits
        return out

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the rows' targets alone: AnyMAL's loss, the answer's tokens and nothing else."""
        if batch.targets is None:
            raise BadData("a loss needs rows with answers")
        logits = self(batch)[:, :-1].flatten(0, 1)
        return cross_entropy(logits.float(), batch.targets[:, 1:].flatten(), ignore_index=IGNORED)

    def summed_loss(self, batch: Batch) -> Tensor:
        """The same, summed over the targets: who adds up batches divides by the number of all of them."""
        if batch.targets is None:
            raise BadData("a loss needs rows with answers")
        logits = self(batch)[:, :-1].flatten(0, 1)
        wanted = batch.targets[:, 1:].flatten()
        return cross_entropy(logits.float(), wanted, ignore_index=IGNORED, reduction="sum")

    def train(self, mode: bool = True) -> "AnyMAL":
        """Only what is trained gets into training mode: frozen parts keep their dropout off."""
        super().train(mode)
        self.encoders.eval()
        if not any(parameter.requires_grad for parameter in self.llm.parameters()):
            self.llm.eval()
        return self


def create_encoders(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """A network that can ``preprocess`` and ``encode``: its LLM and its projectors are shapes without numbers.

    Args:
        config: what it is made of; of the language model only ``config.json`` is read.
        loading: precision and device.

    Raises:
        BadCheckpoint: an encoder that is not there, not whole or not in safetensors.
    """
    llm = llm_of_shapes(config.llm, loading)
    coders = {medium: encoders.build(part.encoder, loading.backbone) for medium, part in config.modalities.items()}
    with torch.device("meta"):
        heads = {
            medium: projectors.build(part.projector, coders[medium].width, llm.width)
            for medium, part in config.modalities.items()
        }
    network = AnyMAL(config, llm, coders, heads)
    network.encoders.to(loading.device)
    return network


def create(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """A network whose frozen parts are loaded and whose projectors (and adapters) are fresh.

    Args:
        config: what it is made of.
        loading: precision, quantization, device.

    Raises:
        BadCheckpoint: a backbone that is not there, not whole or not in safetensors.
    """
    llm = load_llm(config.llm, loading, list(config.modalities), config.lora)
    coders = {medium: encoders.build(part.encoder, loading.backbone) for medium, part in config.modalities.items()}
    heads = {
        medium: projectors.build(part.projector, coders[medium].width, llm.width)
        for medium, part in config.modalities.items()
    }
    network = AnyMAL(config, llm, coders, heads)
    if loading.quantize != "none" or loading.device_map is not None:  # the LLM is where it belongs, not to be moved
        network.encoders.to(llm.device)
        network.projectors.to(llm.device)
        return network
    return network.to(loading.device)
