"""``anymal-eval features``: the cache of the frozen encoders' outputs: fill, verify, pack, prune."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli._help import CommandGroup
from anymal_eval.cli._printing import echo

if TYPE_CHECKING:
    from anymal_eval.anymal.features import FeatureCache
    from anymal_eval.engine.ray_filling import Fillers
    from anymal_eval.evaluation.console import Console
    from anymal_eval.evaluation.plan import EvaluationPlan, ExecutionOptions
    from anymal_eval.models import ModelSpec
    from anymal_eval.models.anymal.filling import Filler
    from anymal_eval.models.anymal.options import Options
    from anymal_eval.records import Request

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

PACKED = 128  # files of one entry; fewer stay
CACHE = click.option(
    "--features", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="The cache."
)
HERE = click.option(
    "--features",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The cache, as run --features has it.",
)


@click.group(cls=CommandGroup)
def features() -> None:
    """The cache of the frozen encoders' outputs: what run --features and train --features read."""


@features.command()
@click.option("--tasks", required=True, help="Names separated by commas, or all.")
@click.option("--model", required=True, help="anymal:PATH. Only its encoders are loaded.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model, as run has it.")
@click.option("--data", type=click.Choice(["official", "hub", "demo"]), default="official", help="Which examples.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--hub-id", help="Another data set on the hub with the same columns (one task only).")
@click.option("--hub-config", help="Its configuration; by default the one that has the split.")
@click.option("--split", help="The split; by default the protocol's, else the one that papers report.")
@click.option("--limit", type=click.IntRange(min=1), help="The sample that run --limit N evaluates.")
@click.option("--demo-examples", type=click.IntRange(min=1), default=200, help="Number of examples in the demo world.")
@click.option("--protocol", default="plain", help="The protocol of the run; it sets the number of frames of a clip.")
@click.option("--skip-missing-media", is_flag=True, help="Leave out examples whose media file is absent.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Device of the encoders.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Theirs.  [default: bf16 on a GPU]")
@click.option(
    "--media-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds allowed for decoding one clip or sound.",
)
@click.option("--media-budget", type=click.FloatRange(min=0.01), help="Multiplies the limits of one medium's size.")
@click.option("--threads", type=click.IntRange(min=1), default=4, help="Media decoded in parallel.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="This process, or Ray workers.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, help="Number of Ray workers; each loads the encoders."
)
@click.option("--gpus-per-worker", type=click.FloatRange(min=0), default=0.0, help="GPUs per Ray worker.")
@click.option("--address", help="A running Ray cluster; by default one starts here.")
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
@CACHE
def fill(folder: Path, **given: Any) -> int:
    """Encode all media of some tasks in advance; a run with the same cache then opens none of them.

    Entries that exist are verified and kept. Exits with 2 when media cannot be read.
    """
    from anymal_eval.cli._progress import Terminal
    from anymal_eval.errors import listed

    with Terminal().opened() as console:
        from anymal_eval.evaluation.plan import make_plan
        from anymal_eval.models.anymal.filling import Filler, media_requests

        plan = make_plan(**given, features=folder)
        spec, requests = _requests(plan, Filler, console)
        media = media_requests(requests)
        with _filler(spec.options, plan.execution) as filler, console.progress("features", len(media), 0) as advance:
            filled = filler.fill(media, plan.execution.threads, advance)
    _open(folder).pack(at_least=PACKED)
    cached = filled.media - filled.encoded - filled.skipped - len(filled.failed)
    echo(f"{filled.media} media: {filled.encoded} encoded, {cached} were there before; {folder}: {_summary(folder)}")
    if filled.corrupt:
        echo(f"{filled.corrupt} entries were corrupt and were encoded again", err=True)
    if filled.not_stored:
        echo(f"{folder}: features of {filled.not_stored} media could not be stored: {filled.reason}", err=True)
    if filled.failed:
        echo(f"{len(filled.failed)} media failed: {listed(filled.failed, between='; ')}", err=True)
    return 2 if filled.failed or filled.not_stored else 0


@features.command()
@click.option("--repair", is_flag=True, help="Delete corrupt entries; they are encoded again when needed.")
@HERE
def verify(folder: Path, repair: bool) -> int:
    """Compare every entry with its checksum and name the corrupt ones. Exits with 1 if there are any."""
    bad = _open(folder).verify(remove=repair)
    for file in bad:
        echo(f"corrupt{', deleted' if repair else ''}: {file}")
    echo(f"{_summary(folder)}, {len(bad)} corrupt" + (" deleted" if bad and repair else ""))
    return int(bool(bad))


@features.command()
@click.option("--max-size", required=True, metavar="SIZE", help="Such as 10GB or 500MiB.")
@HERE
def prune(folder: Path, max_size: str) -> None:
    """Delete the least recently used entries until the cache takes at most SIZE."""
    freed = _open(folder).prune(_bytes(max_size))
    echo(f"{_size(freed)} freed; {_summary(folder)}")


@features.command()
@HERE
def pack(folder: Path) -> None:
    """Move entries that have a file each, as earlier versions write them, into shards of many."""
    moved = _open(folder).pack()
    echo(f"{moved} entries packed; {_summary(folder)}")


def _filler(options: "Options", execution: "ExecutionOptions") -> "Filler | Fillers":
    """Here, or in Ray workers."""
    if execution.engine == "local":
        from anymal_eval.models.anymal.filling import Filler

        return Filler(options)
    from anymal_eval.engine.ray_filling import Fillers
    from anymal_eval.engine.ray_pool import Cluster

    cluster = Cluster(workers=execution.workers, gpus_per_worker=execution.gpus_per_worker, address=execution.address)
    return Fillers(options, cluster)


def _requests(plan: "EvaluationPlan", filler: "type[Filler]", console: "Console") -> "tuple[ModelSpec, list[Request]]":
    """What ``run`` would send of the same tasks, and the model."""
    from anymal_eval.errors import WrongUse
    from anymal_eval.evaluation.requests import build_requests
    from anymal_eval.evaluation.resolve import resolve

    if str(plan.model.model).partition(":")[0] != "anymal":
        raise WrongUse(f"--model {plan.model.model}: only anymal:PATH has encoders whose outputs are kept")
    resolved = resolve(plan, console)
    tasks = [build_requests(dataset, filler.wording, resolved.protocol, "none") for dataset in resolved.datasets]
    return resolved.spec, [request for task in tasks for request in task.requests]


def _open(folder: Path) -> "FeatureCache":
    from anymal_eval.anymal.features import FeatureCache

    return FeatureCache(folder)


def _summary(folder: Path) -> str:
    cache = _open(folder)
    return f"{len(cache)} entries, {_size(cache.size())}"


def _size(count: int) -> str:
    for unit in ("TB", "GB", "MB", "kB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:.1f} {unit}"
    return f"{count} bytes"


def _bytes(text: str) -> int:
    """Bytes of a size such as ``10GB``.

    Raises:
        WrongUse: it is none.
    """
    from anymal_eval.errors import WrongUse

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    units = {name.lower(): size for name, size in UNITS.items()} | {"b": 1}
    if found is None or found[2].lower() not in units:
        raise WrongUse(f"--max-size {text}: write a number and a unit, such as 10GB, 500MB or 2GiB")
    return int(float(found[1]) * units[found[2].lower()])
