"""What ``datasets`` has prepared on this machine: found by its own naming, and read at one commit.

``datasets`` keeps a split under ``ORG___NAME/CONFIG/VERSION/COMMIT``, where NAME is in snake case (``lmms-lab/VQAv2``
is ``lmms-lab___vq_av2``) and CONFIG has a digest where files were named (``default-1f2e``). Its loader takes the newest
commit; here the commit is chosen, so that the revision of a run is the one that was read.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadData
from anymal_eval.paths import inside

COMMIT = re.compile(r"[0-9a-f]{40}")
NO_CONFIG = "-"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One configuration of a data set at one commit, as ``datasets`` prepared it.

    Attributes:
        config: the name of its folder: the configuration, with a digest where files or options were given.
        splits: the number of rows by split; None where ``dataset_info.json`` does not tell.
        files: the names of the files it was made from, as far as they are recorded.
    """

    name: str
    config: str
    version: str
    commit: str
    folder: Path
    splits: dict[str, int] | None
    files: tuple[str, ...] = ()

    def holds(self, split: str) -> str | None:
        """The split's name in it; None where it does not hold the split, or the file of that name."""
        known = self.splits or {}
        if "." not in split:
            return split if split in known else None
        if Path(split).stem in known:
            return Path(split).stem
        # Earlier versions of this package prepared a file as the split "part".
        return "part" if "part" in known and self.files and all(Path(f).name == split for f in self.files) else None

    def is_config(self, config: str) -> bool:
        """Whether it is that configuration; ``default`` stands for none."""
        wanted = "default" if config == NO_CONFIG else config
        return self.config == wanted or self.config.startswith(f"{wanted}-")


def home(name: str) -> Path:
    """The folder in which ``datasets`` keeps a data set, whether or not it is there."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    *owner, own = name.split("/")
    return inside(Path(config.HF_DATASETS_CACHE), "___".join([*owner, camelcase_to_snakecase(own)]))


def prepared(name: str) -> list[Prepared]:
    """All that is prepared of a data set, the newest first."""
    found = [folder for folder in home(name).glob("*/*/*") if COMMIT.fullmatch(folder.name) and folder.is_dir()]
    newest = sorted(found, key=lambda folder: os.stat(folder).st_mtime, reverse=True)
    return [_described(name, folder) for folder in newest]


def first_cached(names: Sequence[str], pinned: str = "") -> tuple[str, str] | None:
    """The first of some names of one data set that is in the cache, with its newest commit, or the pinned one."""
    for name in names:
        for each in prepared(name) if name else ():
            if not COMMIT.fullmatch(pinned) or each.commit == pinned:
                return name, each.commit
    return None


def find(name: str, commit: str, config: str, split: str) -> tuple[Prepared, str] | None:
    """The prepared split with its name there; None where it is not in the cache.

    Raises:
        BadData: no configuration was named, and several that are there have the split.
    """
    there = [(each, held) for each in prepared(name) if each.commit == commit and (held := each.holds(split))]
    exact = [found for found in there if found[0].is_config(config)]
    if exact:
        return exact[0]
    if len({each.config for each, _ in there}) > 1:
        known = ", ".join(sorted({each.config for each, _ in there}))
        raise BadData(
            f"hub data set {name}: its configurations {known} have the split {split}; name one with --hub-config"
        )
    return there[0] if there else None


def rows(found: Prepared, split: str) -> Any:
    """A prepared split as a memory-mapped ``datasets.Dataset``."""
    from datasets.packaged_modules.cache.cache import Cache

    builder = Cache(
        dataset_name=found.name.split("/")[-1],
        repo_id=found.name,
        config_name=found.config,
        version=found.version,
        hash=found.commit,
    )
    return builder.as_dataset(split=split)


def _described(name: str, folder: Path) -> Prepared:
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        splits = {str(key): int((value or {}).get("num_examples") or 0) for key, value in info["splits"].items()}
        files = tuple(map(str, info.get("download_checksums") or ()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        splits, files = None, ()
    config, version, commit = folder.parts[-3:]
    return Prepared(name=name, config=config, version=version, commit=commit, folder=folder, splits=splits, files=files)
