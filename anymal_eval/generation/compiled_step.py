"""Compiled decoding: a step of greedy search or sampling as one compiled function, with a KV cache of a fixed shape.

A step of a large model on a GPU is hundreds of small kernels, which the CPU starts one after the other; compiled, they
are fewer, and one CUDA graph starts them all. The prompt is computed as ever. Its cache is copied into a fixed one.

Compiled code may compute in another order, and may be wrong; a class may not allow it: ``compiled_self_test`` compares.

Shapes:  b rows · r padded rows · t positions · l padded positions · v vocabulary
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import IncompleteRun
from anymal_eval.generation.batches import position_ids
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.generation.logits import replaced_forward
from anymal_eval.generation.prefix_kv import forgetful_layers, forward_parameters

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch._dynamo.exc import TorchDynamoException

    from anymal_eval.generation.fixed_kv import FixedKV, FixedView

BACKEND = "inductor"
CACHE_BYTES = 1 << 30  # of fixed caches that stay on the device for the next batch; the last one stays in any case
MOST_SHAPES = 64  # torch's own limit is 8
ATTENTION = ("sdpa", "eager")  # others take no mask of a fixed shape
_OF_A_STEP = frozenset({"input_ids", "attention_mask", "position_ids", "past_key_values", "logits_to_keep"})
# What describes the media of a prompt, which are in the cache: ``generate`` hands it to every step of some classes.
_OF_MEDIA = frozenset(
    {"mm_token_type_ids", "image_grid_thw", "video_grid_thw", "second_per_grid_ts", "feature_attention_mask"}
)


class CannotCompile(IncompleteRun):
    """A shape that torch does not compile: the disk is full, the compiler is gone ..."""


class CompiledStep:
    """The compiled steps of one causal language model.

    Attributes:
        shapes: (r, l) compiled so far.
        steps: how many were computed, for tests.
        refused: what a step of the class takes beside ids, mask, positions and cache; such a step is not compiled.
    """

    def __init__(self, model: Any) -> None:
        """Compile nothing yet: every shape is compiled when it comes."""
        import torch

        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._plain = self._model.forward
        self._is_gpu = model.device.type == "cuda"
        mode = "reduce-overhead" if self._is_gpu and BACKEND == "inductor" else None
        self._compiled = torch.compile(self._logits, backend=BACKEND, mode=mode, fullgraph=True, dynamic=False)
        self._takes_positions = "position_ids" in forward_parameters(model)
        self._adds_mask = _attention(model) == "eager"
        self._dtype: torch.dtype = model.dtype
        self._fixed: BoundedCache[FixedKV] = BoundedCache(CACHE_BYTES, lambda fixed: fixed.nbytes)
        self.shapes: set[tuple[int, int]] = set()
        self.steps = 0
        self.refused = ""

    def clear(self) -> None:
        """Free the device's memory."""
        self._fixed.clear()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the model compute steps of one token with compiled code inside the context, and all else as ever."""

        @wraps(self._plain)  # ``generate`` reads the parameters of ``forward``
        def forward(*args: Any, **given: Any) -> Any:
            return self._plain(*args, **given) if args or not self._is_step(given) else self._step(given)

        with replaced_forward(self._model, forward):
            yield

    def _is_step(self, given: Mapping[str, Any]) -> bool:
        """Whether this is one token a row with a cache, and nothing else that matters."""
        import torch

        from anymal_eval.generation.fixed_kv import is_copied

        ids, cache = given.get("input_ids"), given.get("past_key_values")
        if ids is None or ids.shape[1] != 1 or cache is None or not cache.layers or not cache.get_seq_length():
            return False
        known = _OF_A_STEP | _OF_MEDIA
        others = [name for name, value in given.items() if torch.is_tensor(value) and name not in known]
        self.refused = ", ".join(others)
        return not others and is_copied(cache)

    def _step(self, given: Mapping[str, Any]) -> Any:
        """A step of b rows.

        Raises:
            CannotCompile: its shape.
        """
        import torch
        from torch._dynamo.exc import TorchDynamoException
        from transformers.modeling_outputs import CausalLMOutputWithPast

        cache, ids, mask = given["past_key_values"], given["input_ids"], given.get("attention_mask")
        view = self._placed(cache, len(ids))
        fixed, length = view.fixed, view.end - view.first
        fixed.aim(view, mask)
        positions = given.get("position_ids")
        if positions is None and self._takes_positions:
            positions = ids.new_full(ids.shape, length) if mask is None else position_ids(mask)[:, -1:]
        rows = view.rows, fixed.shape[0]
        inputs = _padded(ids, 0, *rows), None if positions is None else _padded(positions, -2, *rows)
        if self._is_gpu:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            with torch._dynamo.config.patch(recompile_limit=MOST_SHAPES):
                logits = self._compiled(*inputs, fixed.mask, fixed.cache)
        except TorchDynamoException as error:  # also what the backend, or its compiler, raises
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                raise error.__cause__ from None
            raise CannotCompile(
                f"torch cannot compile a step of {rows[1]} rows and {fixed.shape[1]} positions: {compile_fault(error)}"
            ) from error
        self.shapes.add(fixed.shape)
        self.steps += 1
        for layer in cache.layers:
            layer.end += 1
        # The next step of a CUDA graph writes its logits to the same place.
        return CausalLMOutputWithPast(logits=logits[: len(ids), None].clone(), past_key_values=cache)

    def _placed(self, cache: Any, rows: int) -> FixedView:
        """The view of a fixed cache with room for a step that this cache is from now on."""
        from anymal_eval.generation.fixed_kv import AHEAD, FixedKV, padded_positions, padded_rows, view_of

        view = view_of(cache)
        if view is not None and view.rows == rows and view.end < view.fixed.shape[1]:
            return view
        shape = padded_rows(rows), padded_positions(int(cache.get_seq_length()) + AHEAD)
        fixed = self._fixed.get(str(shape), lambda: FixedKV(cache, *shape))
        fixed.take(cache)
        found: FixedView = cache.layers[0]
        return found

    def _logits(self, ids: Tensor, positions: Tensor | None, mask: Tensor, cache: Any) -> Tensor:
        """(r, 1) ids -> (r, v): what is compiled."""
        import torch

        attended = torch.where(mask, 0.0, torch.finfo(self._dtype).min).to(self._dtype) if self._adds_mask else mask
        more = {} if positions is None else {"position_ids": positions}
        out = self._plain(input_ids=ids, attention_mask=attended, past_key_values=cache, use_cache=True, **more)
        logits: Tensor = out.logits[:, -1]
        return logits


def obstacle(model: Any) -> str | None:
    """Why a step of this class cannot be compiled; None where it may be tried."""
    if model.config.is_encoder_decoder:
        return "an encoder reads the prompt"
    if "cross_attention_mask" in forward_parameters(model):
        return "its pictures come in by cross attention"
    if kinds := forgetful_layers(model):
        return f"its cache has layers that do not keep every token ({', '.join(kinds)})"
    named = _attention(model)
    return None if named in ATTENTION else f"its attention ({named}) takes no mask of one shape"


def _attention(model: Any) -> str:
    return str(getattr(model.config.get_text_config(), "_attn_implementation", None) or "eager")


def _padded(part: Tensor, dim: int, rows: int, padded: int) -> Tensor:
    """What is of b rows, or of all in common, with zeros for the padded ones."""
    import torch

    shape = list(part.shape)
    shape[dim] = rows
    part = part.expand(shape)
    shape[dim] = padded - rows
    return torch.cat([part, part.new_zeros(shape)], dim=dim)


def compile_fault(error: TorchDynamoException) -> str:
    """Why torch cannot compile something, on one line: what the backend raised, where it raised something."""
    error = getattr(error, "inner_exception", error)
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
