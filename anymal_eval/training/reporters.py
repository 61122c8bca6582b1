"""``--report-to``: transformers' reporters, each begun before the network is loaded, and none that ends a training."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
import transformers

from anymal_eval.checkpoints.loading import library
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.visible import visible_line

_Callback: Any = transformers.TrainerCallback
_WITHOUT = "or give --report-to none: log.jsonl is always written"
_LONGEST = 300  # characters of what a library says


def _forwarded(event: str) -> Callable[..., Any]:
    def forward(self: "Reporter", args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        return self.forward(event, args, state, control, **kwargs)

    return forward


class Reporter(_Callback):  # type: ignore[misc]
    """A reporter of transformers that has begun. It is left out from its first failure on.

    Attributes:
        notify: gets a line about the failure.
    """

    def __init__(self, name: str, made: Any, arguments: transformers.TrainingArguments) -> None:
        """Begin its run: it logs in, and opens its files or its store.

        Raises:
            WrongUse: it cannot.
        """
        self.name = name
        self.notify: Callable[[str], None] = lambda line: None
        self._made: Any = made
        state, control = transformers.TrainerState(is_world_process_zero=True), transformers.TrainerControl()
        try:
            for event in ("on_init_end", "on_train_begin"):
                with redirect_stdout(sys.stderr):  # standard output is the command's
                    getattr(made, event)(arguments, state, control, model=torch.nn.Module(), processing_class=None)
        except Exception as error:  # whatever its library raises: no login, no server, a store that lacks
            raise WrongUse(f"--report-to {name}: it cannot begin: {_reason(error)}; set it up, {_WITHOUT}") from error

    def forward(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Hand an event on."""
        if self._made is None or event in ("on_init_end", "on_train_begin"):
            return None
        try:
            with redirect_stdout(sys.stderr):
                result = getattr(self._made, event)(args, state, control, **kwargs)
                if event == "on_train_end" and self.name == "wandb":
                    self._made._wandb.finish()  # else at the end of Python, after the last line of the command
        except Exception as error:  # noqa: BLE001  # whatever its library raises: a network, a full disk
            self._made = None
            self.notify(f"--report-to {self.name} failed and is left out from here on: {_reason(error)}")
            return None
        return result


for _event in (name for name in dir(transformers.TrainerCallback) if name.startswith("on_")):
    setattr(Reporter, _event, _forwarded(_event))


def require_reporters(names: Sequence[str]) -> None:
    """Make sure that transformers knows the reporters, and that their packages can be imported.

    Raises:
        WrongUse: a reporter is unknown.
        NeedsExtra: one is not installed.
    """
    for name in names:
        _made(name)


def begin_reporters(
    names: Sequence[str], arguments: transformers.TrainingArguments, out: Path, step: int
) -> tuple[Reporter, ...]:
    """Begin the reporters of a training.

    Args:
        names: theirs.
        arguments: of the training; it is logged.
        out: the training's folder, in which those that write files write them.
        step: the last that was saved; curves continue from there.

    Raises:
        WrongUse: one cannot begin.
    """
    defaults = {"WANDB_DIR": str(out), "WANDB_SILENT": "true", "TENSORBOARD_LOGGING_DIR": str(out / "tensorboard")}
    with _environment(defaults):
        return tuple(Reporter(name, _continued(_made(name), step), arguments) for name in names)


def _made(name: str) -> Any:
    try:
        (reporter,) = library().integrations.get_reporting_integration_callbacks([name])
        return reporter()
    except ValueError as error:
        raise WrongUse(f"--report-to {name}: {_reason(error)}") from None
    except (RuntimeError, ImportError) as error:
        raise NeedsExtra(f"--report-to {name}: {_reason(error)}") from None


def _continued(made: Any, step: int) -> Any:
    """TensorBoard drops the values of later steps, which the training is about to repeat."""
    if isinstance(made, library().integrations.TensorBoardCallback) and step:
        made.tb_writer = made._SummaryWriter(log_dir=made.logging_dir, purge_step=step + 1)
    return made


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the user has not set."""
    lacking = defaults.keys() - os.environ.keys()
    os.environ.update({name: defaults[name] for name in lacking})
    try:
        yield
    finally:
        for name in lacking:
            del os.environ[name]


def _reason(error: Exception) -> str:
    text = visible_line(str(error)) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
