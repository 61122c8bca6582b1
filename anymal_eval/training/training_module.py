"""The network as the module that a trainer wraps: from a batch to its summed loss.

Shapes:  k modality tokens · d LLM width
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from anymal_eval.anymal.llm import recompute_activations
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import IGNORED, spread
from anymal_eval.anymal.splice import Batch as Rows
from anymal_eval.training.batches import Batch


class LossesByKind:
    """The losses of targets since the last line of the log, by the media of their conversations.

    Attributes:
        sums: the sum and the number of targets, by kind: ``image``, ``audio+image``, ``text``; 0 of a kind that came
            before.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor | float, Tensor | int]] = {}

    def add(self, losses: Tensor, owners: Tensor | None, kinds: Sequence[str]) -> None:
        """Add a batch's.

        Args:
            losses: (n,), one for each target.
            owners: (n,), the conversation of each.
            kinds: of each conversation.
        """
        owners = None if owners is None else owners.to(losses.device)
        for kind in dict.fromkeys(kinds):
            own = torch.tensor([each == kind for each in kinds], device=losses.device)[owners]
            total, count = self.sums.get(kind, (0.0, 0))
            # Summed where they are: a number for the CPU would wait for the device.
            self.sums[kind] = (total + (losses * own).sum(), count + own.sum())

    def add_numbers(self, numbers: Mapping[str, Sequence[float]]) -> None:
        """Add what :meth:`numbers` returned."""
        for kind, (total, count) in numbers.items():
            before = self.sums.get(kind, (0.0, 0))
            self.sums[kind] = (before[0] + total, before[1] + int(count))

    def restart(self) -> None:
        """Count from 0, with the kinds that there were."""
        self.sums = dict.fromkeys(self.sums, (0.0, 0))

    def numbers(self) -> dict[str, tuple[float, int]]:
        """The same as numbers."""
        return {kind: (float(total), int(count)) for kind, (total, count) in self.sums.items()}


class TrainingModule(nn.Module):
    """Its forward pass is all that a step computes, so that several processes can average its gradients.

    Attributes:
        accepts_loss_kwargs: tells transformers that the loss is divided by the targets of the whole step.
        packed: whether short conversations share a row.
        sharded: whether the language model is sharded: then all processes must run it equally often, in both passes.
        tokens: of text and media that were computed so far, without padding.
    """

    accepts_loss_kwargs = True

    def __init__(self, network: AnyMAL) -> None:
        super().__init__()
        self.network = network
        self.packed = False
        self.sharded = False
        self.kinds = LossesByKind()
        self.tokens = 0
        self._checkpointed: list[nn.Module] = []
        self.training = False  # as the network is; torch starts with True
        placed = getattr(network.llm.model, "hf_device_map", None) or {}
        if len(set(placed.values())) > 1:
            self.hf_device_map = placed  # by which transformers and accelerate leave a network where it is

    def forward(self, batch: Batch) -> Tensor:
        """The summed loss of a batch's targets; a medium that several rows share is projected once."""
        if not batch.conversations:  # no sample could be read
            return self._zero() + self._with_the_others() if self.sharded else self._zero()
        tokens: dict[str, Tensor] = {}
        for medium in self.network.config.modalities:
            keys = [key for key, kind in batch.kinds.items() if kind == medium]
            if keys:
                made = self.network.project(medium, [batch.features[key] for key in keys])
                tokens.update(zip(keys, made, strict=True))
        # Not by the loss: gradient checkpointing lets embeddings of text take gradients, which reach nothing trained.
        reached = any(value.requires_grad for value in itertools.chain(tokens.values(), self.network.llm.parameters()))
        # Made before the layers' pass, so that its gradients come after theirs, as those of the other processes do.
        nothing = None if reached else self._zero()
        media = [[tokens[key] for key in keys] for keys in batch.media]
        self.tokens += sum(one.prompt.text_tokens for one in batch.conversations)
        self.tokens += sum(len(medium) for row in media for medium in row)
        rows = spread(self.network.llm, batch.conversations, media, packed=self.packed)
        if self.sharded and not rows.embeds.requires_grad:  # else nothing trained may stand before the layers
            rows.embeds.requires_grad_()
        losses = self.network.target_losses(rows)
        self.kinds.add(losses.detach(), rows.owners, [kind_of(batch, keys) for keys in batch.media])
        loss = losses.sum().to(self.network.llm.device)  # the head may lie on another one
        return loss if nothing is None else loss + nothing

    def _zero(self) -> Tensor:
        """A zero that reaches all that is trained: its backward pass is the one that other processes wait for."""
        return torch.stack([value.sum() * 0.0 for value in self.parameters() if value.requires_grad]).sum()

    def _with_the_others(self) -> Tensor:
        """A zero, for which the language model runs on a row of two positions."""
        llm = self.network.llm
        embeds = torch.zeros(1, 2, llm.width, dtype=llm.dtype, device=llm.device, requires_grad=True)
        targets = torch.tensor([[IGNORED, 0]], device=llm.device)
        row = Rows(embeds=embeds, mask=torch.ones_like(targets), targets=targets, predicting=targets[0, 1:])
        return self.network.target_losses(row).sum() * 0.0

    def train(self, mode: bool = True) -> "TrainingModule":
        """Set the mode; frozen parts stay in inference mode. Called every step, so it returns early if it can."""
        if mode != self.training:
            self.training = mode
            self.network.train(mode)
            for layer in self._checkpointed:
                layer.training = mode  # of the layer alone: its dropout modules stay off
        return self

    def checkpoint_activations(self) -> None:
        """Recompute each layer of the language model in the backward pass instead of keeping its activations."""
        self._checkpointed = recompute_activations(self.network.llm.model)


def kind_of(batch: Batch, keys: Sequence[str]) -> str:
    """The media of a conversation, by the keys into its batch's features; ``text`` for none."""
    return "+".join(sorted({batch.kinds[key] for key in keys})) or "text"
