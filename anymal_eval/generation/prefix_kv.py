"""Prefix caching: keys and values of a prompt's first tokens, computed once and reused by all rows with that prefix.

Shapes:  p prefixes · b rows · h heads · t positions · d width of a head
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.batches import position_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PrefixKV:
    """The cache of p prefixes that were prefilled together, padded on the left. It is never changed.

    Attributes:
        cache: of transformers; in each layer keys and values (p, h, t, d).
    """

    cache: Any

    @property
    def positions(self) -> int:
        """How many positions it covers, padding included: t."""
        return int(self.cache.get_seq_length())

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)


@dataclass(frozen=True, kw_only=True)
class BatchedPrefix:
    """The computed prefix of each of b rows.

    Attributes:
        prefixes: of one length each, or of several lengths.
        rows: for each row its prefix, counted through all ``prefixes``.
    """

    prefixes: tuple[PrefixKV, ...]
    rows: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions of the longest one; the others are padded on the left to its length."""
        return max(prefix.positions for prefix in self.prefixes)

    def cache(self, beams: int = 1) -> Any:
        """A cache of b * beams rows, which its user may write to."""
        joint = writable(self.prefixes[0].cache)
        if len(self.prefixes) > 1:
            for place, layer in enumerate(joint.layers):
                layers = [prefix.cache.layers[place] for prefix in self.prefixes]
                layer.keys = self._joint([each.keys for each in layers])
                layer.values = self._joint([each.values for each in layers])
        return select_rows(joint, [row for row in self.rows for _ in range(beams)])

    def _joint(self, parts: Sequence[Tensor]) -> Tensor:
        import torch
        from torch.nn.functional import pad

        return torch.cat([pad(part, (0, 0, self.positions - part.shape[-2], 0)) for part in parts])


def prefill(model: Any, inputs: Mapping[str, Any]) -> PrefixKV:
    """Compute prefixes.

    Args:
        model: a causal language model.
        inputs: what its ``forward`` takes, padded on the left, with ``attention_mask``.
    """
    import torch
    from transformers.cache_utils import DynamicCache

    with torch.no_grad():
        out = model(
            **inputs,
            position_ids=position_ids(inputs["attention_mask"]),
            past_key_values=DynamicCache(config=model.config),
            use_cache=True,
            **last_logits_only(model),
        )
    return PrefixKV(cache=out.past_key_values)


def forgetful_layers(model: Any) -> list[str]:
    """The kinds of layers in a model's cache that do not keep every token.

    Padding inside a row changes what these keep (a sliding window, a recurrent state), so a model that has them cannot
    continue padded prefixes.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers} - {DynamicLayer}
    return sorted(kind.__name__ for kind in kinds)


def writable(cache: Any) -> Any:
    """A copy that may be written to.

    Dynamic layers replace their tensors instead of changing them, so theirs need no copy.
    """
    if not all(map(_is_dynamic, cache.layers)):
        return copy.deepcopy(cache)
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    return own


def select_rows(cache: Any, rows: Sequence[int]) -> Any:
    """A cache of the given rows, in any order and any number of times, that may be written to."""
    import torch

    own = writable(cache)
    chosen = torch.tensor(rows)
    for layer in own.layers:
        if not _is_dynamic(layer):
            layer.batch_select_indices(chosen)
        elif layer.get_seq_length():  # ``index_select`` copies whole rows, which indexing does element by element
            index = chosen.to(layer.keys.device)  # layers may lie on several devices
            layer.keys, layer.values = layer.keys.index_select(0, index), layer.values.index_select(0, index)
    return own


def _is_dynamic(layer: Any) -> bool:
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)


def forward_parameters(model: Any) -> frozenset[str]:
    """What ``forward`` takes by name; of a model with adapters, that of the model inside."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(inner.forward).parameters)


def positions_of_whole_prompts(model: Any) -> bool:
    """Whether a class computes positions from the whole prompt, so that its cache cannot be continued."""
    return any(hasattr(part, "get_rope_index") for part in (model, getattr(model, "model", model)))


def positions_depend_on_length(model: Any) -> bool:
    """Whether rotary embeddings change with the longest row of a batch: rows computed apart would not fit together."""
    config = model.config.get_text_config(decoder=True)
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    # Some classes have parameters for each kind of layer.
    each = [found, *(value for value in found.values() if isinstance(value, Mapping))]
    return any(one.get("rope_type", one.get("type")) in ("dynamic", "longrope") for one in each)


def last_logits_only(model: Any) -> dict[str, int]:
    """The argument that makes ``forward`` compute the logits of the last position alone, where it has one."""
    return {"logits_to_keep": 1} if "logits_to_keep" in forward_parameters(model) else {}
