"""What a checkpoint says of itself: its ``config.json``, read once. Loads no weights.

The frozen parts are named by paths: relative to the checkpoint where they lie beside or in it, else ``OWNER/NAME`` of
the hub with the commit after an ``@``, else a folder of the machine. Each has a fingerprint.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from anymal_eval import paths
from anymal_eval.anymal.config import MEDIA, AnyMALConfig, paths_of, preset_names, read_config, write_config
from anymal_eval.anymal.recognition import CONFIG, what_it_is
from anymal_eval.checkpoints.files import is_weight, read_json, settings_files
from anymal_eval.checkpoints.locating import locate, may_be_repository
from anymal_eval.errors import BadCheckpoint
from anymal_eval.records import MediaOrder

FORMAT = 1
PROJECTORS, ADAPTERS, CARD = "projectors.safetensors", "lora", "README.md"
OWN_PARTS = ("llm", *MEDIA)  # folders of frozen parts that a checkpoint may hold itself
DEMO = "anymal:demo"


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """A checkpoint before anything of it is loaded.

    Attributes:
        folder: where it is.
        config: of its network, with the paths of ``config.json``.
        frozen: fingerprints of the frozen parts, by ``llm`` or medium.
        adapters: whether stage 2 has trained adapters of it.
        orders: of the prompts that it was trained on; that of its network where none is recorded.
        note: a warning for readers of its scores, or an empty string.
    """

    folder: Path
    config: AnyMALConfig
    frozen: Mapping[str, str]
    adapters: bool
    orders: tuple[MediaOrder, ...]
    note: str

    @property
    def own_parts(self) -> list[Path]:
        """The folders of the frozen parts that the checkpoint holds itself, such as a merged language model."""
        named = [name for name, path in paths_of(self.config).items() if path == name]
        return [self.folder / name for name in named if (self.folder / name).is_dir()]

    @property
    def files(self) -> list[Path]:
        """All that it depends on besides the weights of the language model and the encoders, sorted.

        Those have fingerprints of their own, and a card or a hidden file changes no answer.
        """
        found = [file for file in (self.folder / CONFIG, self.folder / PROJECTORS) if file.is_file()]
        found += [file for file in (self.folder / ADAPTERS).rglob("*") if file.is_file()]
        return sorted(found + [file for part in self.own_parts for file in settings_files(part)])

    @property
    def weights(self) -> list[Path]:
        """Those of the files that hold weights."""
        return [file for file in self.files if is_weight(file.name)]


def read(folder: Path) -> CheckpointFacts:
    """Read what a checkpoint says of itself.

    Raises:
        BadCheckpoint: not a checkpoint of ours, or of another format; the message says what to give instead.
    """
    file = folder / CONFIG
    content = read_json(file) if file.exists() else None
    if not isinstance(content, dict) or "network" not in content:
        raise BadCheckpoint(what_it_is(folder, content))
    if content.get("format") != FORMAT:
        raise BadCheckpoint(f"{file} is no AnyMAL checkpoint of format {FORMAT}")
    named, network, orders = content.get("frozen", {}), content["network"], content.get("trained_orders", [])
    if not isinstance(named, dict) or not isinstance(network, dict):
        raise BadCheckpoint(f"{file}: network and frozen must be objects")
    if not isinstance(orders, list) or not all(name in get_args(MediaOrder) for name in orders):
        raise BadCheckpoint(f"{file}: trained_orders must be a list of {', '.join(get_args(MediaOrder))}")
    config = read_config(network, str(file))
    return CheckpointFacts(
        folder=folder,
        config=config,
        frozen={str(name): str(value) for name, value in named.items()},
        # Version 0.1.0 wrote [lora] only where there were adapters.
        adapters=bool(content.get("adapters", network.get("lora") is not None)),
        orders=tuple(orders) or (config.prompt_order,),
        note=str(content.get("note", "")),
    )


def described(facts: CheckpointFacts) -> str:
    """The content of ``config.json``: the inverse of :func:`read`."""
    content = {
        "format": FORMAT,
        "network": write_config(facts.config),
        "frozen": dict(facts.frozen),
        "adapters": facts.adapters,
        "trained_orders": list(facts.orders),
        **({"note": facts.note} if facts.note else {}),
    }
    return json.dumps(content, indent=2) + "\n"


def located(name: str, revision: str = "") -> Path:
    """The folder of a checkpoint; one of the hub is downloaded where the hub's cache lacks it.

    Args:
        name: a folder, ``OWNER/NAME`` of the hub, perhaps with ``@REVISION``, or ``anymal:demo``.
        revision: of the hub: a branch, tag or commit.

    Raises:
        BadCheckpoint: there is none of that name; the message says what to give instead.
        WrongUse: two revisions.
    """
    if name == DEMO:
        return paths.demo_model()
    if not paths.expanded(name).is_dir() and name in preset_names():
        raise BadCheckpoint(what_it_is(Path(name)))
    # Of a repository, only what a checkpoint can hold.
    return locate(name, revision, only=(CONFIG, PROJECTORS, CARD, *(f"{part}/*" for part in (ADAPTERS, *OWN_PARTS))))


def is_network(name: str) -> bool:
    """Whether a name can be one of a checkpoint, and is none of a preset or a TOML file."""
    if name == DEMO or paths.expanded(name).is_dir():
        return True
    return may_be_repository(name) and not name.endswith(".toml") and name not in preset_names()
