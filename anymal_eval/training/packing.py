"""Whether a language model tells packed conversations apart: several in one row, each attending to itself alone.

A class of transformers builds the block-diagonal mask from positions that start anew. A class of its own may ignore
them, and one that carries a state from token to token has no mask at all: so it is tried, on the model itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import bins, spread
from anymal_eval.anymal.tokenized_conversation import TokenizedConversation, draw_conversation
from anymal_eval.generation import memory_guard

NOT_PACKED = "--pack: this language model mixes conversations that share a row; each keeps a row of its own"
_LENGTHS = (13, 7, 5, 3)  # two rows of two, the second with padding
_WITHIN = {torch.float32: 1e-5}  # of the loss of each token; a shorter type rounds other sums otherwise
_WITHIN_SHORT = 0.05


def can_pack(network: AnyMAL) -> bool:
    """Whether packed losses are those of rows of their own, and no conversation sees another one of its row.

    Raises:
        OutOfMemory: for two rows of 20 tokens.
    """
    vocabulary, generator = network.llm.vocabulary, torch.Generator().manual_seed(0)
    draws = [draw_conversation(vocabulary, length, generator) for length in _LENGTHS]
    order = [number for each in bins(_LENGTHS) for number in each]
    first = [0, *torch.tensor([_LENGTHS[number] - 1 for number in order]).cumsum(0).tolist()]
    with torch.no_grad(), memory_guard("testing whether conversations can share a row (--pack)"):
        alone = torch.cat([_losses(network, [draws[number]], packed=False) for number in order])
        packed = _losses(network, draws, packed=True)
        # The first of the last row's conversations with other words: the second must not change by a bit.
        other = bins(_LENGTHS)[-1][0]
        draws[other] = draw_conversation(vocabulary, _LENGTHS[other], generator)
        changed = _losses(network, draws, packed=True)
    within = _WITHIN.get(network.llm.dtype, _WITHIN_SHORT)
    own = slice(first[order.index(other)], first[order.index(other) + 1])
    packed_rest, changed_rest = packed.clone(), changed.clone()
    packed_rest[own] = changed_rest[own] = 0.0
    return torch.allclose(packed, alone, rtol=within, atol=within) and torch.equal(packed_rest, changed_rest)


def _losses(network: AnyMAL, draws: Sequence[TokenizedConversation], *, packed: bool) -> Tensor:
    """The loss of every token but the first of each conversation."""
    return network.target_losses(spread(network.llm, draws, [()] * len(draws), packed=packed))
