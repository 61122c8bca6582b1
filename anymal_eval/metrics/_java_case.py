"""Lower case as Java makes it: a capital sigma depends on the rest of its word.

Python and Java both write the final form of a sigma at the end of a word. They differ in what a word is: Java's is that
of ``java.text.BreakIterator``, in which a hyphen, a quotation mark or a period may stand between letters, and digits
join the letters beside them.
"""

import re
import unicodedata

_SIGMA = "Σ"
# Letters of scripts without spaces: each run of a kind is a word of its own, and none of them has a case.
_NO_LETTER = re.compile("[々一-龥豈-鶴ァ-ヺヽヾぁ-ゔゝゞ\u3099-゜・ー]").match
# Letters by category that have no case of their own to Unicode, but count as cased.
_ALSO_CASED = re.compile("[ʰ-ʸˀˁˠ-ˤ\u0345ͺᴬ-ᵡⅠ-ⅿⓐ-ⓩ]").match
# The kinds of character: L letter, D digit, W between letters, N between digits, B between either, A danda, I ignored.
_KINDS = {
    **dict.fromkeys("\xad\u2027", "W"),
    **dict.fromkeys(",\u066b", "N"),
    **dict.fromkeys("\"'.", "B"),
    "।": "A",
    "॥": "A",
}
_OF_CATEGORY = {"Mc": "L", "Pd": "W", "Pc": "W", "Mn": "M", "Me": "M", "Cf": "I"}
_LETTERS = "L[LMI]*(?:[WB]I*L[LMI]*)*(?:A[MI]*)?"
_DIGITS = "D[DMI]*(?:[NB]I*D[DMI]*)*"
_WORD = re.compile(f"(?:{_LETTERS})?(?:{_DIGITS}{_LETTERS})*(?:{_DIGITS})?T?")


def lower_case(text: str) -> str:
    """The text in lower case, as ``String.toLowerCase`` of Java 17 gives it.

    >>> lower_case("ΟΔΟΣ"), lower_case("ΟΔΟΣ-ΑΣ"), lower_case("ΑΣ5Β"), lower_case("Σ")
    ('οδος', 'οδοσ-ας', 'ασ5β', 'σ')
    """
    if _SIGMA not in text:
        return text.lower()
    kinds = "".join(map(_kind, text))
    lowered, start = "", 0
    while start < len(text):
        end = max(_WORD.match(kinds, start).end(), start + 1)  # type: ignore[union-attr]  # it matches the empty text
        lowered += _lower_word(text[start:end])
        start = end
    return lowered


def _kind(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter > "\uffff":
        return "T" if category[0] in "LMN" else "X"
    if letter in _KINDS:
        return _KINDS[letter]
    if _NO_LETTER(letter):
        return "X"
    return _OF_CATEGORY.get(category) or {"L": "L", "N": "D"}.get(category[0], "X")


def _lower_word(word: str) -> str:
    cased = [at for at, letter in enumerate(word) if _is_cased(letter)]
    lowered = ""
    for at, letter in enumerate(word):
        is_final = letter == _SIGMA and at == cased[-1] and at > cased[0]
        lowered += "ς" if is_final else "σ" if letter == _SIGMA else letter.lower()
    return lowered


def _is_cased(letter: str) -> bool:
    return unicodedata.category(letter) in ("Lu", "Ll", "Lt") or _ALSO_CASED(letter) is not None
