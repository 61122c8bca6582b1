"""Which wrapper takes a checkpoint."""

from collections.abc import Mapping
from typing import Any

from anymal_eval.checkpoints.transformers_folder import architecture
from anymal_eval.errors import BadCheckpoint

# Families that keep their vision part under another name than ``vision_config``.
VISION_FAMILIES = frozenset({"chameleon", "emu3", "fuyu", "git", "kosmos-2", "ovis2"})


def wrapper_for(config: Mapping[str, Any]) -> str | None:
    """The wrapper for a checkpoint's ``config.json``, or None.

    >>> wrapper_for({"model_type": "llava", "vision_config": {}}), wrapper_for({"model_type": "llama"})
    ('hf', None)
    """
    if "network" in config and "format" in config:
        return "anymal"
    kind = config.get("model_type")
    if kind in ("blip-2", "instructblip"):
        return kind.replace("-", "") if architecture(config).endswith("ForConditionalGeneration") else None
    # Classes that come with their own code declare what they are.
    coded = config.get("auto_map") or {}
    if "vision_config" in config or kind in VISION_FAMILIES or "AutoModelForImageTextToText" in coded:
        return "hf"
    return "hf_audio" if "audio_config" in config else None


def require(config: Mapping[str, Any], wrapper: str, name: str) -> None:
    """Refuse a checkpoint of another wrapper.

    Raises:
        BadCheckpoint: names the class it is and the wrapper for it.
    """
    wanted = wrapper_for(config)
    if wanted == wrapper or (wrapper == "hf_audio" and "audio_config" in config):
        return
    named = "AnyMAL checkpoint" if wanted == "anymal" else architecture(config)
    is_a = f"{'an' if named[0] in 'AEIO' else 'a'} {named}"
    use = f"use --model {wanted}:{name}" if wanted else "no wrapper takes that class"
    raise BadCheckpoint(f"--model {wrapper}:{name}: it is {is_a}; {use}")
