"""Tests compiled decoding on a loaded model: a few rows must get the same tokens with it and without.

What counts as the same is in ``self_test``; a log-probability beyond -1 is compared relative to it.

Shapes:  b rows · s steps · v vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import reason
from anymal_eval.generation.batches import left_padded
from anymal_eval.generation.compiled_step import CannotCompile, CompiledStep, obstacle
from anymal_eval.generation.self_test import ON, REFUSALS, Difference, fault

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.generation.text_generator import TextGenerator

STEPS = 6
LENGTHS = (13, 7, 11)  # of the prompts of a language model that is tested alone


def try_compiling(generator: TextGenerator, rows: Sequence[Mapping[str, Any]], *, exact: bool) -> str:
    """Turn compiled decoding on if it passes the test.

    Args:
        generator: of a loaded model.
        rows: the inputs of some prompts, as of :func:`left_padded`, that make one batch.
        exact: whether it computes in float32.

    Returns:
        Why it is on or off, for the manifest.
    """
    why = obstacle(generator.model)
    if why is None:
        step = CompiledStep(generator.model)
        try:
            why = _difference(generator, step, rows, exact=exact)
        except CannotCompile as error:
            why = str(error)
        except REFUSALS as error:
            why = f"{type(error).__name__}: {reason(error)}"
        generator.compiled_step = step if why is None else None
    return ON if why is None else f"off: {why}"


def drawn_rows(vocabulary: int) -> list[dict[str, Tensor]]:
    """Prompts of drawn ids, for a language model that takes no media."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    rows = [torch.randint(vocabulary, (1, length), generator=drawn) for length in LENGTHS]
    return [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]


def _difference(
    generator: TextGenerator, step: CompiledStep, rows: Sequence[Mapping[str, Any]], *, exact: bool
) -> str | None:
    """How compiled steps differ from plain ones; None if they do not."""
    import torch

    plain = _decoded(generator, rows)
    compiled = _decoded(generator, rows, step)
    if step.steps < STEPS - 1:
        return f"a step takes {step.refused} too" if step.refused else "it decodes in a way of its own"
    noise = None
    if not exact:
        alone = [_decoded(generator, [row]) for row in rows]
        tokens, scores = (torch.cat(part) for part in zip(*alone, strict=True))
        noise = _apart(plain, (tokens, scores))
    return fault(_apart(plain, compiled), len(rows), noise, "log-probabilities")


def _decoded(
    generator: TextGenerator, rows: Sequence[Mapping[str, Any]], step: CompiledStep | None = None
) -> tuple[Tensor, Tensor]:
    """(b, s) tokens of greedy search, and the (b, s, v) log-probabilities that they were chosen by."""
    import torch
    import transformers

    config: Any = transformers.GenerationConfig
    settings = config(
        do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS, pad_token_id=generator.pad_id,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    inputs = left_padded(rows, generator.pad_id, generator.model)
    with torch.no_grad(), nullcontext() if step is None else step.used():
        out = generator.model.generate(**inputs, generation_config=settings)
    logits = torch.stack(out.logits, dim=1).float()
    return out.sequences[:, -STEPS:], logits.log_softmax(dim=-1)


def _apart(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Difference:
    """The largest difference of log p, up to the first token that differs in a row; how many rows differ."""
    same = (one[0] == other[0]).cumprod(dim=1)
    before = same.roll(1, dims=1)
    before[:, 0] = 1
    gaps = (one[1] - other[1]).abs() / one[1].abs().clamp(min=1.0)
    gap = float(gaps.amax(dim=-1).masked_fill(before == 0, 0.0).max())
    return Difference(gap, int((same[:, -1] == 0).sum()))
