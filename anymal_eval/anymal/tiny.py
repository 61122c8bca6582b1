"""Writes the ``tiny`` preset's backbones with random weights, and a checkpoint of an untrained network over them.

With it everything runs from an image to a score without a download. Its answers mean nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, preset, with_paths
from anymal_eval.anymal.encoders import EncoderOptions
from anymal_eval.anymal.encoders._resnet import ResNetOptions
from anymal_eval.anymal.encoders.clap import Options as ClapOptions
from anymal_eval.anymal.encoders.imu2clip import IMU2CLIP
from anymal_eval.anymal.encoders.imu2clip import Options as IMUOptions
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.checkpoints.loading import Loading, library, quiet

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|answer|> ' + message['content'] + eos_token }}"
    "{% else %}{{ '<|' + message['role'] + '|> ' + message['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
_CORPUS = [
    "yes no a cat a dog the answer is a man riding a wave on top of a surfboard",
    "what color is the picture of the sound in the video the person is walking running describe the motion",
]


def write(folder: Path, seed: int = 0) -> Path:
    """Write backbones to ``folder/backbones`` and a checkpoint to ``folder/checkpoint``, the same for a seed.

    Returns:
        The checkpoint's folder.
    """
    backbones = folder / "backbones"
    config = preset("tiny")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        write_llm(backbones / "llm", config.llm)
        for part in config.modalities.values():
            write_encoder(backbones / part.encoder.path, part.encoder)
        network = network_of(config, backbones)
        checkpoint.save(network, folder / "checkpoint", note="untrained")
    return folder / "checkpoint"


def network_of(config: AnyMALConfig, backbones: Path, loading: Loading | None = None) -> AnyMAL:
    """The network of a config whose paths are names in the folder ``backbones``."""
    paths = {"llm": str(backbones / config.llm.path)}
    paths |= {medium: str(backbones / part.encoder.path) for medium, part in config.modalities.items()}
    return create(with_paths(config, paths), loading or Loading())


def write_llm(folder: Path, config: LLMConfig) -> None:
    """Write a random causal LM with the tokenizer of :func:`tokenizer`.

    Args:
        folder: where.
        config: with an ``architecture``.
    """
    auto = library()
    own = tokenizer()
    settings = auto.AutoConfig.for_model(
        **{"tie_word_embeddings": False, **(config.architecture or {})},
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
    )
    model = auto.AutoModelForCausalLM.from_config(settings)
    _enlarge(model)
    model.save_pretrained(folder, safe_serialization=True)
    own.save_pretrained(folder)


def write_encoder(path: Path, options: EncoderOptions, **preprocessing: Any) -> None:
    """Write a random encoder with its processor, of the ``architecture`` in its options.

    Args:
        path: where.
        options: which.
        preprocessing: settings of its processor besides the size of its input.
    """
    if isinstance(options, IMUOptions):
        from safetensors.torch import save_file

        save_file(IMU2CLIP(options, options.width).state_dict(), path)
        return
    classes = {
        "clip": ("CLIPVisionModel", "CLIPImageProcessorPil"),
        "dinov2": ("Dinov2Model", "BitImageProcessorPil"),
        "siglip": ("SiglipVisionModel", "SiglipImageProcessorPil"),
        "videomae": ("VideoMAEModel", "VideoMAEImageProcessorPil"),
        "resnet": ("ResNetModel", "ConvNextImageProcessorPil"),
        "resnet_frames": ("ResNetModel", "ConvNextImageProcessorPil"),
        "clap": ("ClapAudioModel", "ClapFeatureExtractor"),
    }
    model_class, processor_class = (getattr(library(), name) for name in classes[options.kind])
    settings = library().AutoConfig.for_model(**(options.architecture or {}))
    model_class(settings).save_pretrained(path, safe_serialization=True)
    _processor(processor_class, settings, options, preprocessing).save_pretrained(path)


def tokenizer() -> Any:
    """A byte-level tokenizer with a few merges and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(_CORPUS, trainer)
    made = library().PreTrainedTokenizerFast(
        tokenizer_object=fast,
        **_SPECIAL,
    )
    made.chat_template = TEMPLATE
    return made


def _processor(cls: Any, settings: Any, options: EncoderOptions, given: Mapping[str, Any]) -> Any:
    if isinstance(options, ClapOptions):
        size = {"feature_size": settings.num_mel_bins, "max_length_s": options.seconds}
        return cls(**{**size, "truncation": "rand_trunc", **given})
    if isinstance(options, ResNetOptions):
        return cls(**{"size": {"shortest_edge": options.side}, "crop_pct": 1.0, **given})
    side = {"height": int(settings.image_size), "width": int(settings.image_size)}
    if options.kind == "siglip":
        return cls(**{"size": side, **given})
    return cls(**{"size": {"shortest_edge": side["height"]}, "crop_size": side, **given})


def _enlarge(model: Any) -> None:
    """Larger weights than transformers' 0.02, with which all next tokens are about equally likely."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=1.0 if "embed" in name else 2.0 * parameter.shape[1] ** -0.5)
