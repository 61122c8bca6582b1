"""The positive examples of a yes/no task."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.records import Example


def yes_option(example: Example) -> int:
    """The index of the option that means yes: "yes" in upper or lower case, else the second.

    >>> yes_option(Example(id="1", cluster="1", kind="yes_no", options=("Yes", "No")))
    0
    """
    lowered = [option.strip().lower() for option in example.options]
    return lowered.index("yes") if "yes" in lowered else 1


def positives(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Shape (N,): 1.0 where the label is yes, else 0.0.

    Raises:
        BadDefinition: an example has no label, or one that is neither 0 nor 1.
    """
    truth = np.zeros(len(examples))
    for row, example in enumerate(examples):
        if example.label not in (0, 1):
            raise BadDefinition(f"example {example.id!r}: label {example.label} is neither 0 nor 1")
        truth[row] = example.label == yes_option(example)
    return truth
