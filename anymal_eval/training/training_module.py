"""The network as the module that a trainer wraps: from a batch to its summed loss.

Shapes:  k modality tokens · d LLM width
"""

import torch
from torch import Tensor, nn

from anymal_eval.anymal.llm import recompute_activations
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import spread
from anymal_eval.training.batches import Batch


class TrainingModule(nn.Module):
    """Its forward pass is all that a step computes, so that several processes can average its gradients.

    Attributes:
        accepts_loss_kwargs: tells transformers that the loss is divided by the targets of the whole step.
        packed: whether short conversations share a row.
    """

    accepts_loss_kwargs = True

    def __init__(self, network: AnyMAL) -> None:
        super().__init__()
        self.network = network
        self.packed = False
        self._checkpointed: list[nn.Module] = []
        self.training = False  # as the network is; torch starts with True

    def forward(self, batch: Batch) -> Tensor:
        """The summed loss of a batch's targets; a medium that several rows share is projected once."""
        if not batch.conversations:  # no sample could be read
            return torch.stack([value.sum() * 0.0 for value in self.parameters() if value.requires_grad]).sum()
        tokens: dict[str, Tensor] = {}
        for medium in self.network.config.modalities:
            keys = [key for key, kind in batch.kinds.items() if kind == medium]
            if keys:
                made = self.network.project(medium, [batch.features[key] for key in keys])
                tokens.update(zip(keys, made, strict=True))
        media = [[tokens[key] for key in keys] for keys in batch.media]
        return self.network.summed_loss(spread(self.network.llm, batch.conversations, media, packed=self.packed))

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


def enable_gradients(network: AnyMAL, *, adapters: bool) -> list[str]:
    """Let the projectors, and the LoRA adapters if ``adapters``, take gradients, and nothing else.

    Returns:
        The names of what is trained.
    """
    network.requires_grad_(False)
    network.projectors.requires_grad_(True)
    if adapters:
        for name, value in network.llm.model.named_parameters():
            if "lora_" in name:
                value.requires_grad_(True)
    return [name for name, value in network.named_parameters() if value.requires_grad]
