"""Where a training's states lie: ``steps/checkpoint-STEP``. It imports no torch, so that a message can name them."""

from pathlib import Path

STEPS = "steps"  # below the training's folder
PREFIX = "checkpoint-"


def saved_states(folder: Path) -> list[Path]:
    """All states, the latest last."""
    found = [each for each in folder.glob(f"{PREFIX}*") if each.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=step_of)


def step_of(state: Path | None) -> int:
    """The step after which a state was saved; 0 without one.

    >>> step_of(Path("steps/checkpoint-20"))
    20
    """
    return 0 if state is None else int(state.name.removeprefix(PREFIX))
