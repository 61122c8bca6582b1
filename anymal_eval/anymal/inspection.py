"""What stands where a network's frozen parts should: files, format, licence, and whether the tensors fit.

No weight is read: names and shapes come from the headers of the files, and are compared with the architecture built of
shapes alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anymal_eval.anymal import encoders
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.encoders import imagebind
from anymal_eval.anymal.encoders.imu2clip import weights_file
from anymal_eval.checkpoints.files import pickled_files, weight_files
from anymal_eval.checkpoints.hub import HubFacts, hub_facts
from anymal_eval.checkpoints.loading import BackboneLoading, library, missing_tensors
from anymal_eval.checkpoints.locating import download_command, find, find_file, may_be_repository
from anymal_eval.checkpoints.released import is_hub_file, released_file
from anymal_eval.checkpoints.weights import read_shapes
from anymal_eval.errors import AnyMALEvalError, BadCheckpoint
from anymal_eval.paths import expanded

_LICENCE = re.compile(r"^licen[sc]e:\s*['\"]?([^\s'\"]+)", re.MULTILINE)
_OF_AUTHORS = ("internvideo", "videomae")  # encoders that read files in the layout of their authors
_IMU_REMEDY = "its authors give the weights on request; name the file of their state dict"


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One frozen part.

    Attributes:
        part: ``llm``, or the medium.
        kind: what it is, such as an encoder's name.
        path: as the network names it.
        where: the folder or file on this machine; None where it is not here.
        files: of its weights.
        size: their bytes; of the repository's weights where the part is not here.
        weights: safetensors, pickles, or empty where there are none.
        licence: as its card says, or the encoder's file for weights without a card; empty where neither does.
        problem: why it cannot be used as it is; empty where it can.
        remedy: what to do about it.
    """

    part: str
    kind: str
    path: str
    where: Path | None = None
    files: int = 0
    size: int = 0
    weights: str = ""
    licence: str = ""
    problem: str = ""
    remedy: str = ""


def inspect(config: AnyMALConfig, *, offline: bool) -> list[PartReport]:
    """Report on the language model and every encoder.

    Args:
        config: the network.
        offline: ask the hub nothing.
    """
    found = [_inspect("llm", "language model", config.llm.path, config, offline=offline)]
    parts = config.modalities.items()
    return found + [
        _inspect(str(name), part.encoder.kind, part.encoder.path, config, offline=offline) for name, part in parts
    ]


def _inspect(part: str, kind: str, path: str, config: AnyMALConfig, *, offline: bool) -> PartReport:
    known: dict[str, Any] = {"part": part, "kind": kind, "path": path}
    known["licence"] = "" if part == "llm" else encoders.licence_of(kind)
    try:
        place = _place(kind, path)
    except BadCheckpoint:  # it can only be a folder, and there is none
        place = None
    if place is None or not place.exists():
        repository = path if may_be_repository(path) else "/".join(path.split("/", 2)[:2])
        return _absent(known, None if offline or kind == "imu2clip" or not _of_hub(path) else hub_facts(repository))
    known["where"] = place
    known["licence"] = licence_of(place) or known["licence"]
    again = _IMU_REMEDY if kind == "imu2clip" else f"download {path} once more"
    try:
        files = _files(kind, place)
        if not files:
            return PartReport(**known, problem="it holds no weights", remedy=again)
        known["weights"] = "safetensors" if files[0].suffix == ".safetensors" else "pickles"
        known |= {"files": len(files), "size": sum(file.stat().st_size for file in files)}
        lacking = _lacking(part, config, place, files)
    except AnyMALEvalError as error:
        return PartReport(**known, problem=str(error), remedy=again)
    if lacking:
        problem = f"{len(lacking)} tensors are missing or of another shape, first {lacking[0]}"
        return PartReport(**known, problem=problem, remedy=f"name a checkpoint of the architecture {kind}")
    return PartReport(**known)


def _place(kind: str, path: str) -> Path | None:
    """Where a part is on this machine: a folder, or a file in the layout of its authors."""
    if kind == "imu2clip" or expanded(path).is_file():
        return expanded(path)
    if (kind in _OF_AUTHORS or kind == "imagebind") and is_hub_file(path):
        return find_file(path)
    return find(path)


def _of_hub(path: str) -> bool:
    return may_be_repository(path) or is_hub_file(path)


def _absent(known: Mapping[str, Any], facts: HubFacts | None) -> PartReport:
    path = known["path"]
    wanted = download_command(path)
    if known["kind"] == "imu2clip":
        return PartReport(**known, problem="there is no such file", remedy=_IMU_REMEDY)
    if not _of_hub(path):  # beside a checkpoint, or to be named
        return PartReport(
            **known, problem="there is no such folder", remedy=f"name it: --backbone {known['part']}=FOLDER"
        )
    if facts is None:
        return PartReport(**known, problem="it is not on this machine", remedy=wanted)
    if facts.problem:
        return PartReport(**known, problem=facts.problem, remedy=facts.remedy)
    about: dict[str, Any] = {"files": facts.files, "size": facts.size}
    known = {**known, "licence": facts.licence or known["licence"]}
    about |= {"weights": facts.weights}
    gate = f"accept its licence at {facts.address}, then hf auth login, then " if facts.gated else ""
    return PartReport(**known, **about, problem="it is not on this machine", remedy=gate + wanted)


def licence_of(place: Path) -> str:
    """The licence that the card of a folder names; empty where it has no card, or names none."""
    card = place / "README.md"
    if not card.is_file():
        return ""
    head = card.read_text(encoding="utf-8", errors="replace")[:4000]
    found = _LICENCE.search(head) if head.startswith("---") else None
    return found[1] if found else ""


def _files(kind: str, place: Path) -> list[Path]:
    """Of its weights: safetensors, or else pickles."""
    if kind == "imu2clip":
        return [weights_file(place)]
    if kind in _OF_AUTHORS and (own := released_file(str(place))) is not None:
        return [own]
    if kind == "imagebind" and not (place.is_dir() and weight_files(place)):
        return [imagebind.weight_file(place)]
    return weight_files(place) or pickled_files(place)


def _lacking(part: str, config: AnyMALConfig, place: Path, files: Sequence[Path]) -> list[str]:
    """The part's parameters without a tensor of their shape."""
    if part == "llm":
        return missing_tensors(library().AutoModelForCausalLM, place)
    options = next(own.encoder for name, own in config.modalities.items() if name == part)
    # By its place: a configuration that the hub has is not read again from there.
    module = encoders.build(replace(options, path=str(place)), BackboneLoading(weights=False))
    of_transformers = next((each for each in module.modules() if isinstance(each, library().PreTrainedModel)), None)
    if options.kind == "videomae" and released_file(str(place)) is not None:
        return []  # its names and shapes were compared when its sizes were found
    if of_transformers is not None:
        return missing_tensors(type(of_transformers), place)
    # Encoders of our own have the released names, behind a prefix of the whole model or of a trainer.
    found = [(name, shape) for file in files for name, shape in read_shapes(file).items()]
    expected = {name.removeprefix("tower."): tuple(value.shape) for name, value in module.named_parameters()}
    return sorted(
        name
        for name, shape in expected.items()
        if not any((other == name or other.endswith(f".{name}")) and own == shape for other, own in found)
    )
