"""A computed prefix: its KV cache can be used any number of times and is never changed.

Shapes:  b rows · t positions · d width · v vocabulary
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anymal_eval.anymal.llm import LLM
from anymal_eval.anymal.splice import Batch, pad
from anymal_eval.checkpoints.loading import library


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Rows with their keys and values.

    Attributes:
        batch: what was computed.
        logits: (b, v), what comes next.
    """

    batch: Batch
    logits: Tensor
    _cache: Any

    @property
    def mask(self) -> Tensor:
        """(b, t)."""
        return self.batch.mask

    @property
    def rows(self) -> int:
        """B."""
        return len(self.batch.mask)

    @property
    def positions(self) -> int:
        """T."""
        return self.batch.mask.shape[1]

    @property
    def nbytes(self) -> int:
        """What the cache takes."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._cache.layers)

    def cache(self, rows: Tensor) -> Any:
        """A cache of the wanted rows (in any order, any number of times) that its user may write to.

        ``index_select`` copies, and the fresh layer objects keep what the user does to himself.
        """
        mine = copy.copy(self._cache)
        mine.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in mine.layers:
            chosen = rows.to(layer.keys.device)  # layers may lie on several devices
            layer.keys = layer.keys.index_select(0, chosen)
            layer.values = layer.values.index_select(0, chosen)
        return mine


def prefill(llm: LLM, batch: Batch) -> Prefix:
    """Compute a batch once, for ``rank`` or for the questions that share it."""
    with torch.no_grad():
        out = llm(
            inputs_embeds=batch.embeds,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=library().DynamicCache(config=llm.model.config),
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefix(batch=batch, logits=out.logits[:, -1], _cache=out.past_key_values)


def extend(prefix: Prefix, rows: list[int], suffixes: list[Tensor]) -> tuple[Prefix, Batch]:
    """Rows that share computed prefixes and go on differently.

    Args:
        prefix: b rows.
        rows: for each new row, which of them it begins with.
        suffixes: (t_i, d) for each new row.

    Returns:
        The prefix row by row, and the whole rows for ``generate``. Shorter suffixes are padded between prefix and
        suffix; positions count what is there, so the padding is not noticed.
    """
    chosen = torch.tensor(rows, device=prefix.mask.device)
    tail = pad(suffixes)
    head = Batch(embeds=prefix.batch.embeds[chosen], mask=prefix.mask[chosen])
    whole = Batch(embeds=torch.cat([head.embeds, tail.embeds], dim=1), mask=torch.cat([head.mask, tail.mask], dim=1))
    return Prefix(batch=head, logits=prefix.logits[chosen], _cache=prefix.cache(chosen)), whole


def resume(llm: LLM, prefix: Prefix, whole: Batch) -> Prefix:
    """The whole rows of :func:`extend`, computed from the prefix on; for ``rank``.

    Args:
        llm: the language model.
        prefix: the first positions of each row.
        whole: the rows.
    """
    with torch.no_grad():
        out = llm(
            inputs_embeds=whole.embeds[:, prefix.positions :],
            attention_mask=whole.mask,
            position_ids=whole.positions[:, prefix.positions :],
            past_key_values=prefix.cache(torch.arange(prefix.rows, device=whole.mask.device)),
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefix(batch=whole, logits=out.logits[:, -1], _cache=out.past_key_values)
