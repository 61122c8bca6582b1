"""``anymal-eval watch``: evaluates each checkpoint of a running training as it appears."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli._generation_options import generation_options
from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo
from anymal_eval.cli._results import print_results, typed

if TYPE_CHECKING:
    from anymal_eval.evaluation.write import FinishedRun


@click.command(cls=Command)
@click.argument("training", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--tasks", required=True, help="Names separated by commas, or all.")
@click.option("--until", metavar="STEP", type=click.IntRange(min=1), help="End when STEP or a later one is evaluated.")
@click.option("--every", type=click.FloatRange(min=0.05), default=10.0, help="Seconds between two looks at DIR.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model; repeatable.")
@click.option("--data", type=click.Choice(["official", "hub", "demo"]), default="official", help="Of the examples.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--split", help="The split; by default the protocol's, else the one that papers report.")
@click.option("--limit", type=click.IntRange(min=1), help="Sample about N examples, in whole clusters.")
@click.option("--demo-examples", type=click.IntRange(min=1), default=200, help="Number of examples in the demo world.")
@click.option("--protocol", help="Prompts, decoding and reading of answers; see anymal-eval protocols.")
@generation_options
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Device of the model.  [default: auto]")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the weights.")
@click.option("--quantize", type=click.Choice(["none", "int8", "nf4"]), help="Of the language model.")
@click.option("--features", type=click.Path(file_okay=False), help="Cache the frozen encoders' outputs in this folder.")
@click.option("--batch-size", default="auto", metavar="auto|N", help="Requests per batch; auto finds what fits.")
@click.option("--threads", type=click.IntRange(min=1), default=4, help="Requests prepared in parallel.")
@click.option("--max-errors", help="Stop when more than N, or N%, of a task's answers are errors.")
@click.option(
    "--tasks-dir", type=click.Path(exists=True, path_type=Path), multiple=True, help="A folder of your own task files."
)
@click.option("--out", type=click.Path(path_type=Path), help="Where the runs are written.  [default: DIR/evaluations]")
def watch(training: Path, until: int | None, every: float, out: Path | None, **given: Any) -> int:
    """Evaluate each checkpoint that the training in DIR saves, as it appears.

    It ends when the training has ended and everything is evaluated. Interrupted and started again, it resumes:
    nothing is evaluated twice. anymal-eval curve DIR shows the scores against the steps.
    """
    from anymal_eval.cli._progress import Terminal

    def show(step: int, finished: "FinishedRun") -> None:
        echo(f"step {step}: {finished.root}")
        print_results(finished, details=False)

    with Terminal().opened() as console:
        from anymal_eval.evaluation.plan import make_plan
        from anymal_eval.training.watching import WatchPlan
        from anymal_eval.training.watching import watch as watch_training

        plan = make_plan(**given, model="anymal", command=typed())
        wanted = WatchPlan(training=training, evaluation=plan, out=out, until=until, every=every)
        done = watch_training(wanted, console, show)
    number = len(done.evaluated) + len(done.before)
    echo(f"{number} checkpoints evaluated in {wanted.folder}; anymal-eval curve {wanted.folder} shows them", err=True)
    return done.exit_code
