"""What a checkpoint declares, checked before anything of it is built: headers of weights, their index, its sizes.

A checkpoint may come from anyone. Headers and JSON files are small and are read here without torch: a file that
declares more than it holds, or a network larger than its weights, is refused before memory or time is spent on it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.files import INDEX, SINGLE, read_json, require_regular, weight_files, weight_map
from anymal_eval.errors import BadCheckpoint

CONFIG = "config.json"
HEADER_BYTES = 100_000_000  # the limit of safetensors itself
MOST_LAYERS = 4096
MOST_POSITIONS = 1 << 24
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
# Names of numbers in configurations, and the numbers that are too small to matter: parts that a checkpoint lacks may
# keep their defaults. Every layer has at least one tensor, and every width is a side of one; packed weights hold up to
# eight numbers in an element.
_LAYERS = re.compile(r"^(n_?layers?|layers|(encoder|decoder)_layers|num_\w*(layers|blocks|experts)|depths?)$")
_SIZES = re.compile(
    r"(^|_)(hidden_size|hidden_dim|intermediate_size|embed_dim|d_model|d_ff|d_kv|ffn_dim|n_embd|n_inner|head_dim"
    r"|num_attention_heads|attention_heads|num_key_value_heads|num_heads|n_head|num_query_tokens|num_mel_bins)$"
)
_VOCABULARIES = re.compile(r"(^|_)vocab_size$")
_IMAGES = re.compile(r"(^|_)(image_size|patch_size|num_channels|num_frames|max_source_positions)$")
_POSITIONS = re.compile(r"(^|_)(max_\w*positions?\w*|n_positions|max_seq_len\w*|n_ctx)$")
_FEW_LAYERS, _SMALL_SIZE, _SMALL_VOCABULARY, _LARGE_IMAGE, _PACKED = 256, 4096, 1 << 18, 1 << 14, 8


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """A tensor in a header; ``begin`` and ``end`` are places in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: Path) -> dict[str, TensorFacts]:
    """The tensors that a safetensors file declares, in the order of the header.

    Raises:
        BadCheckpoint: it is no whole safetensors file, or its tensors overlap or leave gaps.
    """
    try:
        size = require_regular(file)
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 2 <= length <= min(HEADER_BYTES, size - 8):
                raise BadCheckpoint(f"{file} is {'empty' if not size else 'no safetensors file, or was cut off'}")
            content = json.loads(stream.read(length), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{file} is no safetensors file, or was cut off") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{file}: its header is no JSON object")
    start = 8 + length
    found = {name: _facts(file, name, each, start) for name, each in content.items() if name != "__metadata__"}
    place, last = start, "its header"
    for name, facts in sorted(found.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if facts.begin != place:
            raise BadCheckpoint(f"{file}: tensor {name!r:.80} overlaps another, or leaves a gap before it")
        place, last = facts.end, name
    if place > size:
        raise BadCheckpoint(f"{file} was cut off: {last:.80} ends at byte {place} of {size}")
    if place < size:
        raise BadCheckpoint(f"{file} holds {size - place} bytes that belong to no tensor")
    return found


def check_declared(folder: Path) -> None:
    """Check a checkpoint's index, headers and configuration against each other.

    Raises:
        BadCheckpoint: a file is damaged, the index names a file or a tensor that is not there, or the configuration
            declares a network that its weights cannot fill.
    """
    is_single = (folder / SINGLE).is_file() or not (folder / INDEX).is_file()
    places = {} if is_single else weight_map(folder / INDEX)
    files = weight_files(folder) if is_single else sorted(set(places.values()))
    headers = {each: read_header(each) for each in files}
    for name, place in places.items():
        if name not in headers[place]:
            raise BadCheckpoint(f"{folder / INDEX} places {name!r:.80} in {place.name}, which does not hold it")
    tensors = [facts for header in headers.values() for facts in header.values()]
    file = folder / CONFIG
    if file.is_file():
        side = max((one for facts in tensors for one in facts.shape), default=0)
        known = {"layers": len(tensors), "side": side} if headers else {}
        check_sizes(read_json(file), file, **known)


def check_sizes(config: Any, file: Path, *, layers: int | None = None, side: int | None = None) -> None:
    """Refuse a configuration that declares more than weights can hold.

    Args:
        config: its content.
        file: for the error.
        layers: the number of tensors, where the weights are known.
        side: the longest side of a tensor, where the weights are known.

    Raises:
        BadCheckpoint: names the key.
    """
    widths = _PACKED * side if side is not None else 1 << 24
    limits = (
        (_LAYERS, min(MOST_LAYERS, max(layers, _FEW_LAYERS)) if layers is not None else MOST_LAYERS),
        (_SIZES, max(widths, _SMALL_SIZE)),
        (_VOCABULARIES, max(widths, _SMALL_VOCABULARY)),
        (_IMAGES, _LARGE_IMAGE),
        (_POSITIONS, MOST_POSITIONS),
    )
    for name, value in _numbers(config):
        limit = next((limit for names, limit in limits if names.search(name)), 1 << 63)
        if abs(value) > limit:
            raise BadCheckpoint(
                f"{file}: {name} is {_short(value)}; with the weights that are there it can be {limit} at most"
                if layers is not None
                else f"{file}: {name} is {_short(value)}; {limit} is the most that is loaded"
            )


def _numbers(content: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every integer of a configuration with its key; of a list, its own."""
    todo = [(name, content)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += [(str(inner), each) for inner, each in value.items()]
        elif isinstance(value, list):
            todo += [(key, each) for each in value]
        elif type(value) is int:
            yield key, value


def _facts(file: Path, name: str, content: Any, start: int) -> TensorFacts:
    try:
        dtype, shape, (begin, end) = content["dtype"], content["shape"], content["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError):
        raise BadCheckpoint(f"{file}: tensor {name!r:.80} lacks dtype, shape or data_offsets") from None
    if not isinstance(shape, list) or any(type(one) is not int or not 0 <= one < 1 << 63 for one in numbers):
        raise BadCheckpoint(f"{file}: tensor {name!r:.80} has an impossible shape or place")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise BadCheckpoint(f"{file}: tensor {name!r:.80} has the unknown type {dtype!r:.40}")
    if end < begin or 8 * (end - begin) != math.prod(shape) * _BITS[dtype]:
        raise BadCheckpoint(f"{file}: tensor {name!r:.80} of shape {_short(shape)} does not take the bytes it names")
    return TensorFacts(dtype=dtype, shape=tuple(shape), begin=start + begin, end=start + end)


def _without_doubles(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _short(value: object) -> str:
    text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of over 40 digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
