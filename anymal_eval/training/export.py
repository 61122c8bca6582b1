"""Makes a network of a saved state of a training, also while the training is running.

A state appears whole or not at all, and its digests are compared before it is used. It holds what is trained; the
record of the training names the frozen parts and their fingerprints.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.backbones import placed, relocated
from anymal_eval.anymal.checkpoint_facts import CheckpointFacts, is_network, located, read
from anymal_eval.anymal.config import AnyMALConfig, named, paths_of, read_config, with_paths
from anymal_eval.anymal.llm import llm_of_shapes
from anymal_eval.anymal.recognition import what_it_is
from anymal_eval.checkpoints.loading import Loading, checkpoint_errors
from anymal_eval.checkpoints.weights import read_tensors
from anymal_eval.errors import BadCheckpoint, MissingData, WrongUse, listed
from anymal_eval.store.atomic import storage_errors
from anymal_eval.training import record, state_digests, states
from anymal_eval.training.load import CHECKPOINT, NETWORK, ORDERS
from anymal_eval.training.state_folders import STEPS, saved_states, step_of

_PROJECTORS, _LLM = "network.projectors.", "network.llm.model."
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The network that was made.

    Attributes:
        step: after which its state was saved.
        messages: what the user must know about the states.
    """

    step: int
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Training:
    """A training and the content of its record."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def start(self) -> Mapping[str, Any]:
        """What it started from."""
        found = self.content.get("identity", {}).get("start")
        if not isinstance(found, dict) or not {"network", "frozen"} <= found.keys():
            raise BadCheckpoint(f"{self.folder / record.NAME} does not say what the training started from")
        return found

    @property
    def origin(self) -> str:
        """The preset, file or checkpoint that it was started with."""
        return str(self.content.get("options", {}).get("network", ""))

    @property
    def config(self) -> AnyMALConfig:
        """The network that is trained, its frozen parts placed."""
        file = str(self.folder / record.NAME)
        if NETWORK in self.content:
            facts = CheckpointFacts(
                folder=self.folder / CHECKPOINT,
                config=read_config(self.content[NETWORK], file),
                frozen=self.start["frozen"],
                adapters=False,
                orders=(),
                note="",
            )
            return placed(facts)
        # Earlier versions recorded no paths of the frozen parts.
        source = placed(read(located(self.origin))) if is_network(self.origin) else named(self.origin)
        started = with_paths(read_config(self.start["network"], file), paths_of(source))
        return replace(started, lora=started.lora or source.lora)


def export(training: Path, out: Path, step: int | None = None, backbones: Mapping[str, str] | None = None) -> Exported:
    """Write the network of a saved state.

    Args:
        training: the folder of a training, or one of its states, ``steps/checkpoint-N``.
        out: the folder of the new checkpoint.
        step: the step of the state; None for the last whole one.
        backbones: where frozen parts lie now, as for :func:`anymal_eval.anymal.backbones.placed`.

    Raises:
        WrongUse: no training, no such state, or ``out`` is a folder of the training.
        BadCheckpoint: the state is damaged, or a part that it needs is not there.
        StorageFull: there is no space.
    """
    if step is None and (training / states.TRAINED).is_file() and training.parent.name == STEPS:
        training, step = training.parent.parent, step_of(training)
    _require_other(out, training)
    content = record.read(training)
    if not content:
        if (training / checkpoint.PROJECTORS).is_file():
            raise WrongUse(f"{training} is a network's checkpoint already: give it as it is")
        raise BadCheckpoint(what_it_is(training))
    choice, tensors = _trained(training, step)
    found = _Training(folder=training, content=content)
    config = relocated(found.config, backbones or {})
    contents = checkpoint.Contents(
        config=config,
        frozen=found.start["frozen"],
        projectors={
            name.removeprefix(_PROJECTORS): value for name, value in tensors.items() if name.startswith(_PROJECTORS)
        },
        note=str(content["identity"].get("note", "")),
        orders=tuple(content.get(ORDERS) or ()),
        adapters=_adapters(found, config, tensors),
    )
    with storage_errors(out):
        checkpoint.write(out, contents)
    return Exported(step=step_of(choice.state), messages=_messages(choice))


def _require_other(out: Path, training: Path) -> None:
    place, folder = out.resolve(), training.resolve()
    if place in (folder, folder / CHECKPOINT) or place.is_relative_to(folder / STEPS):
        raise WrongUse(f"--out {out} is a folder of the training itself; choose another")


def _trained(training: Path, step: int | None) -> tuple[state_digests.Choice, dict[str, Any]]:
    """The state and what it holds of the network. A training that is running may delete its oldest ones meanwhile."""
    tries = 0
    while True:
        tries += 1
        before = saved_states(training / STEPS)
        try:
            state, choice = _choose(training, step, before)
            return choice, read_tensors(state / states.TRAINED)
        except BadCheckpoint:
            if tries == _TRIES or saved_states(training / STEPS) == before:
                raise


def _choose(training: Path, step: int | None, found: list[Path]) -> tuple[Path, state_digests.Choice]:
    choice = state_digests.choose(training / STEPS) if step is None else state_digests.Choice()
    if choice.state is not None:
        return choice.state, choice
    if not found:
        raise MissingData(f"{training} has saved no state yet: wait until it has (--save-every)")
    state = next((each for each in found if step_of(each) == step), None)
    if state is None:
        steps = listed([str(step_of(each)) for each in reversed(found)])
        raise WrongUse(f"{training} holds no state of step {step}; it holds {steps} (--keep says how many are kept)")
    if why := state_digests.wrong_with(state):
        raise BadCheckpoint(f"{state} is damaged: {why}; export another step")
    return state, state_digests.Choice(state=state, is_verified=(state / state_digests.FILE).is_file())


def _messages(choice: state_digests.Choice) -> tuple[str, ...]:
    found = [f"{state} is damaged: {why}; the state before it was taken" for state, why in choice.damaged]
    if not choice.is_verified:
        found.append(f"{choice.state} could not be verified: an earlier version saved it, without digests")
    return tuple(found)


def _adapters(training: _Training, config: AnyMALConfig, tensors: Mapping[str, Any]) -> Callable[[Path], None] | None:
    """Writes the adapters of the state, or those of the start where the projectors alone are trained."""
    trained = {name.removeprefix(_LLM): value for name, value in tensors.items() if name.startswith(_LLM)}
    if trained:
        return partial(_write_adapters, config, trained)
    before = [line for line in training.start.get("from") or () if line.startswith(f"{checkpoint.ADAPTERS}/")]
    if not before:
        return None
    start = Path(training.origin)
    for line in before:
        name, _, digest = line.rpartition(" ")
        if not (start / name).is_file() or fingerprint.of_file(start / name) != digest:
            raise BadCheckpoint(f"{start / name} is not, or no longer, what the training started from")
    return partial(_copy_adapters, start / checkpoint.ADAPTERS)


def _copy_adapters(source: Path, target: Path) -> None:
    target.mkdir()
    for name in (lora.WEIGHTS, lora.SETTINGS):
        shutil.copyfile(source / name, target / name)


def _write_adapters(config: AnyMALConfig, trained: Mapping[str, Any], target: Path) -> None:
    if config.lora is None:
        raise BadCheckpoint("the state holds adapters, and the record of the training none")
    model = lora.attach(llm_of_shapes(config.llm, Loading()).model, config.lora)
    expected = {name for name, _ in model.named_parameters() if "lora_" in name}
    if expected != trained.keys():
        raise BadCheckpoint(f"the adapters of the state are not those of {config.llm.path}")
    with checkpoint_errors(f"the adapters of the state do not fit {config.llm.path}"):
        model.load_state_dict(trained, strict=False, assign=True)
    lora.save(model, target)
