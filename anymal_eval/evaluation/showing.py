"""A model that also writes down what it is given, for the gallery."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anymal_eval.models import Model, Refilling, Showing
from anymal_eval.store.shown_prompts import MOST, SentPrompt, append_prompts, read_prompts

if TYPE_CHECKING:
    from anymal_eval.models import Prepared
    from anymal_eval.records import Response


def recording(model: Model, file: Path) -> Model:
    """The model; one that shows its prompts appends them to the file, up to as many as a report shows.

    Args:
        model: loaded here.
        file: of one task.
    """
    if not isinstance(model, Showing):
        return model
    kind = _RefillingRecording if isinstance(model, Refilling) else _Recording
    return cast(Model, kind(model, file))


class _Recording:
    """All that the model is, but for its answers."""

    def __init__(self, model: Any, file: Path) -> None:
        self._model, self._file = model, file
        self._written = set(read_prompts(file))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Write down the prompts of a batch, and answer it."""
        self._write_down(batch)
        answers: Sequence[Response] = self._model.answer(batch)
        return answers

    def _write_down(self, batch: Sequence[Prepared]) -> None:
        new = [item for item in batch if item.request.id not in self._written][: MOST - len(self._written)]
        if new:
            shown = [SentPrompt(id=item.request.id, **asdict(self._model.shown(item))) for item in new]
            append_prompts(self._file, shown)
            self._written.update(one.id for one in shown)


class _RefillingRecording(_Recording):
    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        """Write down the prompts of a batch and of what joins it, and answer them."""

        def joining() -> Sequence[Prepared]:
            found = more()
            self._write_down(found)
            return found

        self._write_down(batch)
        yield from self._model.answer_each(batch, joining)
