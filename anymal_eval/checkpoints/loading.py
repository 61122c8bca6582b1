"""How weights are loaded, and transformers' classes filled with them."""

import dataclasses
import importlib.util
import logging as python_logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from anymal_eval.checkpoints.device_map import OPTION, DeviceMap, read_device_map
from anymal_eval.checkpoints.files import read_json, reason
from anymal_eval.checkpoints.headers import check_declared, check_sizes
from anymal_eval.checkpoints.locating import locate, locate_config
from anymal_eval.checkpoints.quantization import quantization_config
from anymal_eval.checkpoints.transformers_folder import LoadingOptions, Quantization
from anymal_eval.errors import AnyMALEvalError, BadCheckpoint, NeedsExtra
from anymal_eval.paths import expanded

OptionsType = TypeVar("OptionsType", bound=LoadingOptions)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class BackboneLoading:
    """How a frozen part is built: with its weights, or as shapes on the meta device (for ``memory.py``)."""

    dtype: torch.dtype = torch.float32
    weights: bool = True


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded.

    Attributes:
        precision: of the weights that are not quantized.
        quantize: how the language model's linear layers are quantized.
        device: where the model is.
        device_map: devices of the language model, as transformers takes them; None for ``device`` alone.
        attention: transformers' name of the attention kernel of the language model; None for its choice.
        sharded: whether the language model will be sharded over several processes: it is left where it was read, and
            4-bit weights are stored as numbers of the type of the others, because a group is gathered in one type.
    """

    precision: torch.dtype = torch.float32
    quantize: Quantization = "none"
    device: str = "cpu"
    device_map: DeviceMap | None = None
    attention: str | None = None
    sharded: bool = False

    @property
    def backbone(self) -> BackboneLoading:
        """For the frozen parts."""
        return BackboneLoading(dtype=self.precision)

    def arguments(self, unquantized: Sequence[str] = ()) -> dict[str, Any]:
        """What ``from_pretrained`` takes to quantize a model and to put it on its devices; empty where it does neither.

        Args:
            unquantized: modules that are not quantized, besides the output head.
        """
        storage = self.precision if self.sharded else torch.uint8
        settings = quantization_config(self.quantize, self.precision, unquantized, storage)
        kernel = {} if self.attention is None else {"attn_implementation": self.attention}
        if settings is not None:
            return {"quantization_config": settings, "device_map": self.device_map or {"": self.device}, **kernel}
        return kernel if self.device_map is None else {"device_map": self.device_map, **kernel}


def loading_of(options: LoadingOptions, device_map_option: str = OPTION) -> Loading:
    """What the options of a model mean here.

    Args:
        options: of the model.
        device_map_option: how the user gives ``device_map``, for messages.

    Raises:
        WrongUse: a ``device_map`` that cannot be.
        NeedsExtra: ``--device cuda`` without a GPU.
    """
    options = with_precision(options, device_map_option)
    device_map = read_device_map(options.device_map, options.device, device_map_option)
    device = pick_device(options.device)
    return Loading(
        precision=PRECISIONS[options.precision], quantize=options.quantize, device=device, device_map=device_map
    )


def attention_of(name: Literal["auto", "sdpa", "flash", "eager"]) -> str | None:
    """Transformers' name of an attention kernel.

    Raises:
        NeedsExtra: flash attention, whose package or whose GPU is not here.
    """
    if name != "flash":
        return None if name == "auto" else name
    if importlib.util.find_spec("flash_attn") is None or not torch.cuda.is_available():
        raise NeedsExtra(
            "--attn flash: needs a GPU and the Python package flash-attn; --attn sdpa gives the same numbers"
        )
    return "flash_attention_2"


def with_precision(options: OptionsType, device_map_option: str = OPTION) -> OptionsType:
    """The same options with the number format named: ``auto`` is bf16 where the weights lie on a GPU, else fp32.

    Raises:
        WrongUse: a ``device_map`` that cannot be.
        NeedsExtra: ``--device cuda`` without a GPU.
    """
    if options.precision != "auto":
        return options
    device = pick_device(options.device)
    device_map = read_device_map(options.device_map, options.device, device_map_option)
    if isinstance(device_map, dict) and set(device_map.values()) == {"cpu"}:
        device = "cpu"
    return dataclasses.replace(options, precision="fp32" if device == "cpu" else "bf16")


def precision_name(dtype: torch.dtype) -> Literal["fp32", "bf16"]:
    """The option that names a number format of the weights."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def device_named(device: str) -> str:
    """``auto`` resolved; a device that is named need not be here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def pick_device(device: str) -> str:
    """``auto`` resolved.

    Raises:
        NeedsExtra: a GPU that is not here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise NeedsExtra("--device cuda: torch finds no GPU here")
    return device_named(device)


def architecture(path: str, given: Mapping[str, Any] | None) -> Any:
    """The transformers configuration of a backbone.

    Args:
        path: its checkpoint.
        given: ``model_type`` and sizes, used where the checkpoint is no local folder (presets carry them, so that
            memory can be estimated without a download).

    Raises:
        BadCheckpoint: it is not found.
    """
    if expanded(path).is_dir() or given is None:
        file = locate_config(path)
        check_sizes(read_json(file), file)
        with checkpoint_errors(f"{file} is no configuration that transformers reads"):
            return library().AutoConfig.from_pretrained(file.parent)
    check_sizes(given, Path(path))
    with checkpoint_errors(f"{path}: its architecture is none of transformers"):
        return library().AutoConfig.for_model(**given)


def backbone(cls: Any, path: str, given: Mapping[str, Any] | None, loading: BackboneLoading, **arguments: Any) -> Any:
    """A transformers class filled with a checkpoint's weights, all of them, or as shapes only.

    Raises:
        BadCheckpoint: no safetensors, another architecture, or tensors that are missing or of another shape.
    """
    if not loading.weights:
        with torch.device("meta"), quiet():
            config = _part(architecture(path, given), cls)
            make = cls.from_config if hasattr(cls, "from_config") else cls._from_config
            return make(config, dtype=loading.dtype)
    folder = locate_config(str(locate(path, convert=True))).parent
    model, lacking = fill(cls, folder, dtype=loading.dtype, use_safetensors=True, **arguments)
    if lacking:
        raise BadCheckpoint(f"{folder} is no {cls.__name__}: it lacks {len(lacking)} tensors, first {lacking[0]}")
    return model


def fill(cls: Any, folder: Path, what: str = "", **arguments: Any) -> tuple[Any, list[str]]:
    """A transformers class with a checkpoint's weights.

    Args:
        cls: the class, or an Auto class.
        folder: the checkpoint.
        what: the class of the checkpoint, for the error.
        arguments: of ``from_pretrained``.

    Returns:
        The model, and the names of the tensors that the checkpoint lacks or has in another shape: transformers fills
        them with noise.

    Raises:
        BadCheckpoint: it cannot be loaded.
    """
    check_declared(folder)
    with checkpoint_errors(f"{folder} cannot be loaded as {what or cls.__name__}"), quiet():
        model, report = cls.from_pretrained(folder, output_loading_info=True, **arguments)
    return model, sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))


def missing_tensors(cls: Any, folder: Path) -> list[str]:
    """The tensors of a transformers class that a checkpoint lacks or has in another shape. Reads no weights."""
    return fill(cls, folder, device_map="meta", dtype=torch.float32, ignore_mismatched_sizes=True)[1]


@contextmanager
def checkpoint_errors(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads a checkpoint into one line.

    A checkpoint may come from anyone, and libraries raise errors of every class on files that they did not write, down
    to panics of a library in Rust, which are no ``Exception``.

    Args:
        what: names the checkpoint, and what cannot be done with it.

    Raises:
        BadCheckpoint: the line. An error of ours, and an ``ImportError``, stay as they are.
    """
    try:
        yield
    except (AnyMALEvalError, ImportError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadCheckpoint(f"{what}: {reason(error)}") from error


def plain_generation(model: Any) -> dict[str, object]:
    """Drop a checkpoint's own decoding settings, which ``generate`` would silently fill in; keep what ends an answer.

    Returns:
        What was dropped.
    """
    kept = ("eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id")
    own = model.generation_config
    model.generation_config = library().GenerationConfig(**{name: getattr(own, name, None) for name in kept})
    forced, rows = model.generation_config.forced_bos_token_id, len(model.get_input_embeddings().weight)
    if not (isinstance(forced, int) and 0 <= forced < rows):
        model.generation_config.forced_bos_token_id = None
    # These two do not choose tokens.
    silent = ("_from_model_config", "transformers_version", "use_cache", *kept)
    return {
        name: value
        for name, value in own.to_diff_dict().items()
        if name not in silent and not name.startswith("output_")
    }


def library() -> Any:
    """transformers, imported when first needed; typed as Any because its own types are incomplete."""
    import transformers

    return transformers


class quiet:  # noqa: N801 - used as a statement
    """Keeps transformers' load reports and progress bars off the terminal, and restores its level afterwards."""

    def __enter__(self) -> None:
        logging = library().utils.logging
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # peft 0.21 calls transformers 5.23 by a deprecated name
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # bitsandbytes looks for an optional kernel when imported, and warns when it is not there
        self._bitsandbytes = python_logging.getLogger("bitsandbytes")
        self._own_level = self._bitsandbytes.level
        self._bitsandbytes.setLevel(python_logging.ERROR)
        self._level = logging.get_verbosity()
        self._bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        logging = library().utils.logging
        self._warnings.__exit__(None, None, None)
        self._bitsandbytes.setLevel(self._own_level)
        logging.set_verbosity(self._level)
        if self._bars:
            logging.enable_progress_bar()


def freeze(module: nn.Module) -> nn.Module:
    """Switch gradients of its weights and dropout off."""
    module.requires_grad_(False)
    return module.eval()


def _part(config: Any, cls: Any) -> Any:
    """The configuration itself, or its vision or audio part where the class is of one tower of two."""
    for name in ("vision_config", "audio_config"):
        wanted = getattr(getattr(cls, "config_class", None), "model_type", None)
        inner = getattr(config, name, None)
        if inner is not None and getattr(inner, "model_type", None) == wanted:
            return inner
    return config
