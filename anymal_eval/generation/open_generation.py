"""Greedy search or sampling over rows of which some end while others join.

Shapes:  b rows · t positions
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from anymal_eval.generation.next_tokens import NextTokens
from anymal_eval.generation.open_rows import OpenRows

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.generation.logits import Traces
    from anymal_eval.generation.prefix_kv import BatchedPrefix
    from anymal_eval.generation.rows import Row
    from anymal_eval.generation.stop_strings import RowEnd
    from anymal_eval.records import Decoding


class Generating(Protocol):
    """What :class:`anymal_eval.generation.TextGenerator` has, and this needs."""

    model: Any
    end_ids: frozenset[int]
    timings: dict[str, float]
    traces: Traces | None

    def settings(self, **settings: Any) -> Any:
        """Of transformers' ``generate``."""
        ...

    def row_end(self, decoding: Decoding, rows: Sequence[Row]) -> RowEnd | None:
        """What ends a row before its end token and its last token do."""
        ...


@dataclass(frozen=True)
class _Generated:
    """A row that has not ended: the ids so far, and whether it ends after them."""

    ids: list[int]
    has_ended: Callable[[list[int]], bool]


class OpenGeneration:
    """The rows that one decoding is generating.

    What a row is computed with changes its numbers by the order in which a device adds, no more; rotary embeddings that
    depend on the length of the batch are excluded by :meth:`TextGenerator.rows_join`.
    """

    def __init__(self, generator: Generating, decoding: Decoding) -> None:
        """``generator``: a causal model whose cache grows in place. ``decoding``: without beams."""
        self._generator, self._decoding = generator, decoding
        self._choose = NextTokens(decoding, generator.end_ids, generator.traces)
        self._open: OpenRows | None = None
        self._joining: list[OpenRows] = []  # join before the next token
        self._generated: dict[int, _Generated] = {}  # by the row's number
        self._count = 0  # rows that have joined

    @property
    def is_empty(self) -> bool:
        """Whether no row is open."""
        return not self._generated

    def join(self, inputs: Mapping[str, Tensor], prefix: BatchedPrefix | None, rows: Sequence[Row]) -> list[int]:
        """Compute the prompts of b rows, which are generated from now on.

        Args:
            inputs: as of :meth:`TextGenerator.generate`.
            prefix: the computed first positions of the same rows.
            rows: what else is known of them; sampling and thinking need it.

        Returns:
            The rows' numbers.
        """
        from anymal_eval.generation.growing_kv import empty, growing

        started = time.perf_counter()
        if self._open is not None:
            self._open.compact(self._decoding.most_new_tokens)  # the prompts need the memory of the rows that left
        model, mask = self._generator.model, inputs["attention_mask"]
        numbers = range(self._count, self._count + len(mask))
        most = mask.shape[1] + self._decoding.most_new_tokens
        cache = empty(model, most) if prefix is None else growing(prefix.cache(), most)
        wanted = {"max_new_tokens": 1, "use_cache": True, "return_dict_in_generate": True, "output_logits": True}
        settings = self._generator.settings(**wanted)
        out = model.generate(**inputs, generation_config=settings, past_key_values=cache)
        joining = OpenRows(model, cache, mask, out.logits[0], numbers)
        row_end = self._generator.row_end(self._decoding, rows)
        for place, number in enumerate(numbers):
            self._choose.add(number, rows[place].name if rows else "")
            self._generated[number] = _Generated([], self._end(place, row_end))
        self._joining.append(joining)
        self._count += len(mask)
        self._generator.timings["prefilling"] += time.perf_counter() - started
        return list(numbers)

    def advance(self) -> dict[int, list[int]]:
        """Generate one token of every open row.

        Returns:
            By their numbers the rows that ended, with the generated ids, the token that ended them included.
        """
        started = time.perf_counter()
        opened = self._all()
        rows = opened.rows
        lengths = [len(self._generated[row].ids) for row in rows]
        tokens = self._choose(opened.logits, rows, lengths, self._count)
        ended = {}
        for place, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            own = self._generated[row]
            own.ids.append(token)
            if own.has_ended(own.ids):
                ended[place] = row
        if len(ended) == len(rows):
            self._open = None
        else:
            if ended:
                tokens = tokens[opened.drop(ended.keys())]
            opened.step(tokens)
        for row in ended.values():
            self._choose.forget(row)
        self._generator.timings["decoding"] += time.perf_counter() - started
        return {row: self._generated.pop(row).ids for row in ended.values()}

    def _all(self) -> OpenRows:
        """The open rows, with those that join."""
        if self._joining:
            first, *others = ([] if self._open is None else [self._open]) + self._joining
            if others:
                first.join(others, self._decoding.most_new_tokens)
            self._open, self._joining = first, []
        assert self._open is not None  # noqa: S101
        return self._open

    def _end(self, place: int, row_end: RowEnd | None) -> Callable[[list[int]], bool]:
        most, ends = self._decoding.most_new_tokens, self._generator.end_ids
        return lambda ids: ids[-1] in ends or len(ids) >= most or (row_end is not None and row_end(place, ids))
