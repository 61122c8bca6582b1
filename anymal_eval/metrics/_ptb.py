"""The Stanford PTBTokenizer 3.4.1 as pycocoevalcap 1.2 drives it, without Java."""

import re
from collections.abc import Sequence

from anymal_eval.metrics._ptb_rules import ABBREVIATIONS, BEYOND_ASCII, BY_FIRST
from anymal_eval.metrics._ptb_words import ENTITIES, MERGED

_DROPPED = frozenset("'' ' `` ` . ? ! , : - -- ... ;".split())
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))
_READ = dict(zip("(){}[]", "-lrb- -rrb- -lcb- -rcb- -lsb- -rsb-".split(), strict=True)) | {
    '"': "''", "¢": "cents", "£": "#", "¤": "$", "₠": "$", "€": "$", "\x80": "$",
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "…": "...", "\x85": "...", "–": "--", "—": "--", "―": "--", "\x96": "--", "\x97": "--",
}  # fmt: skip
_QUOTES = str.maketrans(
    dict.fromkeys("‘‛‹\x91", "`") | dict.fromkeys("’›\x92", "'")
    | dict.fromkeys("“«\x93", "``") | dict.fromkeys("”»\x94", "''")
)
_HARD_SPACE = {"declaration", "tag", "telephone", "fraction"}
_MERGED = frozenset(a + b for a, b in MERGED)
_PLAIN_WORD = re.compile(r"([A-Za-z]+),? +").match
_LAST_WORD = re.compile(r"([A-Za-z]+)( *\.)? *$").match
_SEES_NEXT = re.compile(r"(?:^|[^A-Za-z])[A-Za-z]{1,4}\.\s*$")


def _read(name: str, token: str) -> str:
    if name == "other":
        return _READ.get(token, token)
    if name in _HARD_SPACE:
        token = token.replace(" ", "\xa0")
    if name in ("smiley", "face", "telephone"):
        return token.replace("(", "-lrb-").replace(")", "-rrb-")
    if name == "read entity":
        return ENTITIES[token]
    if name == "ampersand":
        return token.replace("&amp;", "&")
    if name in ("clitic", "not"):
        return token.replace("&apos;", "'").replace("’", "'").replace("‘", "`")
    if name == "quotes":
        return token.translate(_QUOTES)
    if name == "run":
        if token[0] == "-" and len(token) < 5:
            return "--"
        if token[0] == ".":
            return "..."
    return token


def _scan(text: str, end: int) -> str:
    position, tokens = 0, []
    while position < end:
        plain = _PLAIN_WORD(text, position)
        if plain is not None:
            word = plain[1].lower()
            if word not in _MERGED:
                tokens.append(word)
                position = plain.end()
                continue
        reach = stop = position
        name = ""
        for rule, match in BY_FIRST.get(text[position], BEYOND_ASCII):
            found = match(text, position)
            if found is not None and found.end() > reach:
                reach, name = found.end(), rule
                stop = found.end(found.lastindex) if found.lastindex else reach
        token, position = text[position:stop], stop
        if name != "blank":
            token = _read(name, token).lower().replace("\xad", "")
            if token not in _DROPPED:
                tokens.append(token)
    return " ".join(tokens)


def tokenise(caption: str, following: str = "") -> str:
    """The tokens of one caption, lower-cased, without punctuation, joined by spaces.

    >>> tokenise("A dog's bowl isn't here!")
    "a dog 's bowl is n't here"
    """
    caption = caption.translate(_LINE_BREAKS)
    return _scan(f"{caption}\n{following}\n", len(caption))


def tokenise_all(captions: Sequence[str]) -> list[str]:
    """The tokens of each caption of one file, in order."""
    out = []
    for i, c in enumerate(captions):
        f = ""
        if _SEES_NEXT.search(c):
            f = "\n".join(captions[i + 1 : i + 4])
        out.append(tokenise(c, f))
    return out
