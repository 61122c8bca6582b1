"""Generation and ranking over a batch of embeddings. Errors are errors here, never text.

Shapes:  b batch · t positions · v vocabulary · r rows of options · m tokens of the longest option but its last
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from anymal_eval.anymal.llm import LLM
from anymal_eval.anymal.prefix import Prefix, prefill
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import library
from anymal_eval.errors import BadData, BadLogits, ContextTooLong, OutOfMemory

_ROWS = 64  # options scored at once


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Greedy with one beam, beam search with more; nothing is sampled."""

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What one row said.

    ``new_tokens`` counts what was produced up to and with the token that ended it; ``finish`` says what that was.
    """

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    new_tokens: int


def check_context(llm: LLM, lengths: Sequence[int], new_tokens: int) -> None:
    """Refuse rows that would not fit.

    Raises:
        ContextTooLong: names the row and the lengths.
    """
    for row, length in enumerate(lengths):
        if length + new_tokens > llm.context:
            raise ContextTooLong(
                f"row {row}: a prompt of {length} tokens and {new_tokens} new ones make {length + new_tokens}, "
                f"the model's context is {llm.context}"
            )


def generate(llm: LLM, batch: Batch, decoding: Decoding, prefix: Prefix | None = None) -> list[Generation]:
    """Let every row go on.

    Args:
        llm: the language model.
        batch: b rows.
        decoding: how.
        prefix: the first positions of the same rows, already computed; it is not changed.

    Raises:
        ContextTooLong: a row would not fit. BadLogits: a row's logits hold NaN or infinity.
        OutOfMemory: the batch is too large.
    """
    check_context(llm, batch.lengths, decoding.max_new_tokens)
    settings = library().GenerationConfig(
        do_sample=False,
        num_beams=decoding.beams,
        length_penalty=decoding.length_penalty if decoding.beams > 1 else None,
        max_new_tokens=decoding.max_new_tokens,
        min_new_tokens=decoding.min_new_tokens or None,
        eos_token_id=list(llm.ends) or None,
        pad_token_id=llm.pad,
    )
    extra: dict[str, Any] = {}
    if prefix is not None:
        if prefix.positions >= batch.embeds.shape[1] or len(batch.mask) != prefix.rows:
            raise BadData("a shared prefix must be shorter than its rows, and have as many")
        extra["past_key_values"] = prefix.cache(_repeated(prefix.rows, decoding.beams, llm.device))
    if decoding.stop and decoding.beams == 1:
        extra["stopping_criteria"] = [_Stop(llm, decoding.stop)]
    with torch.no_grad(), memory_guard(f"generating for {len(batch.mask)} rows"):
        out: Tensor = llm.model.generate(
            inputs_embeds=batch.embeds,
            attention_mask=batch.mask,
            generation_config=settings,
            logits_processor=[_Finite(decoding.beams)],
            **extra,
        )
    return [_generation(llm, row, decoding) for row in out.tolist()]


def rank(
    llm: LLM, batch: Batch, options: Sequence[Sequence[Sequence[int]]], prefix: Prefix | None = None
) -> list[tuple[float, ...]]:
    """How likely each option is as the answer of its row.

    Args:
        llm: the language model.
        batch: b rows, each the prefix of its options.
        options: for each row, its options' token ids.
        prefix: the batch, already computed; it is not changed.

    Returns:
        For each row the sums of log p over its options' tokens, not normalised by length.

    Raises:
        ContextTooLong, BadLogits, OutOfMemory: as for ``generate``.
    """
    if len(options) != len(batch.mask) or any(not option for row in options for option in row):
        raise BadData("every row needs its options, and every option at least one token")
    longest = max((len(option) for row in options for option in row), default=0)
    check_context(llm, batch.lengths, longest)
    with torch.no_grad(), memory_guard(f"ranking for {len(batch.mask)} rows"):
        if prefix is None:
            prefix = prefill(llm, batch)
        check_finite(prefix.logits)
        first = prefix.logits.float().log_softmax(dim=-1)  # (b, v)
        totals = [[float(first[row, option[0]]) for option in own] for row, own in enumerate(options)]
        rest = [
            (row, column) for row, own in enumerate(options) for column, option in enumerate(own) if len(option) > 1
        ]
        for start in range(0, len(rest), _ROWS):
            chunk = rest[start : start + _ROWS]
            sums = _continue(llm, prefix, [row for row, _ in chunk], [options[row][column] for row, column in chunk])
            for (row, column), value in zip(chunk, sums, strict=True):
                totals[row][column] += value
    return [tuple(row) for row in totals]


def check_finite(logits: Tensor) -> None:
    """Refuse logits (b, v) that hold NaN or +-infinity.

    Raises:
        BadLogits: names the rows.
    """
    bad = (~torch.isfinite(logits)).any(dim=-1).nonzero().flatten().tolist()
    if bad:
        raise BadLogits(f"the network gave NaN or infinite logits in rows {bad} of {len(logits)}")


@contextmanager
def memory_guard(doing: str) -> Iterator[None]:
    """Turn what torch raises when memory is out into our error.

    Raises:
        OutOfMemory: says what was being done.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"out of memory while {doing}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator has no error class of its own
            raise
        raise OutOfMemory(f"out of memory while {doing}") from error


def _continue(llm: LLM, prefix: Prefix, rows: list[int], options: list[Sequence[int]]) -> list[float]:
    """Sums of log p of each option's second to last token, each over its row's cache."""
    count, width = len(rows), max(map(len, options)) - 1
    inputs = torch.full((count, width), llm.pad, device=llm.device)
    targets = torch.zeros((count, width), dtype=torch.long, device=llm.device)
    given = torch.zeros((count, width), dtype=torch.long, device=llm.device)
    for index, option in enumerate(options):
        ids = torch.tensor(option, device=llm.device)
        inputs[index, : len(option) - 1] = ids[:-1]
        targets[index, : len(option) - 1] = ids[1:]
        given[index, : len(option) - 1] = 1
    chosen = torch.tensor(rows, device=llm.device)
    mask = torch.cat([prefix.mask[chosen], given], dim=1)
    logits: Tensor = llm(
        input_ids=inputs,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1)[:, -width:],
        past_key_values=prefix.cache(chosen),
        use_cache=True,
    ).logits  # (r, m, v)
    used = given.bool()
    check_finite(logits[used])
    scores = logits.float().log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0]
    return [float(value) for value in scores.masked_fill(~used, 0.0).sum(dim=1)]


def _repeated(rows: int, times: int, device: torch.device) -> Tensor:
    """Row numbers, each as often as there are beams."""
    return torch.arange(rows, device=device).repeat_interleave(times)


def _generation(llm: LLM, ids: list[int], decoding: Decoding) -> Generation:
    """Cut one row at what ended it."""
    end = next((index for index, token in enumerate(ids) if token in llm.ends), None)
    kept = ids if end is None else ids[:end]
    text = llm.chat.text(kept)
    found = [at for at in (text.find(stop) for stop in decoding.stop) if at >= 0]
    if found:
        text = text[: min(found)]
    ended = end is not None or bool(found)
    return Generation(
        text=text,
        ids=tuple(kept),
        finish="stop" if ended else "length",
        new_tokens=len(kept) + (end is not None),
    )


class _Finite:
    """A logits processor that only looks. Beam search gives it log p, where -infinity is fine."""

    def __init__(self, beams: int) -> None:
        self._beams = beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        bad = (scores.isnan() | (scores == torch.inf)).any(dim=-1)
        if bad.any():
            rows = sorted({int(row) // self._beams for row in bad.nonzero().flatten()})
            raise BadLogits(f"the network gave NaN or infinite logits in rows {rows} of {len(bad) // self._beams}")
        return scores


class _Stop:
    """Ends a row whose text holds a stop string (a saving only: the text is cut afterwards anyway)."""

    def __init__(self, llm: LLM, stop: tuple[str, ...]) -> None:
        self._llm, self._stop = llm, stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        said = [self._llm.chat.text(row) for row in input_ids.tolist()]
        done = [any(stop in text for stop in self._stop) for text in said]
        return torch.tensor(done, device=input_ids.device)
