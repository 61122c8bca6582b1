"""The AnyMAL network: a checkpoint folder of ``train align`` or ``train instruct``, or the demo model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.codec import encode
from anymal_eval.errors import WrongUse
from anymal_eval.models._prepared import media_reader, require_one_device
from anymal_eval.models._protocols import Model
from anymal_eval.models.anymal.network_model import NetworkModel
from anymal_eval.models.anymal.options import Options, folder_of
from anymal_eval.records import MediaKind
from anymal_eval.steps import step

if TYPE_CHECKING:
    from anymal_eval.anymal.checkpoint_facts import CheckpointFacts
    from anymal_eval.anymal.model import AnyMAL

__all__ = ["Options", "accepts", "fingerprint_of", "in_memory", "load", "load_reporting", "weights_at"]


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media that the checkpoint has encoders for; reads its config alone."""
    from anymal_eval.anymal import importers
    from anymal_eval.anymal.checkpoint_facts import read

    folder = folder_of(options)
    importers.refuse(folder)
    return frozenset(read(folder).config.modalities)


def weights_at(options: Options) -> list[str]:
    """The frozen parts, where they lie on this machine: what the checkpoint itself holds is small.

    Raises:
        BadCheckpoint, BadDefinition: as loading it does.
    """
    from anymal_eval.anymal.backbones import placed
    from anymal_eval.anymal.checkpoint_facts import read
    from anymal_eval.anymal.config import paths_of

    return [path for path in paths_of(placed(read(folder_of(options)), options.frozen_parts)).values() if path]


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete or another network's, or its backbones are not those that it was trained with.
        WrongUse: ``llm_engine=vllm``, and its server does not come up.
    """
    return load_reporting(options, lambda line: None)


def load_reporting(options: Options, report: Callable[[str], None]) -> Model:
    """The same, with lines about the start of a server."""
    from anymal_eval.anymal import checkpoint, importers
    from anymal_eval.checkpoints.loading import loading_of, with_precision

    require_one_device(options, compiled=options.compile)
    if options.compile and options.llm_engine == "vllm":
        raise WrongUse("-o compile=true: not with -o llm_engine=vllm, which decodes elsewhere")
    folder, options = folder_of(options), with_precision(options)
    importers.refuse(folder)
    facts = checkpoint.read(folder)
    network = checkpoint.load(facts, loading_of(options), options.frozen_parts)
    name = fingerprint_of(facts, encode(options), checkpoint.fingerprints(network))
    if options.llm_engine == "vllm":
        from anymal_eval.models.anymal.embedded_decoding import EmbeddedDecodingModel

        model: NetworkModel = EmbeddedDecodingModel(network, media_reader(options), name, options, report)
    else:
        model = NetworkModel(network, media_reader(options), name, options)
    model.remark = ", ".join(filter(None, (facts.note, "compile=True" if options.compile else "")))
    model.provenance["prompt_orders"] = list(facts.orders)
    if options.compile:
        with step("compiling", "compiling a step of decoding, and testing it"):
            model.compile_decoding(exact=options.precision == "fp32" and options.quantize == "none")
    return model


def in_memory(network: AnyMAL, options: Options) -> Model:
    """Wrap a network in memory, to evaluate it during training. Its fingerprint does not name its weights.

    Closing the model leaves the network as it is.
    """
    from anymal_eval.checkpoints.loading import precision_name

    own = replace(options, precision=precision_name(network.llm.dtype))
    return NetworkModel(network, media_reader(own), "anymal:in-memory", own)


def fingerprint_of(facts: CheckpointFacts, options: Mapping[str, Any], frozen: Mapping[str, str]) -> str:
    """The fingerprint of a checkpoint that is loaded with these options, as a manifest has them, over frozen parts."""
    how = [str(options.get("precision")), str(options.get("quantize"))]
    content = [f"{file.relative_to(facts.folder)} {fingerprint.of_file(file)}" for file in facts.files]
    return f"anymal:{fingerprint.of([content, *how, dict(frozen), *(['compile'] if options.get('compile') else [])])}"
