"""The configuration of an AnyMAL network, and the presets: one TOML file each, named by the file."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from anymal_eval.anymal import encoders, projectors
from anymal_eval.anymal.encoders import EncoderOptions, Medium
from anymal_eval.anymal.projectors import ProjectorOptions
from anymal_eval.catalog import Catalog
from anymal_eval.codec import decode, encode, read_toml_table
from anymal_eval.errors import BadCheckpoint, BadDefinition, WrongUse
from anymal_eval.records import MediaOrder

T = TypeVar("T")
MEDIA: tuple[Medium, ...] = get_args(Medium)


@dataclass(frozen=True, kw_only=True)
class LLMConfig:
    """The language model.

    Attributes:
        path: a folder or a hub repository.
        chat: ``template`` formats the conversation with the tokenizer's own chat template, ``plain`` joins its texts
            with blank lines (for base models).
        context: the most positions used, the model's own number when None.
        architecture: ``model_type`` and sizes, used only to estimate memory where ``path`` is not on this machine.
        template: a chat template of the network's own, in place of the tokenizer's.
        stop: texts that end an answer, where the network was trained to end with words instead of an end token.
    """

    path: str
    chat: Literal["template", "plain"] = "template"
    context: int | None = None
    architecture: Mapping[str, Any] | None = None
    template: str | None = None
    stop: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters. AnyMAL has rank 64 and alpha 16 on all linear layers (arXiv:2309.16058)."""

    rank: int = 64
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)


@dataclass(frozen=True, kw_only=True)
class ModalityConfig:
    """How one medium enters the LLM."""

    encoder: EncoderOptions
    projector: ProjectorOptions


@dataclass(frozen=True, kw_only=True)
class AnyMALConfig:
    """The whole network. Precision and quantization are no part of it: they are how it is loaded.

    Attributes:
        llm: the language model.
        modalities: an encoder and a projector for each medium.
        lora: the adapters that stage 2 trains; a network before it carries none yet.
        prompt_order: where training puts media without a tag of their own, and the plain protocol those of its prompts.
            Checkpoints without it have ``media-first``.
    """

    llm: LLMConfig
    modalities: Mapping[Medium, ModalityConfig]
    lora: LoraConfig | None = None
    prompt_order: MediaOrder = "media-first"


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A modality before the ``kind`` of its parts is known."""

    encoder: Mapping[str, Any]
    projector: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Network:
    llm: LLMConfig
    modalities: Mapping[Medium, _Parts]
    lora: LoraConfig | None = None
    prompt_order: MediaOrder = "media-first"


def read_config(table: Mapping[str, object], where: str) -> AnyMALConfig:
    """A config from plain data.

    Args:
        table: ``llm``, ``modalities`` and perhaps ``lora`` and ``prompt_order``.
        where: the file, for errors.

    Raises:
        BadDefinition: an unknown key, encoder or projector, or a value of another type.
    """
    found = decode(_Network, table, where, BadDefinition)
    if not found.modalities:
        raise BadDefinition(f"{where}: no [modalities.*] at all")
    modalities = {}
    for medium, parts in found.modalities.items():
        here = f"{where}: modalities.{medium}"
        modalities[medium] = ModalityConfig(
            encoder=_options(encoders.options_of, parts.encoder, f"{here}.encoder"),
            projector=_options(projectors.options_of, parts.projector, f"{here}.projector"),
        )
    return AnyMALConfig(llm=found.llm, modalities=modalities, lora=found.lora, prompt_order=found.prompt_order)


def _options(options_of: Callable[[str], type[T]], table: Mapping[str, object], where: str) -> T:
    """The options of an encoder or projector, whose type depends on its ``kind``."""
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise BadDefinition(f"{where}: 'kind' is missing")
    return decode(options_of(kind), table, where, BadDefinition)


def write_config(config: AnyMALConfig) -> dict[str, Any]:
    """The inverse of :func:`read_config`."""
    return encode(config)


def preset_names() -> list[str]:
    """All presets, sorted."""
    return _presets().names()


def preset(name: str) -> AnyMALConfig:
    """A preset by its name.

    Raises:
        NotInCatalog: there is none of that name; the message offers the nearest.
    """
    return read_toml(_presets().file(name))


def _presets() -> Catalog:
    return Catalog("AnyMAL preset", [Path(__file__).parent / "presets"], ending=".toml")


def read_toml(file: Path) -> AnyMALConfig:
    """A config from a TOML file.

    Raises:
        BadDefinition: it is no TOML, or not this config.
    """
    return read_config(read_toml_table(file), str(file))


def named(network: str) -> AnyMALConfig:
    """The network of a preset or a TOML file.

    A relative path in a file is relative to the file's folder, if it exists there.

    Raises:
        NotInCatalog: no such preset. BadCheckpoint: the name is that of a folder, which is not there.
        WrongUse: no such file. BadDefinition: it is no TOML, or not this config.
    """
    file = Path(network)
    if file.suffix != ".toml":
        if "/" in network and network not in preset_names():
            raise BadCheckpoint(f"{network}: there is no such folder")
        return preset(network)
    if not file.is_file():
        raise WrongUse(f"{file}: there is no such file")
    config = read_toml(file)
    beside = {name: file.parent / path for name, path in paths_of(config).items() if path}
    return with_paths(config, {name: str(path) for name, path in beside.items() if path.exists()})


def paths_of(config: AnyMALConfig) -> dict[str, str]:
    """The path of each backbone, by ``llm`` or by medium."""
    return {"llm": config.llm.path} | {str(medium): part.encoder.path for medium, part in config.modalities.items()}


def with_paths(config: AnyMALConfig, paths: Mapping[str, str]) -> AnyMALConfig:
    """The same network with its backbones at other paths.

    Args:
        config: the network.
        paths: by ``llm`` or by medium.

    Raises:
        BadDefinition: a name that is no part of this network.
    """
    unknown = set(paths) - {"llm", *config.modalities}
    if unknown:
        raise BadDefinition(
            f"{sorted(unknown)[0]!r} is no part of this network; it has llm, {', '.join(config.modalities)}"
        )
    modalities = {
        medium: dataclasses.replace(part, encoder=dataclasses.replace(part.encoder, path=paths[medium]))
        if medium in paths
        else part
        for medium, part in config.modalities.items()
    }
    llm = dataclasses.replace(config.llm, path=paths.get("llm", config.llm.path))
    return dataclasses.replace(config, llm=llm, modalities=modalities)
