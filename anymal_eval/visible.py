"""Text that a model, a server or a data file wrote, as text that a terminal and a page show as it is.

A terminal obeys control characters: they move the cursor, set the window's title, or hide what follows. Marks of text
direction reorder a line, and characters without width make two different texts look equal. All of them are shown by
the number that Unicode gives them. Every output for people passes through here: the terminal, tables, JUnit, pages.
"""

import re

# Beside the categories below: letters and marks that Unicode gives no glyph.
_BLANK = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0\U0001bca0-\U0001bca3"
    "\U000e0100-\U000e01ef"
)
# Categories Cc, Cf, Cs, Zl and Zp, but for the line feed and the tab, and what XML cannot hold; written out, because
# re knows no categories.
_HIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001d173-\U0001d17a"
    f"\U000e0000-\U000e007f{_BLANK}]"
)


def visible(text: str) -> str:
    r"""Text in which only line feeds and tabs control anything; each other hidden character by its number.

    >>> visible("red \x1b[31m, and \u202eturned")
    'red <U+001B>[31m, and <U+202E>turned'
    """
    return _HIDDEN.sub(_named, text)


def visible_line(text: str) -> str:
    r"""The same on one line, with single spaces.

    >>> visible_line("a\n  b\x1b[31m")
    'a b<U+001B>[31m'
    """
    return visible(" ".join(re.split(r"[ \t\n\r\v\f]+", text.strip())))


def visible_json(text: str) -> str:
    r"""The text of a JSON document with hidden characters in its strings escaped; its data are the same.

    >>> visible_json('{"answer": "\u202eno"}')
    '{"answer": "\\u202eno"}'
    """
    return _HIDDEN.sub(_escaped, text)


def _named(found: re.Match[str]) -> str:
    return f"<U+{ord(found.group()):04X}>"


def _escaped(found: re.Match[str]) -> str:
    # A character beyond the first 65,536 is two escapes, as JSON wants it.
    units = found.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def wrapped(line: str, width: int) -> list[str]:
    r"""A line in parts of at most ``width`` columns of a terminal, broken between words, later parts indented.

    A word that is longer than that stays whole: a path can still be copied.

    >>> wrapped("vqav2    Questions about photographs.", 24)
    ['vqav2    Questions about', '         photographs.']
    """
    from rich.cells import cell_len

    if cell_len(line) <= width:
        return [line]
    # Under the second column of a list, else two columns to the right of the line's own start.
    listed = re.match(r"\s*\S+(?: \S+)? {2,}(?=\S)", line)
    own = len(line) - len(line.lstrip())
    indent = len(listed.group()) if listed and len(listed.group()) <= width // 2 else min(own + 2, width // 2)
    parts, now = [], ""
    for gap, word in re.findall(r"(\s*)(\S+)", line):
        if now.strip() and cell_len(now + gap + word) > width:
            parts.append(now)
            now, gap = " " * indent, ""
        now += gap + word
    return [*parts, now]
