"""The named rules that read which option an answer chose. None of them guesses."""

import re
from collections.abc import Callable, Sequence

Rule = Callable[[str, int], int | None]

_LETTER = re.compile(r"\(?([A-Za-z])\)|([A-Za-z])\.?")
_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def _position(letter: str, options: int) -> int | None:
    at = ord(letter.upper()) - ord("A")
    return at if at < options else None


def by_index(text: str, options: int) -> int | None:
    """The answer is the option's number, counted from 0, and nothing else.

    >>> by_index(" 2 ", 4), by_index("4", 4), by_index("-1", 4), by_index("option 2", 4)
    (2, None, None, None)
    """
    found = re.fullmatch(r"[0-9]+", text.strip(), re.ASCII)
    at = int(found.group()) if found else options
    return at if at < options else None


def by_letter(text: str, options: int) -> int | None:
    r"""The answer is the option's letter alone: ``B``, ``b``, ``(B)``, ``B)`` or ``B.``, with space around it at most.

    >>> [by_letter(text, 3) for text in ("B", "b", "(B)", "B)", "B.", " B\n")]
    [1, 1, 1, 1, 1, 1]
    >>> [by_letter(text, 3) for text in ("D", "B. a dog", "(B", "A or B", "The answer is B.", "")]
    [None, None, None, None, None, None]
    """
    found = _LETTER.fullmatch(text.strip())
    return _position(found.group(1) or found.group(2), options) if found else None


def by_sqa_2022(text: str, options: int) -> int | None:
    """The letter of the one sentence "The answer is X.", as ScienceQA read GPT-3.

    Quirks kept on purpose: the period in the pattern stands for any character, so that a sentence without one at
    the very end does not count; two sentences count as none. Not kept: the official code draws an option at random
    where it finds none, or one that does not exist; here both are None.

    Source:
        lupantech/ScienceQA ``models/run_gpt3.py``.

    >>> by_sqa_2022("The answer is B. BECAUSE: ...", 2), by_sqa_2022("The answer is B", 2), by_sqa_2022("B", 2)
    (1, None, None)
    """
    found = _SENTENCE.findall(text)
    return _position(found[0], options) if len(found) == 1 else None


def by_llava_2023(text: str, options: int) -> int | None:
    """A letter from A to E alone, or followed by a period and a space, else as ``sqa-2022``.

    Source:
        haotian-liu/LLaVA ``llava/eval/eval_science_qa.py``.

    >>> [by_llava_2023(text, 2) for text in ("B", "B. dog", "So. The answer is A.", "b", "C")]
    [1, 1, 0, None, None]
    """
    if text in ("A", "B", "C", "D", "E") or (text[:1] in tuple("ABCDE") and text[1:3] == ". "):
        return _position(text[0], options)
    return by_sqa_2022(text, options)


def by_text(text: str, options: Sequence[str]) -> int | None:
    """The answer is the wording of exactly one option; case, space around it and a last period do not count.

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
"""The rules that need to know only how many options there are; ``extract`` knows ``text`` besides."""

NAMES = (*RULES, "text")


def extract(rule: str, text: str, options: Sequence[str]) -> int | None:
    """Which of ``options`` the answer ``text`` chose under the named rule, or None.

    Raises:
        KeyError: no such rule; callers check the name against ``NAMES`` when they read a definition.

    >>> extract("letter", "(b)", ("cat", "dog")), extract("text", "Dog", ("cat", "dog"))
    (1, 1)
    """
    return by_text(text, options) if rule == "text" else RULES[rule](text, len(options))
