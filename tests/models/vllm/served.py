"""A tiny LLaVA that a real vLLM server takes (its attention wants heads of 64), and the Python that has vLLM."""

import os
from pathlib import Path
from typing import Any

from tests.models.tiny_chats import PLAIN_CHAT
from tests.models.tiny_models import library, scramble, tokenizer

WIDTH = 256
SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
# Small and exact, on a machine that has other things to do.
ARGUMENTS = "--enforce-eager --max-num-batched-tokens 2048"
SERVER_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}


def python_with_vllm() -> Path | None:
    """Of the environment that ``make vllm-environment`` makes; None where it is not there."""
    named = os.environ.get("ANYMAL_EVAL_VLLM_VENV")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else cache / "anymal_eval" / "vllm-0.32.0"
    return folder / "bin" / "python" if (folder / ".whole").is_file() else None


def write_llava(folder: Path) -> None:
    hub = library()

    words = tokenizer("<s>", None, ("<image>",))
    pictures = hub.CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    processor = hub.LlavaProcessor(
        pictures, words, patch_size=14, vision_feature_select_strategy="default", chat_template=PLAIN_CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": len(words)}
    text = hub.LlamaConfig(**SHAPE, **ends, num_key_value_heads=2, max_position_embeddings=2048)
    vision = hub.CLIPVisionConfig(**{**SHAPE, "num_hidden_layers": 3}, image_size=56, patch_size=14, projection_dim=64)
    config = hub.LlavaConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), image_seq_length=16,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    scramble(hub.LlavaForConditionalGeneration(config), 31).save_pretrained(folder)
    _name_as_released(folder / "model.safetensors")
    processor.save_pretrained(folder)


def _name_as_released(file: Path) -> None:
    """The names of llava-hf/llava-1.5-7b-hf: transformers 5 saves others, which vLLM does not know."""
    from safetensors.torch import load_file, save_file

    old, new = "vision_tower.", "vision_tower.vision_model."
    tensors = {name.replace(old, new) if new not in name else name: value for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
