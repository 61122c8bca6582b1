"""Checkpoints of a trained network, without its frozen parts.

A folder with ``config.json`` (its configuration, and the fingerprints of its frozen parts), ``projectors.safetensors``
and, after instruction tuning, a PEFT folder ``lora/``. Frozen parts of its own (a language model that adapters were
merged into, what an import found) lie in folders of their names, ``llm/`` or a medium's. Backbones are found as
``backbones.py`` says, and refused by name when they are not those of training.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from anymal_eval.anymal import lora
from anymal_eval.anymal.backbones import pinned, placed, require_present, stored
from anymal_eval.anymal.checkpoint_facts import ADAPTERS, PROJECTORS, CheckpointFacts, described, located, read
from anymal_eval.anymal.config import AnyMALConfig, paths_of, with_paths
from anymal_eval.anymal.model import AnyMAL, create, create_encoders
from anymal_eval.anymal.recognition import CONFIG
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.checkpoints.loading import Loading, checkpoint_errors
from anymal_eval.checkpoints.weights import fill_module, fingerprint, read_tensors
from anymal_eval.codec import encode
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.locks import delete, replacing
from anymal_eval.records import MediaOrder

__all__ = [
    "ADAPTERS", "CONFIG", "PROJECTORS", "Contents", "fingerprints", "load", "load_encoders", "located", "read",
    "require_replaceable", "save", "write",
]  # fmt: skip
_SMALL, _MOST = 256, 4096  # options of projectors and encoders


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
    config, frozen = stored(contents.config, folder), dict(contents.frozen)
    with replacing(folder, _require_ours) as draft:
        state = {name: value.detach().cpu().contiguous() for name, value in contents.projectors.items()}
        (draft / PROJECTORS).write_bytes(pack(state))
        if contents.adapters is not None:
            contents.adapters(draft / ADAPTERS)
        for name, write_part in contents.own.items():
            write_part(draft / name)
            config, frozen[name] = with_paths(config, {name: name}), fingerprint(draft / name)
        facts = CheckpointFacts(
            folder=folder,
            config=config,
            frozen=frozen,
            adapters=contents.adapters is not None,
            orders=contents.orders or (config.prompt_order,),
            note=contents.note,
        )
        (draft / CONFIG).write_text(described(facts), encoding="utf-8")
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
    folder: Path | CheckpointFacts,
    loading: Loading,
    backbones: Mapping[str, str] | None = None,
    *,
    trainable: bool = False,
) -> AnyMAL:
    """A network from a checkpoint.

    Args:
        folder: written by :func:`save`, or what :func:`read` has read of it.
        loading: precision, quantization, device.
        backbones: where frozen parts lie, as for :func:`anymal_eval.anymal.backbones.placed`.
        trainable: whether the adapters take gradients.

    Raises:
        BadCheckpoint: a file is missing or of another network, or a backbone is not the one of training.
    """
    facts = read(folder) if isinstance(folder, Path) else folder
    folder = facts.folder
    if not (folder / PROJECTORS).exists():
        raise BadCheckpoint(f"{folder} holds no {PROJECTORS}: the trained projectors are missing")
    _check_sizes(facts)
    if facts.adapters and not (folder / ADAPTERS / lora.WEIGHTS).exists():
        raise BadCheckpoint(f"{folder / ADAPTERS} holds no {lora.WEIGHTS}; the adapters of this checkpoint are missing")
    config = placed(facts, backbones)
    require_present(config, folder)
    with checkpoint_errors(f"{folder}: its network cannot be built"):
        network = create(replace(config, lora=None), loading)
    _compare(facts.frozen, network, config)
    _fill(network, folder / PROJECTORS)
    if facts.adapters:
        network.llm.model = lora.load(network.llm.model, folder / ADAPTERS, trainable=trainable)
    network.config = replace(pinned(config), lora=config.lora)
    return network.train(False)


def load_encoders(folder: Path, loading: Loading, backbones: Mapping[str, str] | None = None) -> AnyMAL:
    """The network for its encoders alone: the LLM and the projectors are on the meta device.

    Args:
        folder: written by :func:`save`.
        loading: precision and device.
        backbones: where frozen parts lie, as for :func:`anymal_eval.anymal.backbones.placed`.

    Raises:
        BadCheckpoint: it is no checkpoint, or an encoder is not the one of training.
    """
    facts = read(folder)
    _check_sizes(facts)
    config = placed(facts, backbones)
    # Of the language model the sizes are enough, and a config may hold them.
    require_present(config, folder, without=("llm",) if config.llm.architecture else ())
    network = create_encoders(config, loading)
    _compare({name: value for name, value in facts.frozen.items() if name != "llm"}, network, config)
    return network


def _check_sizes(facts: CheckpointFacts) -> None:
    """Refuse projectors that are larger than their weights, and encoders of absurd settings, before they are built."""
    file = facts.folder / PROJECTORS
    shapes = [tensor.shape for tensor in read_header(file).values()] if file.exists() else []
    side = max((one for shape in shapes for one in shape), default=0)
    for medium, part in facts.config.modalities.items():
        limits = {"projector": max(side, _SMALL), "encoder": _MOST, "layers": max(len(shapes), _SMALL)}
        for place, options in (("projector", part.projector), ("encoder", part.encoder)):
            for name, value in encode(options).items():
                most = limits["layers" if name == "layers" else place]
                if type(value) is int and abs(value) > most:
                    where = f"{facts.folder / CONFIG}: modalities.{medium}.{place}.{name}"
                    raise BadCheckpoint(f"{where} is more than its weights can fill (at most {most})")


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
