"""The Stanford PTBTokenizer 3.4.1 with the options of pycocoevalcap 1.2, without Java.

The options are ``-preserveLines -lowerCase`` with one caption per line; punctuation tokens are removed afterwards. The
rules follow the Penn Treebank conventions and the program's observed output; its source code was not read.

Quirks kept on purpose, because scores depend on them:

* Brackets stay, as ``-lrb-`` and so on: the list of removed punctuation has them in capitals.
* ``?!``, ``!!`` and runs of five or more dashes stay: only single marks are on that list.
* Some tokens contain a no-break space: ``3 1/2``, telephone numbers, tags.
* A caption that ends in a single letter and a period depends on the next line of the file: ``Vitamin C.`` has the token
  ``c`` before a line that starts with ``The``, and ``c.`` before other lines. The same holds for one that ends in
  ``no.``, before a number. The last line of a file, without a line break, has other tokens for a few endings (``'90``,
  ``'n``, ``1.jpg``). ``tokenise_all`` treats the captions as one file.

Java's characters have 16 bits, so an emoji is two of them, and its lower case depends on Java's words (``_java_case``).

Known differences from the program: control characters; letters that are newer than the Unicode of the Java runtime (13
in Java 17); a file whose last line ends in an abbreviation and one digit (``Oct.5``).
"""

import re
from collections.abc import Sequence

from anymal_eval.metrics._java_case import lower_case
from anymal_eval.metrics._ptb_rules import ABBREVIATIONS, BY_FIRST, BY_FIRST_OF_ASCII
from anymal_eval.metrics._ptb_words import ENTITIES, MERGED

_REMOVED = frozenset((".", "?", "!", ",", ":", ";", "'", "''", "`", "``", "-", "--", "..."))
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))
_SYMBOLS = dict(zip("(){}[]", ("-lrb-", "-rrb-", "-lcb-", "-rcb-", "-lsb-", "-rsb-"), strict=True)) | {
    '"': "''", "¢": "cents", "£": "#", "¤": "$", "₠": "$", "€": "$", "\x80": "$",
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "…": "...", "\x85": "...", "–": "--", "—": "--", "―": "--", "\x96": "--", "\x97": "--",
}  # fmt: skip
_QUOTES = str.maketrans(
    dict.fromkeys("‘‛‹\x91", "`")
    | dict.fromkeys("’›\x92", "'")
    | dict.fromkeys("“«\x93", "``")
    | dict.fromkeys("”»\x94", "''")
)
_UNSEEN = frozenset({"blank", "unknown"})
_WITH_HARD_SPACES = frozenset({"declaration", "tag", "end tag", "telephone", "fraction"})
_WITH_BRACKETS = frozenset({"smiley", "face", "telephone"})
_WITH_SOFT_HYPHENS = frozenset(
    {"declaration", "tag", "end tag", "e-mail", "address", "page", "host", "domain", "file", "hashtag"}
)
_MERGED = frozenset(first + second for first, second in MERGED)

# Most captions, and most words of the others, are plain words with spaces, commas and a final period: no rule applies.
_PLAIN_CAPTION = re.compile(r" *+(?:[A-Za-z]++,?+ ++(?=[A-Za-z]))*+([A-Za-z]++)( *+\.)?+ *+").fullmatch
_PLAIN_WORD = re.compile(r"([A-Za-z]+),? +(?=[!-~])").match
_BEYOND_16_BITS = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]").search
_SEES_NEXT_LINE = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,4}\.\s*$").search


def tokenise(caption: str) -> str:
    """The tokens of one caption, lower-cased, without punctuation, joined by spaces.

    Args:
        caption: any text. A line break in it counts as a space.

    Returns:
        The official tokenizer's result where a line of lower-case words follows.

    Source:
        The observed behaviour of salaniz/pycocoevalcap 1.2 ``tokenizer/ptbtokenizer.py``.

    >>> tokenise("A dog's bowl (empty) isn't here!")
    "a dog 's bowl -lrb- empty -rrb- is n't here"
    """
    line = _line(caption)
    plain = _plain(line)
    return _scan(line + "\n", len(line)) if plain is None else plain


def tokenise_all(captions: Sequence[str]) -> list[str]:
    """The tokens of each caption, as the official tokenizer returns them for all captions in one file.

    Args:
        captions: N captions, in the order of the file.

    Returns:
        N token strings, see ``tokenise``.

    >>> tokenise_all(["Vitamin C.", "The fruit", "Vitamin C.", "two fruits"])
    ['vitamin c', 'the fruit', 'vitamin c.', 'two fruits']
    """
    lines = [_line(caption) for caption in captions]
    known: dict[str, str] = {}
    tokenised = []
    for number, line in enumerate(lines):
        tokens = known.get(line) if number + 1 < len(lines) else None
        if tokens is None:
            tokens = _plain(line)
            if tokens is None:
                following = _following(lines, number)
                tokens = _scan(line + following, len(line))
                if following != "\n":
                    tokenised.append(tokens)
                    continue
            known[line] = tokens
        tokenised.append(tokens)
    return tokenised


def _line(caption: str) -> str:
    """A caption as the program reads it: on one line, in UTF-16, where an emoji is two characters."""
    if caption.isascii() and caption.isprintable():
        return caption
    line = caption.translate(_LINE_BREAKS)
    if _BEYOND_16_BITS(line) is None:
        return line
    # Half of a surrogate pair cannot be encoded; it becomes a question mark, as in Java.
    units = line.encode("utf-8", "replace").decode("utf-8").encode("utf-16-le")
    return "".join(map(chr, memoryview(units).cast("H")))


def _lower(token: str) -> str:
    """A token in lower case, as Java does it."""
    if _BEYOND_16_BITS(token) is not None:
        token = token.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return lower_case(token)


def _plain(line: str) -> str | None:
    """The tokens of a line to which no rule applies, else None."""
    found = _PLAIN_CAPTION(line)
    if found is None:
        return None
    lower = line.lower()
    if found[2]:
        last = found[1].lower()
        if len(found[2]) == 1 and (len(last) == 1 or last in ABBREVIATIONS):
            return None
        lower = lower.replace(".", "")
    words = lower.replace(",", "").split()
    return " ".join(words) if _MERGED.isdisjoint(words) else None


def _following(lines: Sequence[str], number: int) -> str:
    """The part of the file after a line that affects the line's tokens."""
    if number + 1 == len(lines):
        return ""
    if not _SEES_NEXT_LINE(lines[number]):
        return "\n"
    following = "\n"
    for later in range(number + 1, len(lines)):
        following += lines[later] + ("\n" if later + 1 < len(lines) else "")
        if lines[later].strip():
            break
    return following


def _scan(text: str, end: int) -> str:
    """The tokens of ``text[:end]``; the rest is only lookahead."""
    tokens = []
    rules = BY_FIRST_OF_ASCII if text.isascii() else BY_FIRST
    position, kept = 0, False
    while position < end:
        plain = _PLAIN_WORD(text, position)
        if plain is not None and plain[1].lower() not in _MERGED:
            tokens.append(plain[1].lower())
            position, kept = plain.end(), True
            continue
        reach = stop = position
        name = ""
        for rule, match in rules[text[position]]:
            found = match(text, position)
            if found is not None and found.end() > reach:
                name, reach = rule, found.end()
                stop = found.end(found.lastindex) if found.lastindex else reach
        token, position = text[position:stop], stop
        if name not in _UNSEEN:
            token = _lower(_read(name, token))
            kept = bool(token) and token not in _REMOVED
            if kept:
                tokens.append(token)
    joined = " ".join(tokens)
    return joined.rstrip() if kept else joined


def _read(name: str, token: str) -> str:
    """The program's output for a token of the named rule."""
    if name == "symbol":
        return _SYMBOLS.get(token, token)
    if name in _WITH_HARD_SPACES:
        token = token.replace(" ", "\xa0")
    if name in _WITH_BRACKETS:
        return token.replace("(", "-lrb-").replace(")", "-rrb-")
    if name == "read entity":
        return ENTITIES[token]
    if name in ("ampersand", "stop before comma"):
        token = re.sub("&amp;", "&", token, flags=re.IGNORECASE)
    if name in ("clitic", "not"):
        return token.replace("&apos;", "'").translate(_QUOTES)
    if name == "quotes":
        return token.translate(_QUOTES)
    if name == "run" and token[0] == ".":
        return "..."
    if name == "run" and token[0] == "-" and len(token) < 5:
        return "--"
    return token if name in _WITH_SOFT_HYPHENS else token.replace("\xad", "")
