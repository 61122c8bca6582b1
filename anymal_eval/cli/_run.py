"""What ``run`` does, step by step; everything that can be refused is refused before the model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli import _asked, _asking
from anymal_eval.cli import _evaluate as flow
from anymal_eval.codec import encode
from anymal_eval.errors import WrongUse, listed
from anymal_eval.protocols import DEFAULT
from anymal_eval.records import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anymal_eval.models import Model, ModelSpec
    from anymal_eval.protocols import Protocol
    from anymal_eval.scoring.score import Scores
    from anymal_eval.store.folder import RunFolder
    from anymal_eval.store.manifest import Manifest, TaskEntry


DEMO_MODEL, DEMO_PROTOCOL = "anymal:demo", "demo"


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
    protocol: str | None
    ablate: str
    with_blind: bool
    skip_missing_media: bool
    max_errors: str | None
    device: str | None
    precision: str | None
    quantize: str | None
    media_timeout: float | None
    batch_size: str
    engine: str
    workers: int
    gpus_per_worker: float
    address: str | None
    features: str | None
    threads: int
    ptb: Any
    tasks_dir: tuple[Path, ...]
    allow_environment_change: bool
    out: Path | None

    @property
    def words(self) -> str:
        """The protocol's name: the demo model knows no words but its own."""
        return self.protocol or (DEMO_PROTOCOL if self.model == DEMO_MODEL else DEFAULT)

    def common_options(self) -> dict[str, str]:
        """Device, precision, quantisation and the decoders' time and the feature cache, where they were given."""
        named = {
            "device": self.device,
            "precision": self.precision,
            "quantize": self.quantize,
            "media_timeout": None if self.media_timeout is None else f"{self.media_timeout:g}",
            "features": self.features,
        }
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
        except (ValueError, OverflowError):
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
    from anymal_eval.models import Expecting, choose_model
    from anymal_eval.store.folder import RunFolder

    if plan.model is None:
        return carry_out(_without_model(plan))
    if plan.with_blind and plan.ablate != "none":
        raise WrongUse(f"--with-blind adds a run without media to one with them: leave out --ablate {plan.ablate}")
    typed = (plan.model, typed_options(plan.options), plan.common_options())
    spec = choose_model(*typed)
    _asking.settings(plan)
    tasks, skipped = flow.choose_tasks(plan.tasks, spec, plan.tasks_dir)
    if plan.hub_id is not None and len(tasks) > 1:
        raise WrongUse("--hub-id goes with one task")
    data = _data(plan)
    protocol = flow.protocol_of(plan.words)
    loaded = [flow.load_task(task, _asked.with_split(task, data, protocol)) for task in tasks]
    for name in skipped:
        click.echo(f"{name}: skipped, model {spec.name} does not take its media", err=True)
    model = _asking.load(plan, spec, typed)
    try:
        if plan.with_blind and isinstance(model, Expecting):
            raise WrongUse(f"--with-blind asks again without media, which the file of model {spec.name} cannot answer")
        if getattr(model, "opens_media", True) and plan.ablate != "no-media":
            loaded = [flow.require_media(one, data) for one in loaded]
        loaded = [flow.expected_by(model, one) for one in loaded]
        _asked.say_lacking((one.task for one in loaded), model.wording, protocol[1])
        work = _Work(spec=spec, model=model, data=data, protocol=protocol, loaded=loaded)
        _refuse(work)
        root, code = _generate_and_score(plan, work, plan.out)
        if not plan.with_blind:
            return code
        click.echo("asking the same without media", err=True)
        code = max(code, _generate_and_score(replace(plan, ablate="no-media"), work, root / flow.BLIND)[1])
        with RunFolder(root) as folder:
            flow.show_table(folder)
        return code
    finally:
        model.close()


def _without_model(plan: Plan) -> Plan:
    """No model is named: the demo world is meant, and the small network that was trained on it."""
    if plan.data not in (None, "demo"):
        raise WrongUse("--model is needed: anymal:CHECKPOINT, replay:FILE, or another of anymal-eval models")
    click.echo("no model named: the demo model answers on demo data; name another with --model", err=True)
    return replace(plan, model=DEMO_MODEL, data="demo")


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is asked, and who answers."""

    spec: ModelSpec
    model: Model
    data: flow.DataChoice
    protocol: tuple[str, Protocol]
    loaded: Sequence[flow.Loaded]


def _refuse(work: _Work) -> None:
    """Have the model look at one request of every task, before anything is written."""
    from anymal_eval.models import Refusing

    if not isinstance(work.model, Refusing):
        return
    for one in work.loaded:
        first = replace(one, examples=one.examples[:1])
        for request in flow.requests(first, work.protocol[1], work.model, "none"):
            work.model.refuse(request)


def _generate_and_score(plan: Plan, work: _Work, out: Path | None) -> tuple[Path, int]:
    from anymal_eval.store.folder import RunFolder

    manifest = _manifest(plan, work.spec, work.model, work.data)
    root = flow.run_folder(out, manifest)
    entries = {
        one.task.name: flow.task_entry(one, work.data, work.protocol, work.model, plan.ablate) for one in work.loaded
    }
    with RunFolder(root) as folder:
        manifest = _begin(folder, manifest, entries, plan)
        with _asking.session(root) as session:
            for one in work.loaded:
                _ask(plan, folder, one, work, session)
            with session.clock.measure("scoring"):
                return root, finish(folder, manifest, work.loaded, plan.ptb, show=not plan.with_blind)


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


def _manifest(plan: Plan, spec: ModelSpec, model: Model, data: flow.DataChoice) -> Manifest:
    from anymal_eval.store import manifest as manifests

    label = spec.name if data.kind != "demo" else f"demo-{spec.name}"
    identity = {
        "model": _shown(spec),
        "fingerprint": model.fingerprint,
        "protocol": plan.words,
        "data": data.kind,
        "split": plan.split or "default",
        "limit": plan.limit,
        "ablate": plan.ablate,
        "ptb": plan.ptb,
    }
    provenance = dict(getattr(model, "provenance", {}))
    device = str(provenance.get("device", plan.device or "none"))
    made = manifests.new(identity, label.replace(":", "-"), manifests.environment(device))
    return replace(made, model={"options": encode(spec.options), "provenance": provenance})


def _shown(spec: ModelSpec) -> str:
    # The folders above a checkpoint say nothing about the model and differ from machine to machine.
    checkpoint = getattr(spec.options, "checkpoint", "")
    return f"{spec.name}:{Path(checkpoint).name}" if checkpoint else spec.name


def _begin(folder: RunFolder, manifest: Manifest, entries: Mapping[str, TaskEntry], plan: Plan) -> Manifest:
    from anymal_eval.store import manifest as manifests

    if folder.manifest_file.is_file():
        before = folder.manifest()
        manifests.check_same(folder.manifest_file, before, manifest, plan.allow_environment_change)
        old, own = (each.environment.get(manifests.OWN_VERSION) for each in (before, manifest))
        if old != own:
            click.echo(f"{folder.root}: made by anymal_eval {old}, resumed by {own}", err=True)
        manifest = manifests.resumed(before, manifest)
    for name, entry in entries.items():
        manifest = manifest.with_task(name, entry)
    folder.write_manifest(manifest)
    return manifest


def _ask(plan: Plan, folder: RunFolder, loaded: flow.Loaded, work: _Work, session: _asking.Session) -> None:
    from anymal_eval.cli._progress import progress
    from anymal_eval.store.responses import ResponseLog

    name = loaded.task.name
    with ResponseLog(folder.responses(name)) as log:
        todo = [
            request
            for request in flow.requests(loaded, work.protocol[1], work.model, plan.ablate)
            if request.id not in log.answered
        ]
        settings = _asking.settings(plan, plan.most_errors(len(loaded.examples)))
        done = len(loaded.examples) - len(todo)
        with progress(name, len(loaded.examples), done) as advance:

            def sink(batch: Sequence[Response]) -> None:
                log.append(batch)
                advance(len(batch))

            try:
                _asking.ask(todo, work.model, session.counted(sink), settings, session.clock)
            except KeyboardInterrupt:
                # The run without media of --with-blind lies inside the one that the user named.
                root = folder.root.parent if plan.with_blind and plan.ablate != "none" else folder.root
                click.echo(
                    f"\ninterrupted: every answer so far is in {root}; the same command with --out {root} goes on",
                    err=True,
                )
                raise


def finish(folder: RunFolder, manifest: Manifest, loaded: Sequence[flow.Loaded], ptb: Any, *, show: bool = True) -> int:
    """Score every task that was loaded, keep the others' measurements, write the tables; print one unless not ``show``.

    Returns:
        0, or 2 where answers are errors.
    """
    from anymal_eval.metrics import use_ptb
    from anymal_eval.store import digests

    scored: dict[str, Scores] = {}
    with use_ptb(ptb):
        for one in loaded:
            entry = manifest.tasks[one.task.name]
            scored[one.task.name] = flow.score_task(folder, one, entry)
    written = flow.results(folder, manifest, scored)
    folder.write_results(written)
    digests.write(folder.root, manifest.tasks)
    text = flow.write_tables(folder, written)
    if show:
        flow.say_table(folder, text)
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
            named = listed([name for name, _ in errors])
            click.echo(
                f"{one.task.name}: {len(errors)} of {len(answers)} answers are errors and are left out of the value: "
                f"{named}; the first: {errors[0][1]}; the same command asks them again",
                err=True,
            )
    sys.stdout.flush()
    return code
