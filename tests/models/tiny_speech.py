"""Tiny checkpoints, with random weights, of models that hear and need a package of their own.

google/gemma-3n-E2B-it sees through timm's MobileNetV5 (``vision_config.architecture``), here at a sixteenth of its
width; microsoft/Phi-4-multimodal-instruct has an image processor for torchvision alone; the features of
ibm-granite/granite-speech-3.3-2b are torchaudio's.
"""

from collections.abc import Callable
from pathlib import Path

from tests.models.tiny_chats import PLAIN_CHAT
from tests.models.tiny_models import WIDTH, library, tokenizer
from tests.models.tiny_vision import ENDS, TEXT, save, token_id

GEMMA_MARKS = {
    "image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
    "audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>",
}  # fmt: skip
PHI_MARKS = {"image_token": "<|endoftext10|>", "audio_token": "<|endoftext11|>"}
SOUND_PLACE = "{% elif c['type'] == 'audio' %}SOUND{% else %}"


def _chat(image: str, sound: str) -> str:
    both = PLAIN_CHAT.replace("{% else %}", SOUND_PLACE.replace("SOUND", sound))
    return both.replace("<image>\n", image)


def gemma3n(folder: Path) -> None:
    hub = library()
    words = tokenizer("<s>", None, GEMMA_MARKS)
    size = len(words)
    processor = hub.Gemma3nProcessor(
        hub.Gemma3nAudioFeatureExtractor(feature_size=16),
        hub.SiglipImageProcessorPil(size={"height": 64, "width": 64}, do_normalize=False), words,
        chat_template="<s>" + _chat("<image_soft_token>", "<audio_soft_token>"), audio_seq_length=8, image_seq_length=4,
    )  # fmt: skip
    config = hub.Gemma3nConfig(
        text_config={
            **TEXT, "vocab_size": size, "intermediate_size": [48] * 4, "num_hidden_layers": 4, "head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16, "laurel_rank": 4,
            "vocab_size_per_layer_input": size, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0,
            "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4,
        },
        vision_config={
            "hidden_size": 2048, "vocab_size": 8, "vocab_offset": size - 16,
            "model_args": {"channel_multiplier": 0.0625, "msfa_output_resolution": 2},
        },
        audio_config={
            "vocab_size": 8, "vocab_offset": size - 8, "input_feat_size": 16, "hidden_size": WIDTH,
            "conf_num_attention_heads": 4, "conf_num_hidden_layers": 1, "sscp_conv_channel_size": [8, 4],
        },
        audio_soft_tokens_per_image=8, vision_soft_tokens_per_image=4,
        **{f"{name}_id": token_id(words, mark) for name, mark in GEMMA_MARKS.items()},
    )  # fmt: skip
    save(hub.Gemma3nForConditionalGeneration(config), processor, folder)


def phi4(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, PHI_MARKS)
    processor = hub.Phi4MultimodalProcessor(
        hub.Phi4MultimodalImageProcessor(dynamic_hd=1),  # which counts tokens of 448 x 448 pixels, whatever its size
        hub.Phi4MultimodalFeatureExtractor(feature_size=80), words,
        chat_template=_chat(PHI_MARKS["image_token"], PHI_MARKS["audio_token"]),
    )  # fmt: skip
    config = hub.Phi4MultimodalConfig(
        **TEXT, vocab_size=len(words), original_max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        vision_config={
            "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_token_id": token_id(words, "<|endoftext10|>"),
        },
        audio_config={
            "hidden_size": WIDTH, "intermediate_size": 48, "num_blocks": 2, "num_attention_heads": 4,
            "ext_pw_out_channel": WIDTH, "depthwise_separable_out_channel": WIDTH, "nemo_conv_channels": 8,
            "bias_max_distance": 50, "audio_token_id": token_id(words, "<|endoftext11|>"),
        },
    )  # fmt: skip
    save(hub.Phi4MultimodalForCausalLM(config), processor, folder)


def granite_speech(folder: Path) -> None:
    hub = library()
    words = tokenizer(None, None, ("<|audio|>",))
    processor = hub.GraniteSpeechProcessor(
        hub.GraniteSpeechFeatureExtractor(), words,
        chat_template=PLAIN_CHAT.replace("<image>\n", "<|audio|>").replace("'image'", "'audio'"),
    )  # fmt: skip
    config = hub.GraniteSpeechConfig(
        encoder_config={
            "num_layers": 2, "hidden_dim": WIDTH, "num_heads": 4, "dim_head": 8, "output_dim": 10,
        },
        projector_config={
            "model_type": "blip_2_qformer", "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 48, "encoder_hidden_size": WIDTH,
        },
        text_config={"model_type": "granite", **TEXT, **ENDS, "vocab_size": len(words)},
        audio_token_index=token_id(words, "<|audio|>"), has_lora_adapter=False,
    )  # fmt: skip
    save(hub.GraniteSpeechForConditionalGeneration(config), processor, folder)


BUILDERS: dict[str, Callable[[Path], None]] = {"gemma3n": gemma3n, "phi4": phi4, "granite-speech": granite_speech}
