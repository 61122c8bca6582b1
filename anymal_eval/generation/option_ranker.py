"""Option ranking with a language model of transformers: log-probabilities of options as the prompt's continuation.

Log-probabilities are computed in float32 from the last hidden states on, whatever the model's precision.

Shapes:  b rows · t positions · r rows of options · m tokens of the longest option but its last · v vocabulary
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.batches import position_ids
from anymal_eval.generation.logits import check_finite, float32_head
from anymal_eval.generation.memory_forecast import OPTION_ROWS, MemoryForecast
from anymal_eval.generation.prefix_kv import (
    BatchedPrefix,
    forward_parameters,
    last_logits_only,
    positions_of_whole_prompts,
    select_rows,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Options = Sequence[Sequence[int]]


class OptionRanker:
    """Ranks with a causal or encoder-decoder language model, on one thread.

    Attributes:
        one_at_a_time: whether the class computes positions or masks from the whole prompt, so that its cache cannot be
            continued: rows are then ranked singly, and every option as a whole prompt.
        forecast: how many options are scored at once; None for ``OPTION_ROWS``.
        timings: seconds spent so far in ``prefilling`` and ``decoding``.
    """

    def __init__(self, model: Any, pad_id: int, timings: dict[str, float] | None = None) -> None:
        """``timings`` is given where others count in it too."""
        self.model = model
        self.pad_id = pad_id
        self.forecast: MemoryForecast | None = None
        self.timings = timings if timings is not None else dict.fromkeys(("prefilling", "decoding"), 0.0)
        takes_cross_attention = "cross_attention_mask" in forward_parameters(model)
        self.one_at_a_time = positions_of_whole_prompts(model) or takes_cross_attention

    def rank(
        self, inputs: Mapping[str, Tensor], options: Sequence[Options], prefix: BatchedPrefix | None = None
    ) -> list[tuple[float, ...]]:
        """Sum the log-probabilities of each option's tokens.

        The prompts are computed once. The first token of each option is read from their logits; longer options
        continue their cache. An encoder-decoder encodes each prompt once and decodes every option.

        Args:
            inputs: as for :meth:`TextGenerator.generate`: b whole prompts, with ``attention_mask``.
            options: for each row the ids of its options, from ``option_token_ids``; for an encoder-decoder with the
                token that ends them.
            prefix: the computed first positions of the same rows.

        Returns:
            For each row one sum an option, not divided by its length.

        Raises:
            BadLogits: a row's logits hold NaN or infinity.
            ValueError: several rows, and the model ranks one at a time.
        """
        import torch

        with torch.no_grad():
            if self.model.config.is_encoder_decoder:
                return self._rank_decoded(inputs, options)
            if not self.one_at_a_time:
                return self._rank_continued(inputs, options, prefix)
            if len(options) != 1:
                raise ValueError(f"{type(self.model).__name__} ranks one row at a time, {len(options)} were given")
            return [self.rank_whole_prompts(inputs, options[0])]

    def rank_whole_prompts(self, inputs: Mapping[str, Tensor], options: Options) -> tuple[float, ...]:
        """Rank one row by computing the whole prompt again for each option, as any class can."""
        import torch

        totals = []
        for option in options:
            tail = torch.tensor([option], device=inputs["input_ids"].device)
            longer = dict(inputs)
            longer["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
            longer["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(tail)], dim=1)
            for name in ("token_type_ids", "mm_token_type_ids"):
                if name in longer:
                    longer[name] = torch.cat([longer[name], torch.zeros_like(tail)], dim=1)
            if "cross_attention_mask" in longer:  # an answer attends to what the prompt's last token attends to
                mask = longer["cross_attention_mask"]
                longer["cross_attention_mask"] = torch.cat([mask, mask[:, -1:].expand(-1, len(option), -1, -1)], dim=1)
            needed = len(option) + 1
            with torch.no_grad(), float32_head(self.model, last=needed):
                logits = self.model(**longer).logits[:, -needed:-1]
            totals += _sums(logits, tail, torch.ones_like(tail, dtype=torch.bool))
        return tuple(totals)

    def _rank_continued(
        self, inputs: Mapping[str, Tensor], options: Sequence[Options], prefix: BatchedPrefix | None
    ) -> list[tuple[float, ...]]:
        mask = inputs["attention_mask"]
        given: dict[str, Any] = {**inputs, "position_ids": position_ids(mask)}
        if prefix is not None:
            per_position = given.keys() & {"input_ids", "inputs_embeds", "position_ids"}
            given |= {name: given[name][:, prefix.positions :] for name in per_position}
            given["past_key_values"] = prefix.cache()
        started = time.perf_counter()
        with float32_head(self.model, last=1):
            out = self.model(**given, use_cache=True, **last_logits_only(self.model))
        logits = out.logits[:, -1]  # (b, v)
        check_finite(logits)
        prefilled = time.perf_counter()
        self.timings["prefilling"] += prefilled - started
        first = logits.float().log_softmax(dim=-1)
        totals = [[float(first[row, option[0]]) for option in own] for row, own in enumerate(options)]
        longer = [
            (row, place) for row, own in enumerate(options) for place, option in enumerate(own) if len(option) > 1
        ]
        at_once = self._option_rows(mask)
        for start in range(0, len(longer), at_once):
            chunk = longer[start : start + at_once]
            rows = [row for row, _ in chunk]
            sums = self._continued(out.past_key_values, mask, rows, [options[row][place] for row, place in chunk])
            for (row, place), value in zip(chunk, sums, strict=True):
                totals[row][place] += value
        self.timings["decoding"] += time.perf_counter() - prefilled
        return [tuple(row) for row in totals]

    def _continued(self, cache: Any, mask: Tensor, rows: list[int], options: Options) -> list[float]:
        """Sums of log p over each option's second to last token, continuing its row's cache, which is not changed."""
        import torch

        given, targets, used = self._padded(options, mask.device)
        whole = torch.cat([mask[rows], used.long()], dim=1)
        with float32_head(self.model):
            out = self.model(
                input_ids=given,
                attention_mask=whole,
                position_ids=position_ids(whole)[:, -given.shape[1] :],
                past_key_values=select_rows(cache, rows),
                use_cache=True,
            )
        return _sums(out.logits, targets, used)

    def _rank_decoded(self, inputs: Mapping[str, Tensor], options: Sequence[Options]) -> list[tuple[float, ...]]:
        from transformers.modeling_outputs import BaseModelOutput

        encoded = self.model.get_encoder()(**inputs).last_hidden_state  # (b, t, d)
        start_id = self.model.generation_config.decoder_start_token_id
        mask = inputs["attention_mask"]
        totals: list[list[float]] = [[] for _ in options]
        pairs = [(row, option) for row, own in enumerate(options) for option in own]
        at_once = self._option_rows(mask)
        for start in range(0, len(pairs), at_once):
            chunk = pairs[start : start + at_once]
            rows = [row for row, _ in chunk]
            given, targets, used = self._padded([[start_id, *option] for _, option in chunk], mask.device)
            with float32_head(self.model):
                out = self.model(
                    encoder_outputs=BaseModelOutput(last_hidden_state=encoded[rows]),
                    attention_mask=mask[rows],
                    decoder_input_ids=given,
                    use_cache=False,
                )
            for row, value in zip(rows, _sums(out.logits, targets, used), strict=True):
                totals[row].append(value)
        return [tuple(row) for row in totals]

    def _option_rows(self, mask: Tensor) -> int:
        return OPTION_ROWS if self.forecast is None else self.forecast.option_rows(mask.shape[1])

    def _padded(self, sequences: Options, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(r, m) all ids but each row's last, the ids that follow them, and which of these are real."""
        import torch

        shape = (len(sequences), max(map(len, sequences)) - 1)
        given = torch.full(shape, self.pad_id, device=device)
        targets = torch.zeros(shape, dtype=torch.long, device=device)
        used = torch.zeros(shape, dtype=torch.bool, device=device)
        for row, sequence in enumerate(sequences):
            ids = torch.tensor(sequence, device=device)
            given[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
            used[row, : len(ids) - 1] = True
        return given, targets, used


def _sums(logits: Tensor, targets: Tensor, used: Tensor) -> list[float]:
    """(r, m, v) logits and (r, m) targets -> r sums of log p over the positions that are used."""
    logits = logits.to(targets.device)  # a model that is spread over several devices may end on another one
    check_finite(logits, used)
    scores = logits.float().log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0]
    return [float(value) for value in scores.masked_fill(~used, 0.0).sum(dim=1)]
