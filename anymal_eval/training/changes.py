"""A training that is resumed with other steps, another batch size or other data than it had before."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers

from anymal_eval.errors import WrongUse
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.record import BATCH, DATA, STEPS, WITH_DATA

CHANGES = "changes"  # in the record: at which step, and what was before and since
FORMER = "former_data"  # in a change of the data
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def with_change(
    before: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]], step: int, recipe: Recipe
) -> list[dict[str, Any]]:
    """The changes of a training so far, with those of this resume.

    Args:
        before: its record.
        changed: the values before and now, by name.
        step: the last that was saved.
        recipe: the present one.

    Raises:
        WrongUse: it is further than its new number of steps.
    """
    if step > recipe.steps:
        raise WrongUse(f"--steps {recipe.steps}: the training is at step {step} already")
    if step == recipe.steps and changed.keys() - {STEPS}:
        raise WrongUse(f"--steps {recipe.steps}: all are done, so nothing would be trained with the changes; give more")
    every: list[dict[str, Any]] = list(before.get(CHANGES, []))
    made = [each for each in every if each["step"] < step]
    # Nothing that is kept was trained with those from here on: a kill came before the next state, or that is damaged.
    pairs = [pair for each in every[len(made) :] for pair in each["changed"].items()]
    values: dict[str, list[Any]] = {}
    for name, (old, new) in [*pairs, *changed.items()]:
        values[name] = [values.get(name, [old])[0], new]
    values = {name: pair for name, pair in values.items() if pair[0] != pair[1]}
    if values:
        size = values.get(BATCH, (recipe.batch_size,))[0]
        seen = step * size + shift_of(made)
        shift = (0 if _are_new_data(values) else seen) - step * recipe.batch_size
        made.append({"step": step, "changed": values, "shift": shift} | _former(before, every[len(made) :], values))
    return made


def _former(before: Mapping[str, Any], replaced: Sequence[Mapping[str, Any]], changed: Mapping[str, Any]) -> Any:
    """The entries of the data that were trained on until a change of them, with what cleaned them."""
    if DATA not in changed:
        return {}
    entries = next((each[FORMER] for each in replaced if FORMER in each), before.get(DATA))
    return {} if entries is None else {FORMER: entries}


def shift_of(changes: Sequence[Mapping[str, Any]]) -> int:
    """What is added to a step's number of samples; see :class:`~anymal_eval.training.order.BatchPartition`."""
    return int(changes[-1]["shift"]) if changes else 0


def starts_data(changes: Sequence[Mapping[str, Any]], step: int) -> bool:
    """Whether the data at a step are new, so that a saved place in those before says nothing."""
    return _are_new_data(_at(changes, step))


def described(changes: Sequence[Mapping[str, Any]], step: int, recipe: Recipe) -> list[str]:
    """What the user must know about the change at a step, with the learning rate that follows from it."""
    changed = _at(changes, step)
    if not changed:
        return []
    parts = []
    if STEPS in changed:
        old, new = changed[STEPS]
        rate, before = rate_at(step, recipe.steps, recipe), rate_at(step, old, recipe)
        course = f"goes from {before:.3g} to {rate:.3g}" if rate != before else f"stays {rate:.3g}"
        parts.append(
            f"{new} steps instead of {old}: the {recipe.schedule} schedule is that of {new} steps, so the rate {course}"
        )
    if BATCH in changed:
        parts.append(f"batches of {changed[BATCH][1]} samples instead of {changed[BATCH][0]}, from the next sample on")
    if _are_new_data(changed):
        parts.append("other data, from their start")
    return [f"resumed at step {step} with changes: {'; '.join(parts)}"]


def _are_new_data(changed: Mapping[str, Any]) -> bool:
    """Whether they are others, or read in another order."""
    return any(name in changed for name in (DATA, *WITH_DATA))


def _at(changes: Sequence[Mapping[str, Any]], step: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = changes[-1]["changed"] if changes and changes[-1]["step"] == step else {}
    return found


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a recipe at a step, if it had so many steps."""
    optimizer = torch.optim.SGD([torch.zeros(())], lr=recipe.learning_rate)
    warmup = int(recipe.warmup * steps if recipe.warmup < 1 else recipe.warmup)
    schedule: Any = transformers.get_scheduler(SCHEDULES[recipe.schedule], optimizer, warmup, steps)
    return float(recipe.learning_rate * schedule.lr_lambdas[0](step))
