"""End and pad tokens out of contradictory metadata: the rules of ``checkpoints/token_ids.py``, over generated files."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymal_eval.checkpoints.token_ids import TokenIds, resolve_token_ids
from anymal_eval.errors import BadCheckpoint

ROWS = 10


def resolved(
    generation: Mapping[str, Any] | None, config: Mapping[str, Any], tokenizer: Mapping[str, Any], **defaults: Any
) -> TokenIds:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(config))
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        encoder_decoder = defaults.pop("is_encoder_decoder", False)
        model = SimpleNamespace(
            generation_config=SimpleNamespace(**defaults),
            config=SimpleNamespace(is_encoder_decoder=encoder_decoder),
            get_input_embeddings=lambda: SimpleNamespace(weight=SimpleNamespace(shape=(ROWS, 4))),
        )
        return resolve_token_ids(folder, model, SimpleNamespace(**tokenizer))


VICUNA: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, "pad_token_id": 2}


@pytest.mark.parametrize(("generation", "config", "tokenizer", "ends", "pad", "note"), [
    # salesforce/LAVIS#509: InstructBLIP-Vicuna
    ({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
     {"text_config": {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}}, VICUNA, (2,), 0,
     "ends answers with 1"),
    (None, {"text_config": {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}}, VICUNA, (2,), 2,
     "eos_token_id 1 is the bos_token of the tokenizer"),
    # BLIP-2 OPT ends with a line break; its tokenizer begins and ends with one token
    ({"eos_token_id": 7}, {"text_config": {"eos_token_id": 7}}, {"eos_token_id": 2, "bos_token_id": 2}, (2, 7), 2,
     "the tokenizer with 2"),
    # Llama 3 and Qwen: several, with the tokenizer's among them; the one to pad with may be one of them
    ({"eos_token_id": [7, 8, 9]}, {"eos_token_id": 8}, {"eos_token_id": 9, "bos_token_id": 6}, (7, 8, 9), 7, ""),
    ({"eos_token_id": [8, 7], "pad_token_id": 7}, {}, {"eos_token_id": 8, "pad_token_id": 7}, (7, 8), 7, ""),
    ({"eos_token_id": 32000}, {}, {"eos_token_id": 2}, (2,), 2, "eos_token_id 32000 is no row of the embedding"),
    ({}, {"eos_token_id": True, "pad_token_id": "0"}, {"eos_token_id": 2}, (2,), 2, "True is no row"),
    ({"pad_token_id": 5}, {"image_token_index": 5}, {"eos_token_id": 2, "pad_token_id": 3}, (2,), 3, ""),
    ({}, {}, {}, (), 0, ""),
])  # fmt: skip
def test_known_cases(generation: Any, config: Any, tokenizer: Any, ends: tuple[int, ...], pad: int, note: str) -> None:
    found = resolved(generation, config, tokenizer)
    assert (found.ends, found.pad) == (ends, pad)
    assert any(note in one for one in found.notes) if note else found.notes == ()


def test_no_usable_end_is_refused() -> None:
    with pytest.raises(BadCheckpoint, match=r"no usable end token: .*eos_token_id 99 is no row"):
        resolved({"eos_token_id": 99}, {}, {})
    with pytest.raises(BadCheckpoint, match=r"no usable end token: .*eos_token_id 1 is the bos_token"):
        resolved({"eos_token_id": [1]}, {}, {"bos_token_id": 1})


def test_the_start_of_a_decoder() -> None:
    usual: dict[str, Any] = {"eos_token_id": 2, "is_encoder_decoder": True}
    assert resolved({"decoder_start_token_id": 0}, {}, {}, **usual).decoder_start == 0
    assert resolved({"decoder_start_token_id": -1}, {"decoder_start_token_id": 3}, {}, **usual).decoder_start == 3
    with pytest.raises(BadCheckpoint, match="decoder_start_token_id"):
        resolved({"decoder_start_token_id": 77}, {}, {}, **usual)


ID: st.SearchStrategy[Any] = st.one_of(
    st.integers(-2, ROWS + 2), st.sampled_from([None, True, "2", 2.0, 10**30, [[1]], {}])
)
IDS = st.one_of(ID, st.lists(ID, max_size=4))
NAMES = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id", "image_token_id")
PART = st.dictionaries(st.sampled_from(NAMES), IDS, max_size=5)
CONFIG = st.one_of(PART, st.builds(lambda inner, outer: {**outer, "text_config": inner}, PART, PART))
TOKENIZER = st.dictionaries(
    st.sampled_from(["eos_token_id", "pad_token_id", "bos_token_id", "unk_token_id"]), st.integers(0, ROWS + 2)
)


@settings(max_examples=200, deadline=None)
@given(generation=st.none() | PART, config=CONFIG, tokenizer=TOKENIZER, encoder_decoder=st.booleans())
def test_whatever_is_named_the_ids_are_rows_or_the_checkpoint_is_refused(
    generation: Any, config: Any, tokenizer: Any, encoder_decoder: bool
) -> None:
    try:
        found = resolved(generation, config, tokenizer, is_encoder_decoder=encoder_decoder)
    except BadCheckpoint:
        return
    for one in (*found.ends, found.pad, *filter(None, (found.begin, found.decoder_start))):
        assert type(one) is int
        assert 0 <= one < ROWS
    end = tokenizer.get("eos_token_id")
    assert end is None or end >= ROWS or end in found.ends
    others = {tokenizer.get("bos_token_id"), tokenizer.get("unk_token_id")} - {end, None}
    assert not others & set(found.ends)
    assert not encoder_decoder or found.decoder_start is not None
    assert all("\n" not in note for note in found.notes)
