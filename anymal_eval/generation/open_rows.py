"""The rows of a batch that are still being decoded.

A row that ends leaves at once, so that a step computes the others alone. The last row moves into its place in the
cache: that copies one row, whatever the size of the batch.

Shapes:  b open rows · t positions · v vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.logits import Traces, refuse_broken
from anymal_eval.generation.prefix_kv import forward_parameters
from anymal_eval.generation.sampling import SamplingProcessor

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.records import Decoding


class OpenRows:
    """The KV cache, mask and positions of rows that were prefilled together.

    Attributes:
        rows: which rows of the batch they are, in the order of the cache.
    """

    def __init__(self, model: Any, cache: Any, mask: Tensor) -> None:
        """Take over a cache after the prompts.

        Args:
            model: a causal language model.
            cache: of :mod:`anymal_eval.generation.growing_kv`, with no other user.
            mask: (b, t), which of its positions are tokens.
        """
        self._model, self._cache, self._mask = model, cache, mask
        self._is_padded = not bool(mask.all())
        self._positions = mask.sum(dim=1, keepdim=True) - 1  # (b, 1), of the last token
        self._takes_positions = "position_ids" in forward_parameters(model)
        self.rows = list(range(len(mask)))

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: (b,) ids -> (b, v) logits in float32."""
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
        logits: Tensor = out.logits[:, -1].to(copy=True, dtype=torch.float32, device=tokens.device)
        return logits

    def drop(self, ended: Collection[int]) -> list[int]:
        """Let rows leave, by their places in :attr:`rows`.

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
        return order


class NextTokens:
    """Chooses the next token of each row: the likeliest, or a sample."""

    def __init__(
        self, decoding: Decoding, end_ids: Collection[int], names: Sequence[str], traces: Traces | None = None
    ) -> None:
        """Prepare the choice.

        Args:
            decoding: its temperature, top_p, seed and least number of tokens.
            end_ids: the ids that end an answer.
            names: the ids of the requests of all rows of the batch.
            traces: take every step.
        """
        self._least, self._ends, self._names = decoding.min_new_tokens, sorted(end_ids), names
        self._traces = traces
        self._sampling = SamplingProcessor(decoding, names) if decoding.temperature > 0 else None

    def __call__(self, logits: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """(b, v) logits -> (b,) ids.

        Args:
            logits: of open rows; they are changed.
            rows: which rows of the batch they are.
            lengths: how many tokens each has generated so far.

        Raises:
            BadLogits: names the rows whose logits hold NaN or infinity.
        """
        import torch

        refuse_broken(logits, rows, len(self._names))
        if self._traces is not None:
            self._traces.add([self._names[row] for row in rows], logits)
        early = [place for place, length in enumerate(lengths) if length < self._least]
        if early and self._ends:
            logits[torch.tensor(early)[:, None], torch.tensor(self._ends)] = -torch.inf
        return (logits if self._sampling is None else self._sampling.of_rows(logits, rows)).argmax(dim=-1)


def decode(
    open_rows: OpenRows, logits: Tensor, choose: NextTokens, ended: Callable[[int, list[int]], bool]
) -> list[list[int]]:
    """Decode rows until the last one ends.

    Args:
        open_rows: b rows after their prompts.
        logits: (b, v) of each prompt's last position.
        choose: the next tokens.
        ended: whether a row of the batch is done after these generated ids; called after each of them.

    Returns:
        For each row the generated ids, with the token that ended them.
    """
    found: list[list[int]] = [[] for _ in open_rows.rows]
    while True:
        tokens = choose(logits, open_rows.rows, [len(found[row]) for row in open_rows.rows])
        done = set()
        for place, (row, token) in enumerate(zip(open_rows.rows, tokens.tolist(), strict=True)):
            found[row].append(token)
            if ended(row, found[row]):
                done.add(place)
        if len(done) == len(open_rows.rows):
            return found
        if done:
            tokens = tokens[open_rows.drop(done)]
        logits = open_rows.step(tokens)
