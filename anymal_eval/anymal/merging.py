"""Merges the adapters of stage 2 into a copy of the language model, which then needs no peft."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.checkpoints.loading import fill, library, quiet
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.weights import fingerprint, read_tensors
from anymal_eval.errors import BadCheckpoint, WrongUse

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.gguf")


def merge(folder: Path, out: Path) -> None:
    """Write ``out`` with the same projectors, and ``out/llm`` with the adapters inside its weights.

    The sums are made in fp32 and rounded once, to the type of the language model's file.

    Raises:
        WrongUse: the checkpoint has no adapters; ``out`` holds other files.
        BadCheckpoint: a part is missing, or the language model is not the one of training.
    """
    if not checkpoint.has_adapters(folder):
        raise WrongUse(f"{folder} has no adapters: there is nothing to merge")
    config, frozen = checkpoint.placed(folder), checkpoint.read(folder)[1]
    source = locate(config.llm.path, convert=True)
    if frozen.get("llm") not in (None, fingerprint(source)):
        raise BadCheckpoint(f"{source} is not the language model that {folder} was trained with")
    contents = checkpoint.Contents(
        config=replace(config, lora=None),
        frozen=frozen,
        projectors=read_tensors(folder / checkpoint.PROJECTORS),
        note=checkpoint.note(folder),
        orders=checkpoint.orders(folder),
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
    for file in sorted(source.iterdir()):
        skipped = any(file.match(pattern) for pattern in _WEIGHTS) or (target / file.name).exists()
        if file.is_file() and not skipped:
            shutil.copyfile(file, target / file.name)
