"""What shards went through, as the manifest of ``train data clean`` beside them says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.checksums import read_checked_json
from anymal_eval.errors import BadData

MANIFEST = "cleaning.json"


def cleaning_of(shards: Sequence[Path]) -> Mapping[str, Any] | None:
    """The rules, and the numbers of samples kept and dropped; None where not all of the shards were cleaned.

    Raises:
        BadData: the cleaning has not finished, or its manifest is damaged.
    """
    folders = {shard.parent for shard in shards}
    if len(folders) != 1 or not (file := next(iter(folders)) / MANIFEST).is_file():
        return None
    found, matches = read_checked_json(file)
    if not isinstance(found, dict) or matches is False:
        raise BadData(f"{file}: it is damaged; clean the shards again, or delete it")
    if not found.get("finished"):
        raise BadData(f"{file}: the cleaning of these shards has not finished; give its command again")
    made = found.get("shards")
    if not isinstance(made, dict) or not all(shard.name in made for shard in shards):
        return None
    return {name: found.get(name) for name in ("cleaning", "kept", "dropped", "faces")}
