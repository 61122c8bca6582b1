"""A checkpoint for others: the files that are its parts, without what only the machine that made it knows."""

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from anymal_eval.anymal import lora
from anymal_eval.anymal.backbones import hub_name
from anymal_eval.anymal.checkpoint import require_replaceable
from anymal_eval.anymal.checkpoint_facts import ADAPTERS, CARD, OWN_PARTS, PROJECTORS, CheckpointFacts, described
from anymal_eval.anymal.config import paths_of, with_paths
from anymal_eval.anymal.recognition import CONFIG
from anymal_eval.checkpoints.files import is_weight, read_json, settings_files, weight_files
from anymal_eval.checkpoints.locating import may_be_repository
from anymal_eval.checkpoints.released import is_hub_file
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.locks import replacing
from anymal_eval.paths import expanded

_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}")
_PLACE = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\|file:)")
_NAMES_PLACE = re.compile(r"path|dir|file|folder|cache", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is uploaded of a checkpoint, but its card.

    Attributes:
        facts: with the paths that others read.
        files: by name; a file as it is, or its content.
        elsewhere: the frozen parts that are neither on the hub nor in the checkpoint, by name.
    """

    facts: CheckpointFacts
    files: Mapping[str, Path | bytes]
    elsewhere: Mapping[str, str]


def published(facts: CheckpointFacts, names: Mapping[str, str]) -> Published:
    """Choose the files of a checkpoint, and name its frozen parts for others.

    Args:
        facts: of the checkpoint.
        names: OWNER/NAME of the hub for frozen parts, by ``llm`` or medium.

    Raises:
        BadCheckpoint: a file is missing.
        WrongUse: a name that is none of the hub.
        BadDefinition: a name of no part.
    """
    for part, name in names.items():
        if not _is_of_hub(name):
            raise WrongUse(f"--backbone {part}={name}: others find it by OWNER/NAME of the hub, perhaps with @COMMIT")
    paths = {part: _named(path, facts) for part, path in paths_of(facts.config).items()} | dict(names)
    public = replace(facts, config=with_paths(facts.config, paths))
    files: dict[str, Path | bytes] = {CONFIG: described(public).encode()}
    for file in _parts(facts, without=names):
        files[file.relative_to(facts.folder).as_posix()] = _without_places(file)
    elsewhere = {part: path for part, path in paths.items() if not _is_of_hub(path) and not _is_own(path, facts)}
    return Published(facts=public, files=files, elsewhere=elsewhere)


def require_no_token(files: Mapping[str, Path | bytes], folder: Path) -> None:
    """Ensure that no file holds what looks like an access token of the hub.

    Raises:
        WrongUse: one does.
    """
    for name, content in files.items():
        text = content if isinstance(content, bytes) else b"" if is_weight(name) else content.read_bytes()
        if _TOKEN.search(text):
            raise WrongUse(f"{folder / name} holds what looks like an access token: remove it, and revoke it")


def copy(facts: CheckpointFacts, out: Path) -> None:
    """Copy the files of a checkpoint, with its card, and nothing that lies beside them.

    Raises:
        BadCheckpoint: a file is missing. WrongUse: ``out`` holds other files. OSError: there is no space.
    """
    require_replaceable(out)
    card = [facts.folder / CARD] if (facts.folder / CARD).is_file() else []
    with replacing(out, require_replaceable) as draft:
        for file in (facts.folder / CONFIG, *_parts(facts), *card):
            target = draft / file.relative_to(facts.folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)


def is_part(name: str) -> bool:
    """Whether a file of a repository is one of a checkpoint of ours.

    >>> [is_part(name) for name in ("projectors.safetensors", "lora/adapter_config.json", "model.safetensors")]
    [True, True, False]
    """
    return name in (CONFIG, PROJECTORS, CARD) or name.partition("/")[0] in (ADAPTERS, *OWN_PARTS)


def _parts(facts: CheckpointFacts, without: Collection[str] = ()) -> list[Path]:
    """The files of a checkpoint besides ``config.json`` and its card, without some of its own frozen parts."""
    folder = facts.folder
    found = [folder / PROJECTORS]
    if facts.adapters:
        found += [folder / ADAPTERS / name for name in (lora.WEIGHTS, lora.SETTINGS)]
    for part in facts.own_parts:
        if part.name not in without:
            found += [*settings_files(part), *part.glob("*.safetensors.index.json"), *weight_files(part)]
    for file in found:
        if not file.is_file():
            raise BadCheckpoint(f"{file}: there is no such file, and the checkpoint is not whole without it")
    return found


def _is_own(path: str, facts: CheckpointFacts) -> bool:
    """Whether a part is in the checkpoint itself."""
    home = facts.folder.resolve()
    return bool(path) and Path(os.path.normpath(home / path)).is_relative_to(home) and (home / path).exists()


def _is_of_hub(path: str) -> bool:
    """Whether a part is a repository of the hub, or a file of one."""
    return may_be_repository(path) or is_hub_file(path)


def _named(path: str, facts: CheckpointFacts) -> str:
    """A frozen part for others: its hub id, its path beside or in the checkpoint, or its name alone."""
    if not path or _is_own(path, facts):
        return path
    place = Path(os.path.normpath(facts.folder.resolve() / expanded(path)))
    if found := hub_name(place):
        return found
    if _is_of_hub(path) and not place.exists():
        return path
    parts = PurePath(path).parts
    if not PurePath(path).is_absolute() and parts[0] == ".." and ".." not in parts[1:]:
        return path
    return PurePath(path).name


def _without_places(file: Path) -> Path | bytes:
    """A file, or the content of settings without the places of this machine in them."""
    if file.suffix != ".json" or is_weight(file.name) or file.name == "tokenizer.json":
        return file
    content = read_json(file)
    cleaned = _cleaned(content)
    return file if cleaned == content else (json.dumps(cleaned, indent=2) + "\n").encode()


def _cleaned(content: Any, name: str = "") -> Any:
    if isinstance(content, dict):
        return {key: _cleaned(value, str(key)) for key, value in content.items()}
    if isinstance(content, list):
        return [_cleaned(value, name) for value in content]
    if isinstance(content, str) and _NAMES_PLACE.search(name) and _PLACE.match(content):
        return None
    return content
