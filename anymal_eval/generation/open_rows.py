"""The rows of a batch that are still being decoded.

A row that ends leaves at once, so that a step computes the others alone. The last row moves into its place in the
cache: that copies one row, whatever the size of the batch. Other rows may join after their prompts.

Shapes:  b open rows · t positions · v vocabulary
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.prefix_kv import forward_parameters

if TYPE_CHECKING:
    from torch import Tensor


class OpenRows:
    """The KV cache, mask, positions and next logits of rows after their prompts.

    Attributes:
        rows: the number of each, in the order of the cache.
        logits: (b, v) in float32, of each row's last position.
    """

    def __init__(self, model: Any, cache: Any, mask: Tensor, logits: Tensor, rows: Sequence[int]) -> None:
        """Take over a cache after the prompts.

        Args:
            model: a causal language model.
            cache: of :mod:`anymal_eval.generation.growing_kv`, with no other user.
            mask: (b, t), which of its positions are tokens.
            logits: (b, v) of each prompt's last position.
            rows: b numbers, each of one row only.
        """
        self._model, self._cache, self._mask = model, cache, mask
        self._is_padded = not bool(mask.all())
        self._positions = mask.sum(dim=1, keepdim=True) - 1  # (b, 1), of the last token
        self._takes_positions = "position_ids" in forward_parameters(model)
        self.rows, self.logits = list(rows), logits
        self._has_left = False  # since the cache was made

    def step(self, tokens: Tensor) -> None:
        """Append one token to each row: (b,) ids."""
        import torch

        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        self._positions = self._positions + 1
        given: dict[str, Any] = {"position_ids": self._positions} if self._takes_positions else {}
        out = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask if self._is_padded else None,  # without a mask, attention takes a faster way
            past_key_values=self._cache,
            use_cache=True,
            **given,
        )
        self.logits = out.logits[:, -1].to(copy=True, dtype=torch.float32, device=tokens.device)

    def drop(self, ended: Collection[int]) -> list[int]:
        """Let rows leave, by their places in :attr:`rows`; their next logits are no longer defined.

        Returns:
            For each place that is left, the place where its row was.
        """
        import torch

        from anymal_eval.generation.growing_kv import keep_rows

        left = len(self.rows) - len(ended)
        moving = iter(place for place in range(left, len(self.rows)) if place not in ended)
        order = [next(moving) if place in ended else place for place in range(left)]
        index = torch.tensor(order, device=self._mask.device)
        self.rows = [self.rows[place] for place in order]
        self._positions, self._mask = self._positions[index], self._mask[index]
        # Positions before the first token of all rows that are left are of use to none.
        unused = int(self._mask.any(dim=0).int().argmax()) if self._is_padded else 0
        self._mask = self._mask[:, unused:]
        self._is_padded = self._is_padded and not bool(self._mask.all())
        keep_rows(self._cache, order, unused)
        self._has_left = True
        return order

    def compact(self, more: int) -> None:
        """Free the memory of the rows that left. ``more``: tokens that any row will still generate, at most."""
        from anymal_eval.generation.growing_kv import join_rows

        if self._has_left:
            join_rows(self._cache, [], self._mask.shape[1] + more)
            self._has_left = False

    def join(self, others: Sequence[OpenRows], more: int) -> None:
        """Let other rows of the same model join behind these; the shorter ones are padded on the left.

        Args:
            others: are used up.
            more: tokens that any of them will still generate, at most.
        """
        import torch
        from torch.nn.functional import pad

        from anymal_eval.generation.growing_kv import join_rows

        every = [self, *others]
        length = max(each._mask.shape[1] for each in every)
        self._mask = torch.cat([pad(each._mask, (length - each._mask.shape[1], 0)) for each in every])
        self._is_padded = not bool(self._mask.all())
        self._positions = torch.cat([each._positions for each in every])
        self.logits = torch.cat([each.logits for each in every])
        self.rows = [row for each in every for row in each.rows]
        self._has_left = False
        join_rows(self._cache, [other._cache for other in others], length + more)
