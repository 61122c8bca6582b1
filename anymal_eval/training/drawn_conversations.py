"""Conversations of drawn tokens, for self-tests on a language model itself: of packing, and of compiled layers."""

import torch

from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.tokenized_conversation import TokenizedConversation


class DrawnConversations:
    """Draws from a language model's vocabulary, the same tokens in every process."""

    def __init__(self, network: AnyMAL) -> None:
        """``network``: whose language model takes the tokens."""
        self._vocabulary = int(network.llm.model.get_input_embeddings().weight.shape[0])
        self._generator = torch.Generator().manual_seed(0)

    def draw(self, length: int) -> TokenizedConversation:
        """A conversation of so many tokens; all but the first are targets."""
        ids = torch.randint(self._vocabulary, (length,), generator=self._generator).tolist()
        return TokenizedConversation(prompt=Prompt(pieces=(tuple(ids),)), learned=((False, *[True] * (length - 1)),))
