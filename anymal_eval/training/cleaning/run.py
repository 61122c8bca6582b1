"""All shards cleaned into a folder, which can be resumed, on this machine or on Ray; with a report and a manifest."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadData, IncompleteRun, MissingData, OtherRun, WrongUse
from anymal_eval.evaluation.console import Console
from anymal_eval.locks import hold
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.training.cleaning.captions import LEAST, PIPELINE, CaptionParser
from anymal_eval.training.cleaning.faces import FaceBlur
from anymal_eval.training.cleaning.shard import EXAMPLES, ShardCleaner, ShardReport, state_of
from anymal_eval.training.cleaning.text_spotting import LETTERS, TextSpotter
from anymal_eval.training.sources._cleaning import MANIFEST, REPORTS, Report, changed, read_report, report_file
from anymal_eval.training.sources._remote_shard import is_address, without_secrets
from anymal_eval.training.sources._shard_file import ENDINGS
from anymal_eval.training.sources.webdataset import expand

REPORT = "cleaning.md"
MOST_UNREAD = 100  # lines in the report; the manifest has all
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class CleaningPlan:
    """What is cleaned, and how.

    Attributes:
        shards: a path with ranges, or a pattern, as ``webdataset:`` takes.
        out: the folder of the new shards.
        cat: whether captions and texts in pictures are filtered.
        blur_faces: whether faces are blurred.
        spacy: the pipeline for ``cat``.
        workers: Ray workers; 0 for this process.
        address: of a running Ray cluster.
    """

    shards: str
    out: Path
    cat: bool = False
    blur_faces: bool = False
    spacy: str = PIPELINE
    workers: int = 0
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What a cleaning made, over all its shards.

    Attributes:
        kept: samples.
        dropped: samples by rule.
        blurred: samples with faces, and ``faces`` in them.
        shards: how many there are.
        unread: a line for each damaged part of a shard, and each picture beside the sample's one, that is left out.
    """

    kept: int
    dropped: Counter[str]
    blurred: int
    faces: int
    shards: int
    unread: Sequence[str] = ()


def clean(plan: CleaningPlan, console: Console) -> Cleaned:
    """Clean all shards that are not cleaned yet.

    Raises:
        WrongUse: no filter, two shards of one name, or ``out`` holds files that no cleaning made.
        NeedsExtra: a package is not installed.
        MissingData: there are no shards.
        OtherRun: the folder holds shards that were cleaned in another way.
    """
    if not (plan.cat or plan.blur_faces):
        raise WrongUse("nothing to do: give --cat, --blur-faces or both")
    if plan.spacy != PIPELINE and not plan.cat:
        raise WrongUse(f"--spacy {plan.spacy}: only --cat parses captions; give it, too")
    if plan.address and not plan.workers:
        raise WrongUse(f"--address {plan.address}: give the number of Ray workers, too (--workers)")
    jobs = _jobs(plan)
    busy = f"{plan.out}: another cleaning is writing there; wait for it, or choose another --out"
    with ExitStack() as stack:
        # What is refused leaves no folder behind, and no file in one of other things.
        cleaner = stack.enter_context(closing(make_cleaner(plan)))
        identity = _identity(plan, cleaner)
        _require_same(plan.out, identity, jobs)
        with storage_errors(plan.out):
            (plan.out / REPORTS).mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(plan.out / ".lock", busy))
        _require_same(plan.out, identity, jobs)  # another cleaning may have come first
        todo = [job for job in jobs if not _is_done(*job)]
        if todo:
            unfinished = {"format": FORMAT, "cleaning": identity, "finished": False}
            write_atomic(plan.out / MANIFEST, write_checked_json(unfinished))
        advance = stack.enter_context(console.progress("cleaning shards", len(jobs), 0))
        advance(len(jobs) - len(todo))
        for _ in _local(cleaner, todo) if not plan.workers else _on_ray(plan, todo):
            advance(1)
    return _summarise(plan.out, identity)


def make_cleaner(plan: CleaningPlan) -> "DescribedCleaner":
    """The filters of a plan, loaded."""
    return DescribedCleaner(
        CaptionParser(plan.spacy) if plan.cat else None,
        TextSpotter() if plan.cat else None,
        FaceBlur() if plan.blur_faces else None,
    )


class DescribedCleaner(ShardCleaner):
    """A cleaner that can say what it does."""

    def __init__(self, parser: CaptionParser | None, spotter: TextSpotter | None, blur: FaceBlur | None) -> None:
        super().__init__(parser, spotter, blur)
        self.rules: dict[str, str] = {}
        if parser is not None and spotter is not None:
            self.rules["captions"] = f"complexity of at least {LEAST}, at least one action; {parser.description}"
            self.rules["text"] = f"no word of {LETTERS} letters and more in both; {spotter.description}"
        if blur is not None:
            self.rules["faces"] = f"blurred; {blur.description}"


def _jobs(plan: CleaningPlan) -> list[tuple[Path, Path]]:
    """Each shard, and the one that is made of it."""
    if is_address(plan.shards):
        raise WrongUse(f"{without_secrets(plan.shards)}: fetch the shards first; files are cleaned")
    sources = [Path(each).absolute() for each in expand(plan.shards)]
    if folder := next((each for each in sources if each.is_dir()), None):
        raise MissingData(f"{folder}: a folder; name the shards in it: '{folder}/*.tar'")
    missing = [each for each in sources if not each.is_file()]
    if missing or not sources:
        lost = missing[0] if missing else plan.shards
        raise MissingData(f"no shard {lost}; name files that are there: a path with ranges, or a pattern")
    jobs: dict[Path, Path] = {}
    targets: set[Path] = set()
    for source in sources:
        ending = next((each for each in ENDINGS if source.name.endswith(each)), None)
        if ending is None:
            raise BadData(f"{source}: shards must be files {', '.join(ENDINGS)}; no other format is read")
        target = plan.out / f"{source.name.removesuffix(ending)}.tar"
        if target in targets:
            raise WrongUse(f"{source}: two shards have this name; clean them into folders of their own")
        if plan.out.resolve() == source.parent.resolve():
            raise WrongUse(f"--out {plan.out}: the shards are there; choose another folder")
        jobs[source] = target
        targets.add(target)
    return list(jobs.items())


def _identity(plan: CleaningPlan, cleaner: DescribedCleaner) -> dict[str, Any]:
    return {"cat": plan.cat, "blur_faces": plan.blur_faces, "rules": cleaner.rules}


def _require_same(out: Path, identity: dict[str, Any], jobs: Sequence[tuple[Path, Path]]) -> None:
    file = out / MANIFEST
    if not file.exists():
        named = [out / REPORT, *(each for _, target in jobs for each in (target, report_file(target)))]
        if other := next((each for each in named if os.path.lexists(each)), None):
            raise WrongUse(f"{other}: no cleaning made it; choose another --out")
        return
    found, matches = read_checked_json(file)
    if not isinstance(found, dict) or matches is False:
        raise BadData(f"{file}: it is damaged; choose another --out")
    before = found.get("cleaning")
    if found.get("format") != FORMAT or not isinstance(before, dict):
        raise OtherRun(
            f"{out}: another version of anymal_eval cleaned its shards, by other rules; they may be trained on, but "
            "choose another --out for what you clean now"
        )
    if before != identity:
        raise OtherRun(
            f"{out}: its shards were cleaned in another way: {'; '.join(_differences(before, identity))}; "
            "clean in that way, or choose another --out"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What a cleaning does that another did not, in words."""
    for name, option in (("cat", "--cat"), ("blur_faces", "--blur-faces")):
        if before.get(name) != now[name]:
            yield f"with {option}, now without" if before.get(name) else f"without {option}, now with it"
    rules = before.get("rules", {})
    for name in sorted(rules.keys() & now["rules"].keys()):
        if rules[name] != now["rules"][name]:
            yield f"{name} by {rules[name]!r}, now by {now['rules'][name]!r}"


def _is_done(source: Path, target: Path) -> bool:
    """Whether a shard is there.

    Raises:
        WrongUse: it is not what a cleaning made.
        OtherRun: it was made of another shard than this source.
    """
    if not os.path.lexists(target):
        return False
    found = _report(target)
    if found is None:
        raise WrongUse(f"{target}: no cleaning made it, or it was changed since; move it away, or choose another --out")
    if not _is_same(source, found["source"]):
        raise OtherRun(
            f"{target}: it was made of another shard than {source}, or that was changed since; move it away, or choose "
            "another --out"
        )
    return True


def _is_same(source: Path, before: Mapping[str, Any]) -> bool:
    """Whether a source is as it was: read again only where its time of change is another, as that of a copy."""
    found = state_of(source, before["digest"])
    return found == before or (found["size"] == before["size"] and state_of(source)["digest"] == before["digest"])


def _report(target: Path) -> Report | None:
    """The report of a shard that is there, if it is the one that was made."""
    if not target.is_file():
        return None
    found = read_report(target)
    return None if found is None or changed([(target, found)]) else found


def _local(cleaner: ShardCleaner, todo: Sequence[tuple[Path, Path]]) -> Iterator[ShardReport]:
    for source, target in todo:
        with storage_errors(target):
            yield cleaner.clean(source, target)


class CleaningWorker:
    """What a Ray worker runs: the filters, loaded once."""

    def __init__(self, plan: CleaningPlan) -> None:
        self._cleaner = make_cleaner(plan)

    def clean(self, jobs: Sequence[tuple[Path, Path]]) -> Iterator[ShardReport]:
        """The reports of some shards, as they are made."""
        yield from _local(self._cleaner, jobs)


def _on_ray(plan: CleaningPlan, todo: Sequence[tuple[Path, Path]]) -> Iterator[ShardReport]:
    from anymal_eval.engine.ray_pool import Cluster, Pool, Unit

    absolute = [(source, target.absolute()) for source, target in todo]
    own = dataclasses.replace(plan, out=plan.out.absolute())
    cluster = Cluster(workers=plan.workers, address=plan.address, option=f"--workers {plan.workers}")
    with closing(Pool(CleaningWorker, own, cluster)) as pool:
        call: Callable[[Any, Any], Any] = lambda actor, jobs: actor.clean.remote(jobs)  # noqa: E731
        for unit, part in pool.run([Unit(content=[job]) for job in absolute], call):
            if part is None:
                raise IncompleteRun(f"{unit.content[0][0]}: three workers died while they cleaned it")
            unit.content = []
            yield part


def _summarise(out: Path, identity: dict[str, Any]) -> Cleaned:
    """The manifest, from which a training records what its data went through, and the report: of all shards there."""
    found = [_report(out / file.name.removesuffix(".json")) for file in sorted((out / REPORTS).glob("*.tar.json"))]
    reports = [each for each in found if each is not None]
    dropped: Counter[str] = Counter()
    for report in reports:
        dropped.update(report["dropped"])
    sums = {
        name: sum(int(report[name]) for report in reports)
        for name in ("kept", "captions", "blurred", "faces", "stills")
    }
    examples: dict[str, list[list[str]]] = {}
    for report in reports:
        for rule, rows in report["examples"].items():
            examples.setdefault(rule, []).extend([report["shard"], *row] for row in rows)
    content: dict[str, Any] = {
        "format": FORMAT,
        "cleaning": identity,
        **sums,
        "dropped": dict(dropped),
        "shards": {report["shard"]: report["digest"] for report in reports},
        "unread": [line for report in reports for line in report["lines"]],
        "finished": True,
    }
    write_atomic(out / MANIFEST, write_checked_json(content))
    write_atomic(out / REPORT, _markdown(content, {rule: rows[:EXAMPLES] for rule, rows in examples.items()}))
    counted = {name: sums[name] for name in ("kept", "blurred", "faces")}
    return Cleaned(dropped=dropped, shards=len(reports), unread=content["unread"], **counted)


def _markdown(content: dict[str, Any], examples: dict[str, list[list[str]]]) -> str:
    total = content["kept"] + sum(content["dropped"].values())
    rows = {"kept": content["kept"], **dict(sorted(content["dropped"].items(), key=lambda item: -item[1]))}
    lines = [f"# Cleaned: {content['kept']} of {total} samples kept", ""]
    lines += [f"- {name}: {rule}" for name, rule in content["cleaning"]["rules"].items()]
    if content["cleaning"]["blur_faces"]:
        lines += ["", f"Faces blurred: {content['faces']}. Samples with any: {content['blurred']}."]
        lines += ["", f"Pictures of which the first frame alone is kept: {content['stills']}."]
    if content["captions"]:
        lines += ["", f"Captions left out of samples that others of theirs keep: {content['captions']}."]
    lines += ["", "| | samples | |", "|---|---|---|"]
    lines += [f"| {name} | {count} | {count / max(total, 1):.1%} |" for name, count in rows.items()]
    for rule, found in examples.items():
        lines += ["", f"## {rule}", "", *(_example(*row) for row in found)]
    if unread := content["unread"]:
        lines += ["", f"## Left out: {len(unread)}", "", *(f"- {_quoted(line)}" for line in unread[:MOST_UNREAD])]
    return "\n".join(lines) + "\n"


def _example(shard: str, key: str, caption: str, why: str) -> str:
    name, text, reason = map(_quoted, (f"{shard} {key}", caption, why))
    return f"- {name}: {text}" + (f" ({reason})" if why else "")


def _quoted(text: str) -> str:
    """As JSON in code: names, captions and texts in pictures are anyone's."""
    return "`" + json.dumps(text, ensure_ascii=True).replace("`", "\\u0060") + "`"
