"""The named rules that read the chosen option from an answer. No rule guesses."""

import re
from collections.abc import Callable, Sequence

Rule = Callable[[str, int], int | None]

_LETTER = re.compile(r"\(?([A-Za-z])\)|([A-Za-z])\.?")
_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def _position(letter: str, options: int) -> int | None:
    at = ord(letter.upper()) - ord("A")
    return at if at < options else None


def by_index(text: str, options: int) -> int | None:
    """The option's number, counted from 0; the answer holds nothing else.

    >>> by_index(" 2 ", 4), by_index("4", 4), by_index("-1", 4), by_index("option 2", 4)
    (2, None, None, None)
    """
    found = re.fullmatch(r"[0-9]+", text.strip(), re.ASCII)
    at = int(found.group()) if found else options
    return at if at < options else None


def by_letter(text: str, options: int) -> int | None:
    r"""The option's letter alone: ``B``, ``b``, ``(B)``, ``B)`` or ``B.``, with optional space around it.

    >>> [by_letter(text, 3) for text in ("B", "b", "(B)", "B)", "B.", " B\n")]
    [1, 1, 1, 1, 1, 1]
    >>> [by_letter(text, 3) for text in ("D", "B. a dog", "(B", "A or B", "The answer is B.", "")]
    [None, None, None, None, None, None]
    """
    found = _LETTER.fullmatch(text.strip())
    return _position(found.group(1) or found.group(2), options) if found else None


def by_sqa_2022(text: str, options: int) -> int | None:
    """The letter in the only sentence "The answer is X.", as ScienceQA reads GPT-3.

    Quirks kept on purpose: the period in the pattern matches any character, so that a sentence at the very end without
    one does not match; two such sentences give None. Not kept: where there is no letter, or one of no option, the
    official code draws an option at random; here both give None.

    Source:
        lupantech/ScienceQA ``models/run_gpt3.py``.

    >>> by_sqa_2022("The answer is B. BECAUSE: ...", 2), by_sqa_2022("The answer is B", 2), by_sqa_2022("B", 2)
    (1, None, None)
    """
    found = _SENTENCE.findall(text)
    return _position(found[0], options) if len(found) == 1 else None


def by_llava_2023(text: str, options: int) -> int | None:
    """A letter from A to E alone, or at the start before a period and a space; else as ``sqa-2022``.

    Source:
        haotian-liu/LLaVA ``llava/eval/eval_science_qa.py``.

    >>> [by_llava_2023(text, 2) for text in ("B", "B. dog", "So. The answer is A.", "b", "C")]
    [1, 1, 0, None, None]
    """
    if text in ("A", "B", "C", "D", "E") or (text[:1] in tuple("ABCDE") and text[1:3] == ". "):
        return _position(text[0], options)
    return by_sqa_2022(text, options)


def by_text(text: str, options: Sequence[str]) -> int | None:
    """The only option whose text equals the answer, without regard to case, outer space and a final period.

    >>> by_text("A dog.", ("a cat", "a dog")), by_text("dog", ("a cat", "a dog")), by_text("x", ("x", "X"))
    (1, None, None)
    """
    wanted = _plain(text)
    found = [at for at, option in enumerate(options) if _plain(option) == wanted]
    return found[0] if len(found) == 1 else None


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").strip().lower()


RULES: dict[str, Rule] = {
    "index": by_index,
    "letter": by_letter,
    "sqa-2022": by_sqa_2022,
    "llava-2023": by_llava_2023,
}
"""The rules that need only the number of options; ``extract`` also has ``text``."""

NAMES = (*RULES, "text")


def extract(rule: str, text: str, options: Sequence[str]) -> int | None:
    """The index of the option that ``text`` chooses under the named rule, or None.

    Raises:
        KeyError: there is no such rule; callers check the name against ``NAMES`` when they read a definition.

    >>> extract("letter", "(b)", ("cat", "dog")), extract("text", "Dog", ("cat", "dog"))
    (1, 1)
    """
    return by_text(text, options) if rule == "text" else RULES[rule](text, len(options))
