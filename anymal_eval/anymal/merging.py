"""Merges the adapters of stage 2 into a copy of the language model, which then needs no peft."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.backbones import placed
from anymal_eval.checkpoints.files import settings_files
from anymal_eval.checkpoints.loading import fill, library, quiet
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.weights import fingerprint, read_tensors
from anymal_eval.errors import BadCheckpoint, WrongUse


def merge(folder: Path, out: Path, backbones: Mapping[str, str] | None = None) -> None:
    """Write ``out`` with the same projectors, and ``out/llm`` with the adapters inside its weights.

    The sums are made in fp32 and rounded once, to the type of the language model's file.

    Args:
        folder: the checkpoint.
        out: the new one.
        backbones: where frozen parts lie now, as for :func:`anymal_eval.anymal.backbones.placed`.

    Raises:
        WrongUse: the checkpoint has no adapters; ``out`` holds other files.
        BadCheckpoint: a part is missing, or the language model is not the one of training.
    """
    facts = checkpoint.read(folder)
    if not facts.adapters:
        raise WrongUse(f"{folder} has no adapters: there is nothing to merge")
    config = placed(facts, backbones or {})
    source = locate(config.llm.path, convert=True)
    if facts.frozen.get("llm") not in (None, fingerprint(source)):
        raise BadCheckpoint(f"{source} is not the language model that {folder} was trained with")
    contents = checkpoint.Contents(
        config=replace(config, lora=None),
        frozen=facts.frozen,
        projectors=read_tensors(folder / checkpoint.PROJECTORS),
        note=facts.note,
        orders=facts.orders,
        own={"llm": partial(_write_merged, source, folder / checkpoint.ADAPTERS)},
    )
    checkpoint.write(out, contents)


def _write_merged(source: Path, adapters: Path, target: Path) -> None:
    auto = library()
    model, lacking = fill(auto.AutoModelForCausalLM, source, dtype="auto", use_safetensors=True)
    if lacking:
        raise BadCheckpoint(f"{source} lacks {len(lacking)} tensors, first {lacking[0]}")
    stored = model.dtype
    merged: Any = lora.load(model.float(), adapters, trainable=False).merge_and_unload(safe_merge=True)
    with quiet():
        merged.to(stored).save_pretrained(target, safe_serialization=True)
    for file in settings_files(source):
        if not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
