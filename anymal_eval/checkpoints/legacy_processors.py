"""Processors of early LLaVA checkpoints lack settings that their classes need; the network's configuration has them.

Without ``patch_size`` every picture fails in the processor, without ``num_additional_image_tokens`` the places of a
picture are one fewer than its features (vllm#13690, LlamaFactory#7517).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anymal_eval.checkpoints.transformers_folder import Checkpoint
from anymal_eval.errors import BadCheckpoint

FILE = "processor_config.json"
# Vision towers whose output starts with a token that is no patch.
CLASS_TOKEN = frozenset({"clip_vision_model", "clip"})


def complete_processor(processor: Any, checkpoint: Checkpoint) -> None:
    """Set what the processor lacks and the configuration gives.

    Raises:
        BadCheckpoint: names the file and the key that neither has.
    """
    content = checkpoint.json(FILE)
    declared: Mapping[str, Any] = content if isinstance(content, dict) else {}
    vision = checkpoint.config.get("vision_config") or {}
    if getattr(processor, "patch_size", 0) is None:
        found = vision.get("patch_size")
        if type(found) is not int or found < 1:
            raise BadCheckpoint(
                f"{checkpoint.folder / FILE} lacks patch_size, and vision_config of config.json gives none: add it"
            )
        processor.patch_size = found
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        found = checkpoint.config.get("vision_feature_select_strategy", "default")
        if found not in ("default", "full"):
            raise BadCheckpoint(
                f"{checkpoint.folder / FILE} lacks vision_feature_select_strategy, config.json gives {found!r:.40}: "
                "add default or full there"
            )
        processor.vision_feature_select_strategy = found
    name = "num_additional_image_tokens"
    if getattr(processor, name, None) == 0 and name not in declared:
        kind = vision.get("model_type", "clip_vision_model")  # LLaVA's own default
        setattr(processor, name, int(kind in CLASS_TOKEN))
