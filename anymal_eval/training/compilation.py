"""Compiles the layers of a language model for training, and compares them with the layers as they were.

Compiled code may compute in another order, and may be wrong; a backend may not build it at all. So losses and gradients
of some rows of several lengths are compared before the first step, without dropout, and a difference ends the training.
"""

from dataclasses import replace

import torch
from torch import Tensor

from anymal_eval.anymal.llm import layers_of
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import spread
from anymal_eval.anymal.tokenized_conversation import draw_conversation
from anymal_eval.errors import OutOfMemory, WrongUse
from anymal_eval.generation import compile_fault

BACKEND = "inductor"
_LENGTHS = ((13, 7), (6, 11, 4))  # batches of other shapes: code for one shape alone would be built again and again
_WITHIN = {torch.float32: 1e-4}  # of a loss, and of the largest gradient; a shorter type rounds other sums otherwise
_WITHIN_SHORT = 0.05


def compile_layers(network: AnyMAL) -> None:
    """Compile each layer of the language model, in place; the names of its weights stay.

    Raises:
        WrongUse: it has no layers, they cannot be compiled here, or they compute something else.
        OutOfMemory: while they are compared.
    """
    from torch._dynamo.exc import TorchDynamoException  # not at the start of each training

    before = _computed(network)
    for layer in layers_of(network.llm.model, "--compile"):
        layer.compile(backend=BACKEND, dynamic=True)
    try:
        after = _computed(network)
    except torch.OutOfMemoryError:
        raise OutOfMemory("--compile: no memory for a row of 13 tokens: leave it out") from None
    except TorchDynamoException as error:  # also what the backend, or its compiler, raises
        why = compile_fault(error)
        raise WrongUse(f"--compile: torch cannot compile this language model here: {why}; leave it out") from error
    within = _WITHIN.get(network.llm.dtype, _WITHIN_SHORT)
    for old, new in zip(before, after, strict=True):
        difference = float((new - old).abs().max() / old.abs().max().clamp(min=1e-12))
        if not difference <= within:
            raise WrongUse(f"--compile: the compiled layers compute something else, by {difference:.2g}; leave it out")


def _computed(network: AnyMAL) -> list[Tensor]:
    """The losses of some rows, and the gradients of their embeddings."""
    vocabulary, generator = network.llm.vocabulary, torch.Generator().manual_seed(0)
    found = []
    for lengths in _LENGTHS:
        conversations = [draw_conversation(vocabulary, length, generator) for length in lengths]
        rows = spread(network.llm, conversations, [()] * len(lengths))
        embeds = rows.embeds.detach().requires_grad_()
        losses = network.target_losses(replace(rows, embeds=embeds))
        found += [losses.detach(), *torch.autograd.grad(losses.sum(), [embeds])]
    return [each.float() for each in found]
