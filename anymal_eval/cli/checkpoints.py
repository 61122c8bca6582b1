"""``anymal-eval checkpoints``: the network's checkpoints: check, estimate, join, merge, import, export, push, pull."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli._estimate import CHECKPOINTING, MEMORY, lines
from anymal_eval.cli._help import CommandGroup
from anymal_eval.cli._printing import echo

if TYPE_CHECKING:
    from anymal_eval.anymal.inspection import PartReport

FOLDER = click.Path(path_type=Path, file_okay=False)
OUT = click.option("--out", type=FOLDER, required=True, help="The folder of the new checkpoint.")
BACKBONE = click.option(
    "--backbone", "backbones", multiple=True, metavar="PART=PATH", help="Where a frozen part lies now, as in llm=PATH."
)
COUNT = click.IntRange(min=1)
GIB = 2**30


@click.group(cls=CommandGroup)
def checkpoints() -> None:
    """Checkpoints of the AnyMAL network: what they will need, and new ones made of others."""


@checkpoints.command()
@click.argument("network")
@BACKBONE
@click.option("--offline", is_flag=True, help="Send the hub no request.")
def check(network: str, backbones: tuple[str, ...], offline: bool) -> int:
    """Check the frozen parts of NETWORK, a preset or a checkpoint folder: where they are, and whether they fit.

    No weights are read. Exits with 1 where a part is missing or does not fit.
    """
    from anymal_eval.anymal.forecast import network_of
    from anymal_eval.anymal.inspection import inspect
    from anymal_eval.evaluation.plan import parse_options

    parts = inspect(network_of(network, parse_options(backbones, "--backbone")), offline=offline)
    for part in parts:
        _report(part)
    return int(any(part.problem for part in parts))


@checkpoints.command()
@click.argument("network")
@BACKBONE
@click.option("--train", type=click.Choice(["align", "instruct"]), help="A step of this stage; without it, an answer.")
@click.option("--batch-size", type=COUNT, default=1, show_default=True, help="Rows computed at once.")
@click.option("--text-tokens", type=COUNT, default=128, show_default=True, help="Of the longest row, without media.")
@click.option("--new-tokens", type=COUNT, default=32, show_default=True, help="Of the answer.")
@click.option("--beams", type=COUNT, default=1, show_default=True, help="Of the search.")
@CHECKPOINTING
@click.option("--optimizer", type=click.Choice(["adamw", "adamw-8bit", "momentum", "sgd"]), default="adamw")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="It need not be here.")
@MEMORY
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True, help="Of the frozen parts."
)
@click.option(
    "--quantize", type=click.Choice(["none", "int8", "nf4"]), default="none", show_default=True, help="The LLM."
)
def estimate(network: str, backbones: tuple[str, ...], **given: Any) -> None:
    """Estimate the memory of NETWORK, a preset or a checkpoint folder, from its sizes alone.

    Nothing is loaded. Without a GPU, the operators counted are those of a processor.
    """
    from anymal_eval.anymal.forecast import Forecast, forecast
    from anymal_eval.checkpoints.loading import device_named
    from anymal_eval.evaluation.plan import parse_options

    wanted = Forecast(network=network, backbones=parse_options(backbones, "--backbone"), **given)
    for line in lines(wanted.title, forecast(wanted), device=device_named(wanted.device), train=bool(wanted.train)):
        echo(line)


@checkpoints.command()
@click.argument("networks", nargs=-1, required=True)
@OUT
def join(networks: tuple[str, ...], out: Path) -> None:
    """Join checkpoints of stage 1, aligned one modality at a time over one language model, into one for all of them."""
    from anymal_eval.anymal.checkpoint_facts import located
    from anymal_eval.anymal.joining import join as join_checkpoints

    config = join_checkpoints([located(name) for name in networks], out)
    echo(f"{out}: {', '.join(config.modalities)}")


@checkpoints.command("merge-lora")
@click.argument("network")
@BACKBONE
@OUT
def merge_lora(network: str, backbones: tuple[str, ...], out: Path) -> None:
    """Merge the adapters of a checkpoint of stage 2 into a copy of its language model, OUT/llm."""
    from anymal_eval.anymal.checkpoint_facts import located
    from anymal_eval.anymal.merging import merge
    from anymal_eval.evaluation.plan import parse_options

    merge(located(network), out, parse_options(backbones, "--backbone"))
    echo(str(out))


@checkpoints.command("import")
@click.argument("name", metavar="FOLDER|OWNER/NAME")
@OUT
@click.option("--llm", default="", help="The language model, where FOLDER does not hold it: a folder or OWNER/NAME.")
@click.option("--encoder", default="", help="The encoder, where FOLDER does not hold it: a folder, file or OWNER/NAME.")
def import_(name: str, out: Path, llm: str, encoder: str) -> None:
    """Rewrite a checkpoint of another network (LLaVA-1.5, llava-hf, PandaGPT, babakd/anymal) as one of ours."""
    from anymal_eval.anymal.importers import Given, write
    from anymal_eval.checkpoints.locating import locate

    layout, config = write(locate(name, pickled=True), out, Given(llm=llm, encoder=encoder))
    echo(f"{out}: {layout}; {', '.join(config.modalities)}")


@checkpoints.command("export")
@click.argument("training", type=FOLDER)
@click.option("--step", type=COUNT, help="Of the saved state; by default the last one that is whole.")
@BACKBONE
@OUT
def export_state(training: Path, step: int | None, backbones: tuple[str, ...], out: Path) -> None:
    """Make a network of a saved state of a TRAINING, also while it is running."""
    from anymal_eval.evaluation.plan import parse_options
    from anymal_eval.training.export import export

    exported = export(training, out, step, parse_options(backbones, "--backbone"))
    for line in exported.messages:
        echo(line, err=True)
    echo(f"{out}: step {exported.step}")


@checkpoints.command()
@click.argument("folder")
@click.argument("name", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--backbone", "backbones", multiple=True, metavar="PART=OWNER/NAME", help="The hub id of a frozen part; repeatable."
)
@click.option("--results", multiple=True, type=FOLDER, help="A run of this checkpoint, for the card; repeatable.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded, and upload nothing.")
def push(folder: str, name: str, backbones: tuple[str, ...], dry_run: bool, **given: Any) -> None:
    """Upload the checkpoint in FOLDER to the hub, with a model card."""
    from anymal_eval.evaluation.plan import parse_options
    from anymal_eval.training.publishing import Push, prepare, send

    wanted = Push(network=folder, name=name, backbones=parse_options(backbones, "--backbone"), **given)
    prepared = prepare(wanted)
    for line in prepared.lines:
        echo(line)
    echo(f"\n{prepared.card}" if dry_run else send(prepared))


@checkpoints.command()
@click.argument("name", metavar="OWNER/NAME[@REVISION]")
@OUT
def pull(name: str, out: Path) -> None:
    """Download a checkpoint of the hub into a folder."""
    from anymal_eval.training.publishing import pull as pull_checkpoint

    facts = pull_checkpoint(name, out)
    echo(f"{out}: {', '.join(facts.config.modalities)}")


def _report(part: "PartReport") -> None:
    echo(f"{part.part}: {part.kind}, {part.path}")
    if part.where is not None and str(part.where) != part.path:
        echo(f"  in {part.where}")
    if part.files:
        licence = f", licence {part.licence}" if part.licence else ""
        echo(f"  {part.files} file{'s' * (part.files > 1)} of {part.weights}, {part.size / GIB:.2f} GiB{licence}")
    elif part.licence:
        echo(f"  licence {part.licence}")
    if part.weights == "pickles":
        echo("  read as tensors alone, and converted to safetensors once, in the cache")
    echo(f"  {part.problem}\n  do: {part.remedy}" if part.problem else "  its tensors fit")
