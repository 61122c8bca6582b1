"""How much memory a batch will take, so that it is sized before the device is full.

A process that asks for too much is killed with everything it has in memory, on a CPU at least, so batches are not found
out by trying. The forecast counts what grows with the batch: keys and values, one layer's activations, masks and, where
a class computes them whole, attention matrices and logits. Weights and media encoders are loaded before or bounded
elsewhere. It errs to the large side.

Shapes:  b rows · t positions · h heads · d width · f width of a feed-forward layer · v vocabulary
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.errors import OutOfMemory
from anymal_eval.generation.prefix_kv import forward_parameters

SHARE_OF_GPU, SHARE_OF_HOST = 0.8, 0.5  # of the free memory; on a host media and other processes grow too
LEAST_BYTES = 256 << 20  # where less is free, an ordinary prompt is tried nevertheless
_FIXED, _FIXED_MORE = 3, 256  # a fixed cache has up to twice the rows, and 1.5 times the positions with some ahead
OPTION_ROWS = 64  # options that are scored at once
_STREAMS = 10  # tensors of the width d that are alive at once in a layer, and
_GATES = 3  # of the width f
_INDEX = 24  # bytes of the relative positions of two tokens: three tables of 64 bits
_PLAIN = ("sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")  # these hold no attention matrix
_ALIBI = ("bloom", "mpt")  # these hold twice as many
_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")


@dataclass(frozen=True, kw_only=True)
class RowShape:
    """The longest row of a batch.

    Attributes:
        prompt: its tokens, those of media included.
        new: the most that it may generate.
        beams: of the search.
        options: how many are ranked; 0 where text is generated.
    """

    prompt: int
    new: int = 0
    beams: int = 1
    options: int = 0


class MemoryForecast:
    """Bytes of batches of one language model, and how many of them are free.

    Attributes:
        budget: bytes that a batch may take: a share of what is free when the model is loaded, ``LEAST_BYTES`` at least.
        fixed_cache: whether greedy search and sampling copy a prompt's keys and values into a cache of a fixed shape.
    """

    def __init__(self, model: Any, budget: int | None = None) -> None:
        """Read the model's sizes.

        Args:
            model: a causal or encoder-decoder language model of transformers, loaded.
            budget: bytes; None measures them.
        """
        config = model.config.get_text_config()
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self._width = _size(config, "hidden_size")
        self._gates = _size(config, "intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim") or 4 * self._width
        self._heads = max(_size(config, "num_attention_heads", "encoder_attention_heads"), 1)
        head = _size(config, "head_dim", "d_kv") or self._width // self._heads
        layers = _size(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers")
        shared = _size(config, "num_key_value_heads") or self._heads
        self._item = int(model.dtype.itemsize)
        self._keys = 2 * layers * shared * head * self._item  # bytes of a token's keys and values
        self._vocabulary = _size(config, "vocab_size")
        self._whole_logits = not self._encoder_decoder and "logits_to_keep" not in forward_parameters(model)
        self._relative = bool(_size(config, "relative_attention_num_buckets"))
        named = str(getattr(config, "_attn_implementation", None) or "eager")
        alibi = config.model_type in _ALIBI or bool(getattr(config, "alibi", False))
        matrices = 2 if alibi else int(self._relative or named not in _PLAIN)
        self._matrix = matrices * (self._item + max(self._item, 4))  # bytes of two tokens' attention in a head
        self.budget = _free(model.device) if budget is None else budget
        self.fixed_cache = False

    def bytes(self, rows: int, shape: RowShape) -> int:
        """Bytes of a batch of ``rows`` rows that are all as long as the longest."""
        return self._once(shape) + rows * self._per_row(shape)

    def rows(self, shape: RowShape) -> int:
        """How many such rows fit into the budget; 0 where not one does."""
        return max(0, (self.budget - self._once(shape)) // max(self._per_row(shape), 1))

    def require(self, shape: RowShape) -> None:
        """Refuse a prompt that does not fit alone.

        Raises:
            OutOfMemory: names the length and the bytes.
        """
        if self.rows(shape) < 1:
            raise OutOfMemory(
                f"the prompt of {shape.prompt} tokens is too long: computing it takes about "
                f"{_gib(self.bytes(1, shape))} of memory, and {_gib(self.budget)} may be used here"
            )

    def option_rows(self, prompt: int) -> int:
        """How many options are scored at once, each with the keys and values of its prompt."""
        return int(min(OPTION_ROWS, max(1, self.budget // 2 // max(prompt * self._keys, 1))))

    def _once(self, shape: RowShape) -> int:
        """Bytes whatever the number of rows: a bias of relative positions."""
        return (self._heads * self._item + _INDEX) * shape.prompt**2 if self._relative else 0

    def _per_row(self, shape: RowShape) -> int:
        prompt = shape.prompt
        activations = prompt * (_STREAMS * self._width + _GATES * self._gates) * self._item
        mask = prompt**2 * (1 + self._item)
        matrices = self._heads * prompt**2 * self._matrix
        logits = (prompt if self._whole_logits else 1) * self._vocabulary * (self._item + 4)
        # ``generate`` repeats a prompt for each beam before it computes it; an encoder computes it once.
        prefills = 1 if self._encoder_decoder or shape.options else shape.beams
        copies = min(shape.options, self.option_rows(prompt)) if shape.options else shape.beams
        tokens = copies * (prompt + shape.new) + (prompt if copies > 1 else 0)
        if self.fixed_cache and copies == 1 and not shape.options:
            tokens += _FIXED * (prompt + shape.new) + _FIXED_MORE
        cache = tokens * self._keys
        return prefills * (activations + mask + matrices) + copies * logits + cache


def _size(config: Any, *names: str) -> int:
    """The first of several keys that a configuration has, as a number."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _free(device: Any) -> int:
    """Bytes that a batch may take on a device."""
    if device.type == "cuda":
        import torch

        free = torch.cuda.mem_get_info(device)[0]
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(int(SHARE_OF_GPU * (free + cached)), LEAST_BYTES)
    return max(int(SHARE_OF_HOST * _free_of_host()), LEAST_BYTES)


def _free_of_host() -> int:
    """Bytes that this process may still take: the machine's, its control group's and its own limit, the least."""
    import resource

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [_line("/proc/meminfo", "MemAvailable:", pages)]
    most, used = (_line(file, "", -1) for file in _FILES)
    if most >= 0 and used >= 0:
        # the page cache is in use too, and is given back
        found.append(most - used + max(_line("/sys/fs/cgroup/memory.stat", "inactive_file", 0), 0))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit - _line("/proc/self/status", "VmSize:", 0))
    return max(0, min(found))


def _line(file: str, key: str, otherwise: int) -> int:
    """A number in a file of the kernel's, in bytes; ``key`` starts its line."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return otherwise
    for line in lines:
        fields = line.removeprefix(key).split() if line.startswith(key) else []
        if fields and fields[0].isdigit():
            return int(fields[0]) * (1024 if fields[1:] == ["kB"] else 1)
    return otherwise


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
