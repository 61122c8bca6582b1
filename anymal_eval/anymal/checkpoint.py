"""Checkpoints of a trained network, without its frozen parts.

A folder with ``config.json`` (its configuration, and the fingerprints of its frozen parts), ``projectors.safetensors``
and, after instruction tuning, a PEFT folder ``lora/``. Frozen parts of its own (a language model that adapters were
merged into, what an import found) lie in folders of their names, ``llm/`` or a medium's. Backbones
are found by the paths in ``config.json``, relative ones from the folder itself, and refused by name when they are not
those of training.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from anymal_eval import paths
from anymal_eval.anymal import lora
from anymal_eval.anymal.config import AnyMALConfig, paths_of, read_config, with_paths, write_config
from anymal_eval.anymal.model import AnyMAL, create, create_encoders
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.checkpoints.loading import Loading, checkpoint_errors
from anymal_eval.checkpoints.weights import fill_module, fingerprint, read_tensors
from anymal_eval.codec import encode
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.locks import delete, replacing
from anymal_eval.records import MediaOrder

FORMAT = 1
_SMALL, _MOST = 256, 4096  # options of projectors and encoders
CONFIG, PROJECTORS, ADAPTERS = "config.json", "projectors.safetensors", "lora"


def save(network: AnyMAL, folder: Path, note: str = "", orders: Sequence[MediaOrder] = ()) -> None:
    """Write a checkpoint atomically; an older one in that folder is replaced.

    Args:
        network: what to write.
        folder: where.
        note: a warning for readers of its scores, such as that it is untrained.
        orders: of the prompts that it was trained on; the network's own where none is given.

    Raises:
        OSError: there is no space, or no right to write; an older checkpoint stays whole.
        WrongUse: the folder holds other files and no checkpoint.
    """
    contents = Contents(
        config=network.config,
        frozen=fingerprints(network),
        projectors=network.projectors.state_dict(),
        note=note,
        orders=tuple(orders),
        adapters=partial(lora.save, network.llm.model) if lora.is_attached(network.llm.model) else None,
    )
    write(folder, contents)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a checkpoint holds.

    Attributes:
        config: of the network.
        frozen: fingerprints of the frozen parts, by ``llm`` or medium.
        projectors: their tensors by name.
        note: a warning for readers of its scores.
        orders: of the prompts that it was trained on.
        adapters: writes them into a folder; None where there are none.
        own: for each frozen part of the checkpoint's own, by ``llm`` or medium, what writes it into a folder.
    """

    config: AnyMALConfig
    frozen: Mapping[str, str]
    projectors: Mapping[str, Any]
    note: str = ""
    orders: tuple[MediaOrder, ...] = ()
    adapters: Callable[[Path], None] | None = None
    own: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


def write(folder: Path, contents: Contents) -> None:
    """Write a checkpoint atomically; an older one in that folder is replaced. Raises as :func:`save`."""
    from safetensors.torch import save as pack

    require_replaceable(folder)
    config, frozen = _relative(contents.config, folder), dict(contents.frozen)
    with replacing(folder, _require_ours) as draft:
        state = {name: value.detach().cpu().contiguous() for name, value in contents.projectors.items()}
        (draft / PROJECTORS).write_bytes(pack(state))
        if contents.adapters is not None:
            contents.adapters(draft / ADAPTERS)
        for name, write_part in contents.own.items():
            write_part(draft / name)
            config, frozen[name] = with_paths(config, {name: name}), fingerprint(draft / name)
        content = {
            "format": FORMAT,
            "network": write_config(config),
            "frozen": frozen,
            "adapters": contents.adapters is not None,
            "trained_orders": list(contents.orders or (config.prompt_order,)),
            **({"note": contents.note} if contents.note else {}),
        }
        (draft / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _delete_earlier_drafts(folder)


def require_replaceable(folder: Path) -> None:
    """Ensure that a folder, and what a killed :func:`save` left beside it, may be replaced.

    Raises:
        WrongUse: it holds other files and no checkpoint.
    """
    _require_ours(folder)
    older = folder.with_name(f".{folder.name}.older")
    if not _is_draft(older):  # of an earlier version
        _require_ours(older)


def _require_ours(folder: Path) -> None:
    if folder.exists() and not (folder / PROJECTORS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise WrongUse(f"{folder} holds other files and no checkpoint of a network; move it away")


def _is_draft(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, or a part of one."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(file.name in (CONFIG, PROJECTORS, ADAPTERS) for file in folder.iterdir())


def _delete_earlier_drafts(folder: Path) -> None:
    """Delete what an earlier version left beside a checkpoint at a kill: ``.NAME.older``, ``.NAME.XXXXXXXX``."""
    for each in folder.parent.glob(f".{folder.name}.*"):
        suffix = each.name.removeprefix(f".{folder.name}.")
        if re.fullmatch(r"older|[a-z0-9_]{8}", suffix) and _is_draft(each):
            delete(each)


def load(
    folder: Path, loading: Loading, backbones: Mapping[str, str] | None = None, *, trainable: bool = False
) -> AnyMAL:
    """A network from a checkpoint.

    Args:
        folder: written by :func:`save`.
        loading: precision, quantization, device.
        backbones: paths by ``llm`` or medium, instead of those in ``config.json``.
        trainable: whether the adapters take gradients.

    Raises:
        BadCheckpoint: a file is missing or of another network, or a backbone is not the one of training.
    """
    config, frozen = read(folder)
    if not (folder / PROJECTORS).exists():
        raise BadCheckpoint(f"{folder} holds no {PROJECTORS}: the trained projectors are missing")
    _check_sizes(config, folder)
    adapters = has_adapters(folder)
    if adapters and not (folder / ADAPTERS / lora.WEIGHTS).exists():
        raise BadCheckpoint(f"{folder / ADAPTERS} holds no {lora.WEIGHTS}; the adapters of this checkpoint are missing")
    placed = with_paths(_absolute(config, folder), backbones or {})
    bare = AnyMALConfig(llm=placed.llm, modalities=placed.modalities)
    with checkpoint_errors(f"{folder}: its network cannot be built"):
        network = create(bare, loading)
    _compare(frozen, network, placed)
    _fill(network, folder / PROJECTORS)
    if adapters:
        network.llm.model = lora.load(network.llm.model, folder / ADAPTERS, trainable=trainable)
    network.config = placed
    return network.train(False)


def load_encoders(folder: Path, loading: Loading) -> AnyMAL:
    """The network for its encoders alone: the LLM and the projectors are on the meta device.

    Args:
        folder: written by :func:`save`.
        loading: precision and device.

    Raises:
        BadCheckpoint: it is no checkpoint, or an encoder is not the one of training.
    """
    config, frozen = read(folder)
    _check_sizes(config, folder)
    placed = _absolute(config, folder)
    network = create_encoders(placed, loading)
    _compare({name: value for name, value in frozen.items() if name != "llm"}, network, placed)
    return network


def _check_sizes(config: AnyMALConfig, folder: Path) -> None:
    """Refuse projectors that are larger than their weights, and encoders of absurd settings, before they are built."""
    file = folder / PROJECTORS
    shapes = [facts.shape for facts in read_header(file).values()] if file.exists() else []
    side = max((one for shape in shapes for one in shape), default=0)
    for medium, part in config.modalities.items():
        limits = {"projector": max(side, _SMALL), "encoder": _MOST, "layers": max(len(shapes), _SMALL)}
        for place, options in (("projector", part.projector), ("encoder", part.encoder)):
            for name, value in encode(options).items():
                most = limits["layers" if name == "layers" else place]
                if type(value) is int and abs(value) > most:
                    where = f"{folder / CONFIG}: modalities.{medium}.{place}.{name}"
                    raise BadCheckpoint(f"{where} is more than its weights can fill (at most {most})")


def read(folder: Path) -> tuple[AnyMALConfig, dict[str, str]]:
    """A checkpoint's config and the fingerprints of its frozen parts. Loads no weights.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format.
    """
    content = _content(folder)
    named = content.get("frozen", {})
    if not isinstance(named, dict) or not isinstance(content["network"], dict):
        raise BadCheckpoint(f"{folder / CONFIG}: network and frozen must be objects")
    frozen = {str(name): str(value) for name, value in named.items()}
    return read_config(content["network"], str(folder / CONFIG)), frozen


def folder_of(network: str) -> Path:
    """The folder of a checkpoint by its name; ``anymal:demo`` is the demo model's."""
    return paths.demo_model() if network == "anymal:demo" else Path(network)


def placed(folder: Path) -> AnyMALConfig:
    """A checkpoint's config, with absolute paths for the backbones that lie beside it or in it.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format.
    """
    return _absolute(read(folder)[0], folder)


def _content(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.exists():
        raise BadCheckpoint(f"{folder} holds no {CONFIG}: it is no AnyMAL checkpoint")
    content = read_json(file)
    if not isinstance(content, dict) or content.get("format") != FORMAT or "network" not in content:
        raise BadCheckpoint(f"{file} is no AnyMAL checkpoint of format {FORMAT}")
    return content


def has_adapters(folder: Path) -> bool:
    """Whether stage 2 has trained adapters of this checkpoint.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format.
    """
    content = _content(folder)
    # Version 0.2.0 and before wrote [lora] only where there were adapters.
    return bool(content.get("adapters", content["network"].get("lora") is not None))


def note(folder: Path) -> str:
    """A warning for readers of this checkpoint's scores, or an empty string.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format.
    """
    return str(_content(folder).get("note", ""))


def orders(folder: Path) -> tuple[MediaOrder, ...]:
    """The orders of the prompts that a checkpoint was trained on; that of its config where none is recorded.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format.
    """
    named = _content(folder).get("trained_orders", [])
    if not isinstance(named, list) or not all(name in get_args(MediaOrder) for name in named):
        raise BadCheckpoint(f"{folder / CONFIG}: trained_orders must be a list of {', '.join(get_args(MediaOrder))}")
    return tuple(named) or (read(folder)[0].prompt_order,)


def fingerprints(network: AnyMAL) -> dict[str, str]:
    """The fingerprint of each frozen part, by ``llm`` or medium."""
    found = {str(medium): network.encoder(medium).weights for medium in network.config.modalities}
    return {"llm": network.llm.weights, **found}


def _compare(frozen: Mapping[str, str], network: AnyMAL, config: AnyMALConfig) -> None:
    """Refuse backbones that are not those of training."""
    path_of = paths_of(config)
    for name, found in fingerprints(network).items():
        if name in frozen and frozen[name] != found:
            what = "language model" if name == "llm" else f"{name} encoder"
            raise BadCheckpoint(
                f"wrong {what}: this checkpoint was trained with weights {frozen[name][:12]}, "
                f"{path_of[name]} has {found[:12]}"
            )


def _fill(network: AnyMAL, file: Path) -> None:
    """Load the projectors' weights, every one of them and no others."""
    fill_module(network.projectors, read_tensors(file), file)
    for name, value in network.projectors.state_dict().items():
        if not torch.isfinite(value).all():
            raise BadCheckpoint(f"{file}: {name} holds NaN or infinity")


def _relative(config: AnyMALConfig, folder: Path) -> AnyMALConfig:
    """Paths of backbones beside the checkpoint relative to it, so that the whole folder can be moved."""
    home = folder.resolve().parent
    return with_paths(
        config,
        {
            name: os.path.relpath(path, folder.resolve())
            for name, path in paths_of(config).items()
            if Path(path).exists() and Path(path).resolve().is_relative_to(home)
        },
    )


def _absolute(config: AnyMALConfig, folder: Path) -> AnyMALConfig:
    """The inverse of :func:`_relative`."""
    return with_paths(
        config,
        {
            name: str((folder / path).resolve())
            for name, path in paths_of(config).items()
            if not Path(path).is_absolute() and (folder / path).exists()
        },
    )
