"""The AnyMAL network: a checkpoint folder of ``train align`` or ``train instruct``, or the demo model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval import fingerprint
from anymal_eval.models._prepared import media_reader
from anymal_eval.models._protocols import Model
from anymal_eval.models.anymal.network_model import NetworkModel
from anymal_eval.models.anymal.options import Options, folder_of
from anymal_eval.records import MediaKind

if TYPE_CHECKING:
    from anymal_eval.anymal.model import AnyMAL

__all__ = ["Options", "accepts", "in_memory", "load"]


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media that the checkpoint has encoders for; reads its config alone."""
    from anymal_eval.anymal import checkpoint, importers

    folder = folder_of(options)
    importers.refuse(folder)
    return frozenset(checkpoint.read(folder)[0].modalities)


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete or another network's, or its backbones are not those that it was trained with.
    """
    from anymal_eval.anymal import checkpoint, importers
    from anymal_eval.checkpoints.loading import loading_of, with_precision

    folder, options = folder_of(options), with_precision(options)
    importers.refuse(folder)
    network = checkpoint.load(folder, loading_of(options))
    name = fingerprint.of([_content(folder), options.precision, options.quantize, checkpoint.fingerprints(network)])
    model = NetworkModel(network, media_reader(options), f"anymal:{name}", options)
    model.remark = checkpoint.note(folder)
    model.provenance["prompt_orders"] = list(checkpoint.orders(folder))
    return model


def in_memory(network: AnyMAL, options: Options) -> Model:
    """Wrap a network in memory, to evaluate it during training. Its fingerprint does not name its weights.

    Closing the model leaves the network as it is.
    """
    from anymal_eval.checkpoints.loading import precision_name

    own = replace(options, precision=precision_name(network.llm.dtype))
    return NetworkModel(network, media_reader(own), "anymal:in-memory", own)


def _content(folder: Path) -> list[str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [f"{file.relative_to(folder)} {fingerprint.of_file(file)}" for file in files]
