"""int8 and nf4 through bitsandbytes (CUDA and CPU), and the bytes that tensors take.

The language model's linear layers are quantized; its embeddings and output head, encoders and projectors are not.
nf4 uses double quantization, as QLoRA (arXiv:2305.14314) does; AnyMAL states only "4 and 8 bits".
On a CPU this saves memory and never time (a decode step takes 8 times as long as in fp32).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from anymal_eval.errors import NeedsExtra

BLOCK, NESTED_BLOCK = 64, 256  # weights that share a scale, scales that share a scale
_FLOAT = 4


def quantization_config(
    kind: str, dtype: torch.dtype, unquantized: Sequence[str] = (), storage: torch.dtype = torch.uint8
) -> Any:
    """The configuration that ``from_pretrained`` takes, None for ``none``.

    Args:
        kind: ``none``, ``int8`` or ``nf4``.
        dtype: of the products.
        unquantized: names of modules that are not quantized; transformers' own choice, the output head, when empty.
        storage: the type whose numbers hold the bytes of 4-bit weights; which one changes no product.

    Raises:
        NeedsExtra: bitsandbytes is not installed.
    """
    if kind == "none":
        return None
    import logging
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise NeedsExtra(f"--quantize {kind} needs bitsandbytes: pip install bitsandbytes")
    import transformers

    settings: Any = transformers.BitsAndBytesConfig
    # It would log once per matrix product that it casts fp32 inputs.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    skipped = list(unquantized) or None
    if kind == "int8":
        return settings(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return settings(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=storage,
        llm_int8_skip_modules=skipped,
    )


def expected_bytes(kind: str, rows: int, columns: int) -> tuple[int, int]:
    """The size of a quantized linear layer.

    Args:
        kind: ``int8`` or ``nf4``.
        rows: outputs.
        columns: inputs.

    Returns:
        Bytes of the weights and of their scales and codes.
    """
    if kind == "int8":
        return rows * columns, rows * _FLOAT
    blocks = math.ceil(rows * columns / BLOCK)
    nested = math.ceil(blocks / NESTED_BLOCK) * _FLOAT + 256 * _FLOAT + _FLOAT  # absmax, code, offset
    return math.ceil(rows * columns / 2), blocks + 16 * _FLOAT + nested


def is_quantized(name: str, module: nn.Module) -> bool:
    """Whether bitsandbytes replaces this layer of a causal LM: every linear one but the output head and adapters."""
    return isinstance(module, nn.Linear) and "lora_" not in name and not name.endswith(("lm_head", "embed_out"))


def keep_layout(model: nn.Module) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for processors with AVX512-BF16.

    It would do so at the first forward without gradients, for good, and the repacked product has no backward: a network
    that has generated once could no longer be trained, with nothing but a warning.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def stored(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """Every tensor a module keeps, quantization scales and codes included, each storage once.

    Yields:
        Its name; its precision (``fp32``, ``bf16``, ``int8``, ``nf4``, ``scales``, ``other``); the tensor.
    """
    seen: set[int] = set()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        for label, precision, part in _parts(name, tensor):
            # the storage object itself: tensors on the meta device have no address
            storage = part.untyped_storage()._cdata
            if storage not in seen:
                seen.add(storage)
                yield label, precision, part


def weight_bytes(module: nn.Module) -> dict[str, int]:
    """Bytes of a module's tensors, by precision."""
    total: dict[str, int] = {}
    for _, precision, tensor in stored(module):
        total[precision] = total.get(precision, 0) + tensor.nbytes
    return total


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, str, Tensor]]:
    state = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes' Params4bit: two weights in a byte
        yield name, "nf4", tensor
        for label, scale in _scales(state):
            yield f"{name}.{label}", "scales", scale
        return
    if tensor.dtype == torch.int8:
        yield name, "int8", tensor
        row_scale = getattr(tensor, "SCB", None)
        if row_scale is not None:
            yield f"{name}.SCB", "scales", row_scale
        return
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(tensor.dtype, "other")
    yield name, precision, tensor


def _scales(state: Any) -> Iterator[tuple[str, Tensor]]:
    yield "absmax", state.absmax
    yield "code", state.code
    if state.nested:
        yield "offset", state.offset
        yield "nested absmax", state.state2.absmax
        yield "nested code", state.state2.code
