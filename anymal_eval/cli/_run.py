"""What ``run`` does, step by step; everything that can be refused is refused before the model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli import _evaluate as flow
from anymal_eval.errors import WrongUse
from anymal_eval.records import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anymal_eval.models import Model
    from anymal_eval.models._load import Spec
    from anymal_eval.protocols import Protocol
    from anymal_eval.scoring.score import Scores
    from anymal_eval.store.folder import RunFolder
    from anymal_eval.store.manifest import Manifest, TaskEntry

NAMED = 5  # how many ids a message names


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the user typed; see ``cli/run.py`` for each."""

    tasks: str
    model: str | None
    options: tuple[str, ...]
    data: Any
    data_root: Path
    hub_id: str | None
    split: str | None
    limit: int | None
    demo_examples: int
    protocol: str
    ablate: str
    skip_missing_media: bool
    max_errors: str | None
    device: str | None
    precision: str | None
    quantize: str | None
    batch_size: int
    threads: int
    ptb: Any
    tasks_dir: tuple[Path, ...]
    allow_environment_change: bool
    out: Path | None

    def common_options(self) -> dict[str, str]:
        """Device, precision and quantisation, where they were given."""
        named = {"device": self.device, "precision": self.precision, "quantize": self.quantize}
        return {key: value for key, value in named.items() if value is not None}

    def most_errors(self, asked: int) -> int | None:
        """``--max-errors`` as a number of examples.

        Raises:
            WrongUse: it is neither a number nor a percentage.
        """
        if self.max_errors is None:
            return None
        try:
            if self.max_errors.endswith("%"):
                return int(float(self.max_errors[:-1]) / 100 * asked)
            return int(self.max_errors)
        except ValueError:
            raise WrongUse(f"--max-errors {self.max_errors}: write a number or a percentage, such as 1%") from None


def typed_options(given: Sequence[str]) -> dict[str, str]:
    """``-o KEY=VALUE`` as a mapping.

    Raises:
        WrongUse: one has no equals sign, or a key comes twice.
    """
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise WrongUse(f"-o {each}: write KEY=VALUE")
        if key in found:
            raise WrongUse(f"-o {key} is given twice")
        found[key] = value
    return found


def carry_out(plan: Plan) -> int:
    """Run the plan.

    Returns:
        0, or 2 where answers are errors.

    Raises:
        AnyMALEvalError: as the error tree says; what was answered is on disk.
    """
    from anymal_eval.models._load import choose
    from anymal_eval.store.folder import RunFolder

    if plan.model is None:
        raise WrongUse("--model is needed: constant, replay:FILE, or another of anymal-eval models")
    spec = choose(plan.model, typed_options(plan.options), plan.common_options())
    tasks, skipped = flow.choose_tasks(plan.tasks, spec, plan.tasks_dir)
    if plan.hub_id is not None and len(tasks) > 1:
        raise WrongUse("--hub-id goes with one task")
    data = _data(plan)
    protocol = flow.protocol_of(plan.protocol)
    loaded = [flow.load_task(task, data) for task in tasks]
    for name in skipped:
        click.echo(f"{name}: skipped, model {spec.name} does not take its media", err=True)
    model = spec.load()
    try:
        if getattr(model, "opens_media", True):
            loaded = [flow.require_media(one, data) for one in loaded]
        loaded = [flow.expected_by(model, one) for one in loaded]
        manifest = _manifest(plan, spec, model, data)
        root = flow.run_folder(plan.out, manifest)
        entries = {one.task.name: flow.task_entry(one, data, protocol, model, plan.ablate) for one in loaded}
        with RunFolder(root) as folder:
            manifest = _begin(folder, manifest, entries, plan)
            for one in loaded:
                _ask(plan, folder, one, protocol, model)
            return finish(folder, manifest, loaded, plan.ptb)
    finally:
        model.close()


def _data(plan: Plan) -> flow.DataChoice:
    return flow.DataChoice(
        kind=plan.data or "official",
        root=plan.data_root,
        split=plan.split,
        limit=plan.limit,
        demo_examples=plan.demo_examples,
        hub_id=plan.hub_id,
        skip_missing_media=plan.skip_missing_media,
    )


def _manifest(plan: Plan, spec: Spec, model: Model, data: flow.DataChoice) -> Manifest:
    from anymal_eval.store import manifest as manifests

    label = spec.name if data.kind != "demo" else f"demo-{spec.name}"
    identity = {
        "model": _shown(spec),
        "fingerprint": model.fingerprint,
        "protocol": plan.protocol,
        "data": data.kind,
        "split": plan.split or "default",
        "limit": plan.limit,
        "ablate": plan.ablate,
        "ptb": plan.ptb,
    }
    return manifests.new(identity, label.replace(":", "-"), manifests.environment(plan.device or "auto"))


def _shown(spec: Spec) -> str:
    # The folders above a checkpoint say nothing about the model and differ from machine to machine.
    checkpoint = getattr(spec.options, "checkpoint", "")
    return f"{spec.name}:{Path(checkpoint).name}" if checkpoint else spec.name


def _begin(folder: RunFolder, manifest: Manifest, entries: Mapping[str, TaskEntry], plan: Plan) -> Manifest:
    from dataclasses import replace

    from anymal_eval.store import manifest as manifests

    if folder.manifest_file.is_file():
        before = folder.manifest()
        manifests.check_same(folder.manifest_file, before, manifest, plan.allow_environment_change)
        manifest = replace(manifest, tasks=before.tasks)
    for name, entry in entries.items():
        manifest = manifest.with_task(name, entry)
    folder.write_manifest(manifest)
    return manifest


def _ask(plan: Plan, folder: RunFolder, loaded: flow.Loaded, protocol: tuple[str, Protocol], model: Model) -> None:
    from anymal_eval.cli._progress import progress
    from anymal_eval.engine import Settings
    from anymal_eval.engine.local import ask
    from anymal_eval.store.responses import ResponseLog

    name = loaded.task.name
    with ResponseLog(folder.responses(name)) as log:
        todo = [
            request
            for request in flow.requests(loaded, protocol[1], model, plan.ablate)
            if request.id not in log.answered
        ]
        settings = Settings(
            batch_size=plan.batch_size, threads=plan.threads, max_errors=plan.most_errors(len(loaded.examples))
        )
        done = len(loaded.examples) - len(todo)
        with progress(name, len(loaded.examples), done) as advance:

            def sink(batch: Sequence[Response]) -> None:
                log.append(batch)
                advance(len(batch))

            try:
                ask(todo, model, sink, settings)
            except KeyboardInterrupt:
                click.echo(
                    f"\ninterrupted: every answer so far is in {folder.root}; "
                    f"the same command with --out {folder.root} goes on",
                    err=True,
                )
                raise


def finish(folder: RunFolder, manifest: Manifest, loaded: Sequence[flow.Loaded], ptb: Any) -> int:
    """Score every task that was loaded, keep the others' measurements, write and print the table.

    Returns:
        0, or 2 where answers are errors.
    """
    from anymal_eval.metrics._captions import use_ptb
    from anymal_eval.store import digests

    scored: dict[str, Scores] = {}
    with use_ptb(ptb):
        for one in loaded:
            entry = manifest.tasks[one.task.name]
            scored[one.task.name] = flow.score_task(folder, one, entry)
    written = flow.results(folder, manifest, scored)
    folder.write_results(written)
    digests.write(folder.root, manifest.tasks)
    click.echo(flow.write_tables(folder, written))
    click.echo(f"written to {folder.root}", err=True)
    return _say_errors(loaded, scored)


def _say_errors(loaded: Sequence[flow.Loaded], scored: Mapping[str, Scores]) -> int:
    code = 0
    for one in loaded:
        answers = scored[one.task.name].answers
        errors = [
            (example.id, answer.text)
            for example, answer in zip(one.examples, answers, strict=True)
            if answer.state == "error"
        ]
        if errors:
            code = 2
            named = ", ".join(name for name, _ in errors[:NAMED]) + (", ..." if len(errors) > NAMED else "")
            click.echo(
                f"{one.task.name}: {len(errors)} of {len(answers)} answers are errors and are left out of the value: "
                f"{named}; the first: {errors[0][1]}; the same command asks them again",
                err=True,
            )
    sys.stdout.flush()
    return code
