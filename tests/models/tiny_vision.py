"""Tiny checkpoints, with random weights, of families whose processor needs torchvision, in their released layout.

Released folders hold ``config.json``, the processor's files and one chat template, which writes each medium's place:
Qwen/Qwen2.5-VL-3B-Instruct and Qwen/Qwen3-VL-4B-Instruct (``<|vision_start|><|image_pad|><|vision_end|>``),
OpenGVLab/InternVL3-1B-hf, HuggingFaceTB/SmolVLM2-500M-Video-Instruct, llava-hf/llava-onevision-qwen2-0.5b-ov-hf,
llava-hf/LLaVA-NeXT-Video-7B-hf, lkhl/VideoLLaMA3-2B-Image-HF and meta-llama/Llama-4-Scout-17B-16E-Instruct.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny_chats import PLAIN_CHAT
from tests.models.tiny_models import LLAMA, VISION, WIDTH, library, scramble, tokenizer

needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT: dict[str, Any] = {**LLAMA, **ENDS, "max_position_embeddings": 4096}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif c['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CLIP_CHAT = PLAIN_CHAT.replace("{% else %}", "{% elif c['type'] == 'video' %}<video>\n{% else %}")
SHAPES = [[28, 56], [56, 28], [56, 56]]


def save(model: Any, processor: Any, folder: Path) -> None:
    scramble(model, 3).save_pretrained(folder)
    processor.save_pretrained(folder)


def token_id(words: Any, mark: str) -> int:
    return int(words.convert_tokens_to_ids(mark))


def edges(side: int, frames: int = 1) -> dict[str, int]:
    """At least 2 x 2 patches of a picture, at most 4 x 4, as the Qwen processors have it."""
    return {"shortest_edge": (2 * side) ** 2, "longest_edge": frames * (4 * side) ** 2}


def qwen(kind: str, folder: Path) -> None:
    hub = library()
    name = {"qwen2-vl": "Qwen2VL", "qwen2.5-vl": "Qwen2_5_VL", "qwen3-vl": "Qwen3VL"}[kind]
    patch = 16 if kind == "qwen3-vl" else 14
    words = tokenizer(None, None, QWEN_MARKS)
    pictures = hub.Qwen2VLImageProcessorPil(size=edges(patch), patch_size=patch)
    # Qwen3-VL's own samples by time; the older ones are released without a rule.
    clips = getattr(hub, "Qwen3VLVideoProcessor" if kind == "qwen3-vl" else "Qwen2VLVideoProcessor")(
        size=edges(patch, frames=8)
    )
    vision: dict[str, Any] = {"depth": 2, "num_heads": 4, "patch_size": patch, "hidden_size": WIDTH}
    if kind == "qwen2-vl":
        vision |= {"embed_dim": WIDTH, "mlp_ratio": 2}
    elif kind == "qwen2.5-vl":
        vision |= {"intermediate_size": 48, "out_hidden_size": WIDTH, "fullatt_block_indexes": [1], "window_size": 56}
    else:
        vision |= {"intermediate_size": 48, "out_hidden_size": WIDTH, "deepstack_visual_indexes": [0]}
        vision |= {"num_position_embeddings": 16}
    text = {**TEXT, "vocab_size": len(words), "rope_parameters": ROPE}
    if kind == "qwen3-vl":
        text |= {"head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}}
    config = getattr(hub, f"{name}Config")(
        text_config=text, vision_config=vision, image_token_id=token_id(words, "<|image_pad|>"),
        video_token_id=token_id(words, "<|video_pad|>"), vision_start_token_id=token_id(words, "<|vision_start|>"),
        vision_end_token_id=token_id(words, "<|vision_end|>"),
    )  # fmt: skip
    processor = getattr(hub, f"{name}Processor")(pictures, words, clips, chat_template=QWEN_CHAT)
    save(getattr(hub, f"{name}ForConditionalGeneration")(config), processor, folder)


def internvl(folder: Path) -> None:
    hub = library()
    marks = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}  # fmt: skip
    words = tokenizer(None, None, marks)
    side = {"height": 28, "width": 28}
    pictures = hub.GotOcr2ImageProcessorPil(size=side, crop_to_patches=True, max_patches=2)
    clips = hub.InternVLVideoProcessor(size=side, num_frames=4, do_sample_frames=True)
    chat = CLIP_CHAT.replace("<image>\n", "<IMG_CONTEXT>\n")
    config = hub.InternVLConfig(
        vision_config={"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
                       "image_size": [28, 28], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(words)},
        image_token_id=token_id(words, "<IMG_CONTEXT>"), image_seq_length=1,
    )  # fmt: skip
    processor = hub.InternVLProcessor(pictures, words, clips, image_seq_length=1, chat_template=chat)
    save(hub.InternVLForConditionalGeneration(config), processor, folder)


def smolvlm(folder: Path) -> None:
    hub = library()
    rows = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<video>", *rows)
    words = tokenizer(None, None, marks)
    side = {"longest_edge": 28}
    pictures = hub.SmolVLMImageProcessorPil(size={"longest_edge": 56}, max_image_size=side)
    clips = hub.SmolVLMVideoProcessor(size=side, max_image_size=side, num_frames=6, fps=2, do_sample_frames=True)
    config = hub.SmolVLMConfig(
        vision_config={**VISION, "model_type": "smolvlm_vision"}, scale_factor=2, pad_token_id=0,
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(words)},
        image_token_id=token_id(words, "<image>"),
    )  # fmt: skip
    processor = hub.SmolVLMProcessor(pictures, words, clips, image_seq_len=1, chat_template="<s>" + CLIP_CHAT)
    save(hub.SmolVLMForConditionalGeneration(config), processor, folder)


def llava_onevision(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, ("<image>", "<video>"))
    side = {"height": 28, "width": 28}
    pictures = hub.LlavaOnevisionImageProcessorPil(size=side, image_grid_pinpoints=SHAPES)
    config = hub.LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(words)}, image_grid_pinpoints=SHAPES,
        image_token_index=token_id(words, "<image>"), video_token_index=token_id(words, "<video>"),
    )  # fmt: skip
    processor = hub.LlavaOnevisionProcessor(
        pictures, words, hub.LlavaOnevisionVideoProcessor(size=side), num_image_tokens=4,
        vision_feature_select_strategy="full", chat_template=CLIP_CHAT,
    )  # fmt: skip
    save(hub.LlavaOnevisionForConditionalGeneration(config), processor, folder)


def llava_next_video(folder: Path) -> None:
    hub = library()
    words = tokenizer("<s>", None, ("<image>", "<video>"))
    sizes: dict[str, Any] = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    pictures = hub.LlavaNextImageProcessorPil(**sizes, image_grid_pinpoints=SHAPES)
    config = hub.LlavaNextVideoConfig(
        vision_config={"model_type": "clip_vision_model", **VISION, "projection_dim": 16},
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(words)}, image_grid_pinpoints=SHAPES,
        image_token_index=token_id(words, "<image>"), video_token_index=token_id(words, "<video>"),
    )  # fmt: skip
    processor = hub.LlavaNextVideoProcessor(
        hub.LlavaNextVideoVideoProcessor(**sizes), pictures, words, patch_size=14, chat_template=CLIP_CHAT,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    save(hub.LlavaNextVideoForConditionalGeneration(config), processor, folder)


def videollama3(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, QWEN_MARKS)
    pictures = hub.VideoLlama3ImageProcessorPil(size=edges(14))
    clips = hub.VideoLlama3VideoProcessor(size=edges(14, frames=8), fps=2, max_frames=6, do_sample_frames=True)
    config = hub.VideoLlama3Config(
        vision_config={"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "patch_size": 14},
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(words)},
        image_token_id=token_id(words, "<|image_pad|>"), video_token_id=token_id(words, "<|video_pad|>"),
    )  # fmt: skip
    chat = QWEN_CHAT.replace("<|vision_start|>", "").replace("<|vision_end|>", "")
    processor = hub.VideoLlama3Processor(pictures, words, clips, chat_template=chat)
    save(hub.VideoLlama3ForConditionalGeneration(config), processor, folder)


def llama4(folder: Path) -> None:
    hub = library()
    marks = ("<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>",
             "<|tile_y_separator|>", "<|begin_of_text|>")  # fmt: skip
    words = tokenizer(None, None, marks)
    pictures = hub.Llama4ImageProcessor(size={"height": 56, "width": 56}, max_patches=2)
    config = hub.Llama4Config(
        vision_config={
            "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 4 * WIDTH,
            "vision_output_dim": WIDTH, "image_size": 56, "patch_size": 14, "projector_input_dim": WIDTH,
            "projector_output_dim": WIDTH,
        },
        text_config={
            **TEXT, "vocab_size": len(words), "intermediate_size_mlp": 48, "head_dim": 8, "num_local_experts": 2,
        },
        image_token_index=token_id(words, "<|patch|>"), boi_token_index=token_id(words, "<|image_start|>"),
        eoi_token_index=token_id(words, "<|image_end|>"),
    )  # fmt: skip
    chat = PLAIN_CHAT.replace("<image>\n", "<|image|>")
    processor = hub.Llama4Processor(pictures, words, patch_size=14, pixel_shuffle_ratio=0.5, chat_template=chat)
    save(hub.Llama4ForConditionalGeneration(config), processor, folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "qwen2-vl": lambda folder: qwen("qwen2-vl", folder),
    "qwen2.5-vl": lambda folder: qwen("qwen2.5-vl", folder),
    "qwen3-vl": lambda folder: qwen("qwen3-vl", folder),
    "internvl": internvl,
    "smolvlm": smolvlm,
    "llava-onevision": llava_onevision,
    "llava-next-video": llava_next_video,
    "videollama3": videollama3,
    "llama4": llama4,
}
