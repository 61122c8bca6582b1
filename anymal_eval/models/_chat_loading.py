"""Loads a chat model: checkpoint, processor, network, and the self-test of prefix sharing."""

from __future__ import annotations

from functools import partial
from typing import Any

from anymal_eval.checkpoints.transformers_folder import Checkpoint, OpenOptions, fetch, require_processor
from anymal_eval.errors import BadCheckpoint
from anymal_eval.models._chat import ChatModel
from anymal_eval.models._chat_media import MediaLimits
from anymal_eval.models._chat_options import set_media, set_template
from anymal_eval.models._prefix_self_test import (
    GENERATION,
    passes,
    require_answer,
    share,
    try_compiled_decoding,
    try_sharing,
)
from anymal_eval.models._prepared import media_reader, require_one_device
from anymal_eval.models._self_test_memory import of_chat
from anymal_eval.sources.load import collector_resting
from anymal_eval.steps import step

MISTRAL = frozenset({"voxtral", "voxtral_realtime"})


def load_chat(auto_class: str, options: OpenOptions, name: str, limits: MediaLimits) -> ChatModel:
    """Load a chat model.

    Args:
        auto_class: the transformers class to load it with.
        options: checkpoint, precision, device ...
        name: the wrapper's, for the fingerprint.
        limits: the media that it takes.

    Raises:
        BadCheckpoint: it is incomplete, of an architecture that another wrapper takes, or without a chat template.
        NeedsExtra: its processor needs torchvision.
        WrongUse: ``compile`` with several devices.
    """
    require_one_device(options, compiled=options.compile)
    checkpoint = fetch(options)
    if checkpoint.config.get("model_type") in MISTRAL:
        raise BadCheckpoint(
            f"{options.checkpoint}: the prompts of {checkpoint.architecture} are written by mistral-common, with their "
            "sounds in them, and not by a chat template; a server has it: --model vllm:CHECKPOINT"
        )
    require_processor(checkpoint)
    with step("imports", "importing torch and transformers"), collector_resting():
        from anymal_eval.checkpoints.legacy_processors import complete_processor
        from anymal_eval.checkpoints.transformers_model import import_for_generation, load_model, load_processor

        import_for_generation()
    with step("processor"):
        processor = load_processor(checkpoint, options)
    if not getattr(processor, "chat_template", None):  # Phi-4-multimodal's class leaves it to its tokenizer
        processor.chat_template = getattr(getattr(processor, "tokenizer", None), "chat_template", None)
    settings = set_template(processor, options.chat_template)
    _require_template(processor, options.checkpoint)
    complete_processor(processor, checkpoint)
    native, pictures = set_media(processor, checkpoint.folder, options)
    settings |= pictures | ({"compile": True} if options.compile else {})
    loaded = load_model(_class_of(checkpoint, auto_class), checkpoint, options, name, processor, settings)
    chat = ChatModel(loaded, media_reader(options), limits, native)
    memory = of_chat(loaded, limits)
    chat.passes = partial(passes, memory=memory, exact=loaded.exact)
    if options.share and memory.is_passed(GENERATION):
        share(chat)
    else:
        with step("warm-up", "a first answer"):
            known = require_answer(chat, options.checkpoint)
        with step("self-test", "testing whether prefixes can be shared"):
            try_sharing(chat, options.share, exact=loaded.exact, known=known)
        if chat.prefix_sharing is not None and chat.generator.grows_in_place is not False:
            memory.remember(GENERATION)
    if options.compile:
        with step("compiling", "compiling a step of decoding, and testing it"):
            try_compiled_decoding(chat, exact=loaded.exact)
    return chat


def _require_template(processor: Any, name: str) -> None:
    kind = type(processor).__name__
    if getattr(processor, "tokenizer", None) is None:
        raise BadCheckpoint(f"{name}: its processor ({kind}) has no tokenizer of its own")
    if not getattr(processor, "chat_template", None):
        raise BadCheckpoint(
            f"{name}: its processor ({kind}) has no chat template; "
            "name the file of one with -o chat_template=FILE, or put it into chat_template.jinja beside its weights"
        )


def _class_of(checkpoint: Checkpoint, auto_class: str) -> Any:
    """The class to load: of an omni model its thinker; one by its name where no Auto class knows it; the Auto class."""
    import transformers
    from transformers.models.auto import modeling_auto

    names: dict[str, str] = dict(modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)
    kind = str(checkpoint.config.get("model_type"))
    if isinstance(checkpoint.config.get("thinker_config"), dict):
        named: str | None = names.get(f"{kind}_thinker")
    else:
        named = None if kind in names or checkpoint.config.get("auto_map") else checkpoint.architecture
    found = getattr(transformers, named, None) if named else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model else getattr(transformers, auto_class)
