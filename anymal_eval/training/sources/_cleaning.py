"""What shards went through, as the manifest and the reports of ``train data clean`` beside them say.

A shard counts as cleaned while it is the file that the cleaning made. Its size and its time of change are compared
first: what is put in its place has others, unless someone sets them on purpose. Only where the time differs, as in a
copy, its digest is computed, in parallel with those of the others, and remembered for large files. So shards that stay
where they were made cost one ``stat`` each, whatever their size, and copies are read once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checksums import read_checked_json
from anymal_eval.errors import BadData

MANIFEST = "cleaning.json"
REPORTS = "reports"

Report = Mapping[str, Any]


def report_file(shard: Path) -> Path:
    """Where the report of a shard is. One that stands without it was made by no cleaning."""
    return shard.parent / REPORTS / f"{shard.name}.json"


def read_report(shard: Path) -> Report | None:
    """What a cleaning reported of a shard; None without a report that is whole.

    Raises:
        BadData: the report is no JSON.
    """
    file = report_file(shard)
    if not file.is_file():
        return None
    found, matches = read_checked_json(file)
    return found if isinstance(found, dict) and matches is not False else None


def changed(shards: Iterable[tuple[Path, Report]]) -> list[Path]:
    """The shards that are not the files that their reports are of.

    Raises:
        OSError: one cannot be read.
    """
    found: list[Path] = []
    copies: list[tuple[Path, Report]] = []
    for shard, report in shards:
        state = shard.stat()
        if state.st_size != report.get("size"):
            found.append(shard)
        elif state.st_mtime_ns != report.get("mtime_ns"):  # reports of before hold none
            copies.append((shard, report))
    digests = sha256_of([shard for shard, _ in copies])
    pairs = zip(copies, digests, strict=True)
    return found + [shard for (shard, report), digest in pairs if digest != report.get("digest")]


def sha256_of(files: Sequence[Path]) -> list[str]:
    """The digests of files; those of large files are remembered.

    Raises:
        OSError: one cannot be read.
    """
    return fingerprint.remembered("files.jsonl").of_all(files, fingerprint.sha256) if files else []


def cleaning_of(shards: Sequence[Path]) -> Mapping[str, Any] | None:
    """The rules, and the samples kept and dropped in these shards; None where not all of them were cleaned.

    Raises:
        BadData: the cleaning has not finished, its manifest or a report is damaged, or a shard was replaced since.
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
    reports = {shard: _report(shard, made[shard.name], file) for shard in shards}
    if other := changed(reports.items()):
        raise BadData(
            f"{other[0]}: it is not the shard that the cleaning made; move it away and give the command of the "
            f"cleaning again, or move {file} away to train on shards that do not count as cleaned"
        )
    dropped: Counter[str] = Counter()
    for report in reports.values():
        dropped.update(report["dropped"])
    sums = {name: sum(int(report[name]) for report in reports.values()) for name in ("kept", "faces")}
    return {"cleaning": found.get("cleaning"), "kept": sums["kept"], "dropped": dict(dropped), "faces": sums["faces"]}


def _report(shard: Path, digest: str, manifest: Path) -> Report:
    report = read_report(shard)
    if report is None or report.get("digest") != digest:
        raise BadData(
            f"{report_file(shard)}: missing, damaged or of another cleaning than {manifest}; copy both from the folder "
            f"that was cleaned, or move {manifest.name} away to train on shards that do not count as cleaned"
        )
    return report
