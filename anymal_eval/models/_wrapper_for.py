"""Which wrapper takes a checkpoint."""

from collections.abc import Mapping
from typing import Any

from anymal_eval.checkpoints.transformers_folder import architecture
from anymal_eval.errors import BadCheckpoint

# Families that keep their vision part under another name than ``vision_config``.
VISION_FAMILIES = frozenset({"chameleon", "emu3", "fuyu", "git", "kosmos-2", "ovis2"})
# And those that keep their audio part under another name than ``audio_config``: the start of their ``model_type``.
AUDIO_FAMILIES = ("granite_speech",)


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
    inner = _inner(config)
    if "vision_config" in inner or kind in VISION_FAMILIES or "AutoModelForImageTextToText" in coded:
        return "hf"
    return "hf_audio" if takes_sounds(config) else None


def takes_sounds(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has an encoder of sounds.

    >>> takes_sounds({"thinker_config": {"audio_config": {}}}), takes_sounds({"audio_config": None})
    (True, False)
    """
    inner = _inner(config)
    named = any(inner.get(name) is not None for name in ("audio_config", "audio_processor"))
    return named or str(config.get("model_type")).startswith(AUDIO_FAMILIES)


def require(config: Mapping[str, Any], wrapper: str, name: str) -> None:
    """Refuse a checkpoint of another wrapper.

    Raises:
        BadCheckpoint: names the class it is and the wrapper for it.
    """
    wanted = wrapper_for(config)
    if wanted == wrapper or (wrapper == "hf_audio" and wanted == "hf" and takes_sounds(config)):
        return
    named = "AnyMAL checkpoint" if wanted == "anymal" else architecture(config)
    is_a = f"{'an' if named[0] in 'AEIO' else 'a'} {named}"
    use = f"use --model {wanted}:{name}" if wanted else "no wrapper takes that class"
    raise BadCheckpoint(f"--model {wrapper}:{name}: it is {is_a}; {use}")


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that reads and answers: of Qwen's omni models the thinker, beside which others speak."""
    thinker = config.get("thinker_config")
    return thinker if isinstance(thinker, Mapping) else config
