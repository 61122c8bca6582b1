"""The references of short answers as numbers: each distinct text is normalised once, whoever gave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.metrics._shared import once
from anymal_eval.records import Answer, Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.int32]

Form = Callable[[str], str]


def as_written(text: str) -> str:
    """The normal form of a rule that has none."""
    return text


class ReferenceTexts:
    """N examples with M references in all.

    Equal numbers mean equal texts, over references and answers and over all normal forms.

    Attributes:
        sizes: (N,), how many references each example has.
        starts: (N,), where those of each example start among all.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        """Number the references; an example may have none."""
        given = [example.references or () for example in examples]
        self.sizes = np.fromiter(map(len, given), np.intp, len(given))
        self.starts = np.cumsum(self.sizes) - self.sizes
        self._texts = {text: at for at, text in enumerate(dict.fromkeys(chain.from_iterable(given)))}
        every = map(self._texts.__getitem__, chain.from_iterable(given))
        self._codes: Codes = np.fromiter(every, np.int32, int(self.sizes.sum()))
        self._numbers: dict[str, int] = {}
        self._forms: dict[Form, Codes] = {}
        # Most benchmarks have equally many references everywhere: rows of one array.
        self._width = int(self.sizes[0]) if len(given) and (self.sizes == self.sizes[0]).all() else 0

    def references(self, form: Form) -> Codes:
        """(M,), the references in a normal form."""
        if form not in self._forms:
            self._forms[form] = self._numbered(form, self._texts)
        return self._forms[form][self._codes]

    def answers(self, answers: Sequence[Answer], *forms: Form) -> tuple[Codes, ...]:
        """(N,) for each normal form, the answers in it."""
        texts = [answer.text for answer in answers]
        distinct = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        codes = np.fromiter(map(distinct.__getitem__, texts), np.int32, len(texts))
        return tuple(self._numbered(form, distinct)[codes] for form in forms)

    def alike(self, codes: Codes) -> NDArray[np.bool_]:
        """(N,), whether all references of an example are equal, in a normal form (M,)."""
        alike: NDArray[np.bool_] = self.matches(codes[self.starts], codes) == self.sizes
        return alike

    def matches(self, answers: Codes, references: Codes) -> NDArray[np.intp]:
        """How many references equal their answer: (N,) and (M,) -> (N,). Every example must have one."""
        if self._width:
            rows: NDArray[np.intp] = (references.reshape(-1, self._width) == answers[:, None]).sum(axis=1)
            return rows
        equal = references == np.repeat(answers, self.sizes)
        return np.add.reduceat(equal, self.starts, dtype=np.intp)

    def _numbered(self, form: Form, texts: Iterable[str]) -> Codes:
        numbers = self._numbers
        return np.array([numbers.setdefault(text, len(numbers)) for text in map(form, texts)], dtype=np.int32)


def reference_texts(examples: Sequence[Example]) -> ReferenceTexts:
    """The references of examples, numbered once while a task is scored."""
    return once(examples, "references", lambda: ReferenceTexts(examples))
