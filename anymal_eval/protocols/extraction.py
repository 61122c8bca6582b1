"""The named rules that read the chosen option from an answer. No rule guesses."""

import re
from collections.abc import Callable, Sequence

Rule = Callable[[str, int], int | None]
TextRule = Callable[[str, Sequence[str]], int | None]

_LETTER = re.compile(r"\(?([A-Za-z])\)|([A-Za-z])\.?")
_SENTENCE = re.compile(r"The answer is ([A-Z]).")
_LETTER_TEXT = re.compile(r"(?:\(([A-Za-z])\)[.:]?|([A-Za-z])[.:)])\s+(\S.*)", re.DOTALL)
_STATEMENT = re.compile(
    r"\b(?i:(?:answer|option|choice)(?:\s+is)?\s*:\s*|(?:answer|option|choice)\s+is\s+)"
    r"(?:\(([A-Za-z])\)|([A-Z])(?![\w']))"
)
# A letter that is one of several is no statement.
_GOES_ON = re.compile(r"\)?\s*(?:,|/|&|\bor\b|\band\b)\s*(?i:or\s+|and\s+|option\s+)?\(?[A-Za-z]\b\)?(?![\w'])")
# "Answer: A dog": an article as likely as a letter.
_WORD_FOLLOWS = re.compile(r"[ \t]+\w")
_MARKUP = re.compile(r"\*+|`+|(?<!\w)_+|_+(?!\w)")
_BOX = re.compile(r"\$?\\boxed\{(?:\\text\{)?([^{}]*)\}?\}\$?")
_YES_NO = re.compile(r"\banswer(?:\s+is)?\s*:?\s+(yes|no)\b")
_YES_NO_BOTH = re.compile(r"\byes\b.*\bno\b|\bno\b.*\byes\b", re.DOTALL)


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


def by_letter_text(text: str, options: Sequence[str]) -> int | None:
    """A letter as ``letter`` reads it, alone or before the text of its own option: ``(B) dog``, ``B. dog``, ``B: dog``.

    >>> [by_letter_text(text, ("a cat", "a dog")) for text in ("(B) a dog", "B. A dog.", "B", "b) a dog", "A: a cat")]
    [1, 1, 1, 1, 0]
    >>> [by_letter_text(text, ("a cat", "a dog")) for text in ("(B) a cat", "B or A", "B a dog", "a dog", "C")]
    [None, None, None, None, None]
    """
    found = _LETTER_TEXT.fullmatch(text.strip())
    if found is None:
        return by_letter(text, len(options))
    at = _position(found.group(1) or found.group(2), len(options))
    return at if at is not None and _plain(options[at]) == _plain(found.group(3)) else None


def by_stated_letter(text: str, options: Sequence[str]) -> int | None:
    """The letter that the answer states: ``Answer: B``, ``The answer is (B).``, ``The correct option is B. dog``.

    Every statement must name the same option; a letter that is followed by ``or``, ``and`` or another letter states
    none. What ``letter-text`` reads is read too.

    >>> two = ("a cat", "a dog")
    >>> [by_stated_letter(text, two) for text in ("Answer: B", "The answer is B", "So the correct answer is (B).", "B")]
    [1, 1, 1, 1]
    >>> [by_stated_letter(text, two) for text in ("Answer: A or B", "The answer is A. Answer: B", "Answer: A dog",
    ...                                           "A or B", "The answer is not B", "Answer: C")]
    [None, None, None, None, None, None]
    """
    alone = by_letter_text(text, options)
    return alone if alone is not None else _stated(text, options)


def by_bold_letter(text: str, options: Sequence[str]) -> int | None:
    r"""What ``letter-text`` reads, in Markdown's bold or italics, in backticks or in a LaTeX box.

    >>> [by_bold_letter(text, ("a cat", "a dog")) for text in ("**B**", "**(B)** a dog", "`B`", r"\boxed{B}", "B.")]
    [1, 1, 1, 1, 1]
    >>> by_bold_letter("**A** or **B**", ("a cat", "a dog")) is None
    True
    """
    return by_letter_text(_without_markup(text), options)


def by_chat(text: str, options: Sequence[str]) -> int | None:
    """What ``stated-letter`` reads, with or without Markdown: the forms in which chat models answer.

    >>> [by_chat(text, ("a cat", "a dog")) for text in ("The answer is **B**.", "**Answer:** B", "**B. a dog**", "B")]
    [1, 1, 1, 1]
    >>> [by_chat(text, ("a cat", "a dog")) for text in ("**A** or **B**", "It is A, or B", "**Answer: A** Answer: B")]
    [None, None, None]
    """
    return by_stated_letter(_without_markup(text), options)


def _stated(text: str, options: Sequence[str]) -> int | None:
    found = set()
    for match in _STATEMENT.finditer(text):
        at = _position(match.group(1) or match.group(2), len(options))
        rest = text[match.end() :]
        if at is None or _GOES_ON.match(rest) or (match.group(2) and _WORD_FOLLOWS.match(rest)):
            return None
        named = next((place for place, option in enumerate(options) if _starts_with(rest, option)), at)
        if named != at:
            return None
        found.add(at)
    return found.pop() if len(found) == 1 else None


def _starts_with(rest: str, option: str) -> bool:
    after = re.match(r"\s*[.:)]\s*(.*)", rest, re.DOTALL)
    plain = _plain(option)
    return bool(after and plain) and re.match(re.escape(plain) + r"(?!\w)", after.group(1).lower()) is not None  # type: ignore[union-attr]


def _without_markup(text: str) -> str:
    return _BOX.sub(r"\1", _MARKUP.sub("", text))


def yes_or_no(rule: str, text: str) -> str:
    """The answer to a yes/no question in lower case, without a final period; other words where it is neither.

    The rules for letters from chat models read the same forms of yes and no.

    >>> [yes_or_no("letter", text) for text in ("Yes.", "Answer: yes", "**No**")]
    ['yes', 'answer: yes', '**no**']
    >>> [yes_or_no("chat", text) for text in ("Yes.", "Answer: yes", "The answer is **No**.", "Answer: yes or no")]
    ['yes', 'yes', 'no', 'answer: yes or no']
    """
    word = _without_markup(text) if rule in ("bold-letter", "chat") else text
    word = word.strip().rstrip(".").lower()
    if rule in ("stated-letter", "chat") and word not in ("yes", "no"):
        stated = {found.group(1) for found in _YES_NO.finditer(word)}
        return stated.pop() if len(stated) == 1 and not _YES_NO_BOTH.search(word) else word
    return word


RULES: dict[str, Rule] = {
    "index": by_index,
    "letter": by_letter,
    "sqa-2022": by_sqa_2022,
    "llava-2023": by_llava_2023,
}
"""The rules that need only the number of options."""

TEXT_RULES: dict[str, TextRule] = {
    "text": by_text,
    "letter-text": by_letter_text,
    "stated-letter": by_stated_letter,
    "bold-letter": by_bold_letter,
    "chat": by_chat,
}
"""The rules that compare the answer with the options' texts."""

NAMES = (*RULES, *TEXT_RULES)
READ_YES_NO = frozenset({"stated-letter", "bold-letter", "chat"})
"""The rules that read more than a bare yes or no too."""


def extract(rule: str, text: str, options: Sequence[str]) -> int | None:
    """The index of the option that ``text`` chooses under the named rule, or None.

    Raises:
        KeyError: there is no such rule; callers check the name against ``NAMES`` when they read a definition.

    >>> extract("letter", "(b)", ("cat", "dog")), extract("text", "Dog", ("cat", "dog"))
    (1, 1)
    """
    return TEXT_RULES[rule](text, options) if rule in TEXT_RULES else RULES[rule](text, len(options))


def described() -> dict[str, str]:
    """Each rule's name, with the first sentence about it."""
    rules: dict[str, Callable[..., int | None]] = {**RULES, **TEXT_RULES}
    return {name: " ".join((rule.__doc__ or "").split("\n\n")[0].split()) for name, rule in rules.items()}
