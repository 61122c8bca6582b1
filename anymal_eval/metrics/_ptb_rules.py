"""The rules of the Penn Treebank tokenizer as version 3.4.1 of the program applies them.

Each rule follows from the Treebank conventions and the program's output for all short strings of each kind of
character. At every position all rules are tried. The longest match wins, lookahead included; of two equally long ones,
the first in this list. Where a pattern has a group, the group is the token and the rest is lookahead.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from anymal_eval.metrics import _ptb_words as words
from anymal_eval.metrics._ptb_letters import DIGITS, HYPHENS, LETTERS, MARKS, SYMBOLS

Match = Callable[[str, int], "re.Match[str] | None"]

_ASCII = "A-Za-z0-9"
_ACCENT_ENTITY = r"&[aeiouAEIOU](?:[aA][cC][uU][tT][eE]|[gG][rR][aA][vV][eE]|[uU][mM][lL]);"
_D = f"[{DIGITS}]"
_W = f"[{LETTERS}{DIGITS}]"
_L_MARK = rf"[{LETTERS}{MARKS}\xad]"
_W_MARK = rf"[{LETTERS}{MARKS}{DIGITS}\xad]"
_NO_WORD = "[^" + _W_MARK[1:]
_L_ENTITY = f"(?:{_L_MARK}|{_ACCENT_ENTITY})"
_NAME = f"(?:{_W_MARK}|{_ACCENT_ENTITY})+"
_WORD = f"{_L_ENTITY}(?:{_W_MARK}|{_ACCENT_ENTITY})*"
_NUMBER = rf"(?:{_D}*(?:[.:,\xad٫٬]{_D}+)+|{_D}+)"
_DOTTED = rf"{_WORD}(?:[.!?]{_WORD})+"
_APOS = "&[aA][pP][oO][sS];"
_APOSTROPHE = f"(?:['’\x92]|{_APOS})"
_ANY_APOSTROPHE = f"(?:['’\x92‘‛\x91`]|{_APOS})"
_LONG_CLITIC = "(?:[rR][eE]|[vV][eE]|[lL][lL])"
_CLITIC = f"(?:[sdmSDM]|{_LONG_CLITIC})"
_BLANK = r"[ \t\n\xa0]"
_WIDE_BLANK = r"[ \t\n\x85\xa0\u2000-\u200a\u3000]"
_NAMED = f"(?:(?:[dDlLoO]{_ANY_APOSTROPHE}{_W})?{_W}+)"
_HYPHENATED = f"{_NAMED}(?:[-_{HYPHENS}]{_NAMED})*"
_INITIALS = r"[A-Za-z]\.(?:[A-Za-z]\.)+"
_HYPHENATED_AFTER_STOPS = rf"[{_ASCII}][{_ASCII}.,\xad]*(?:-(?:{_INITIALS}|[{_ASCII}\xad]+))+"
_AMPERSAND = r"[A-Z]+(?:(?:&[aA][mM][pP];|[+&])[A-Z]+)+"

_URL_CHARACTER = r"[^ \t\n\"<>|(){}]"
_URL_LAST = r"[^ \t\n\"<>|(){}.,!?-]"
_PATH = rf"/[^ \t\n\"<>|()]+{_URL_LAST}"
_HOST = r"[^ \t\n\"<>|(){}.,!?]"
_DOMAIN_CHARACTER = "[#%&*+a-z~\x7f-\uffff]"
_TOP_LEVEL = words.one_of([words.any_case(w) for w in ("com", "edu", "net", "org")])
_EMAIL_CHARACTER = r"[^ \t\n\"<>|(){}\xa0]"
_EMAIL_DOMAIN = r"[^ \t\n\"<>|(){}.\xa0]+"
_ATTRIBUTE = r"[A-Za-z][A-Za-z0-9_:.\-]*(?: *= *(?:'[^'\n]*'|\"[^\"\n]*\"))?"
_DECLARATION = r"<[!?][A-Za-z\-][^>\n]*>"
_TAG = rf"<[A-Za-z][A-Za-z0-9_:.\-]*(?: +{_ATTRIBUTE})* */? *>"
_END_TAG = r"</[A-Za-z][A-Za-z0-9_:.\-]* *>"
_FACE = "['<>=^x~-]"

_starter = words.one_of([*map(words.capitalised, words.SENTENCE_STARTERS), r"M[rRsS]\.", _DECLARATION, _TAG, _END_TAG])
_title = words.one_of([words.any_case(w) for w in words.TITLES] + ["[Mm]f[Gg]", "[Mm]t[Gg]"])
_closer = words.one_of(
    [words.any_case(w) for w in words.CLOSERS]
    + [words.capitalised(w) for w in words.CAPITAL_CLOSERS]
    + ["[Pp][Pp]?[Tt][ey][Ss]?", r"(?:[Pp][Hh]|[Ee][Dd])\.[Dd]"]
)
_before_number = words.one_of([words.any_case(w) for w in words.BEFORE_NUMBER])
_extension = words.one_of([words.any_case(w) for w in words.FILE_EXTENSIONS])
_merged = "|".join(f"({words.any_case(a)}){words.any_case(b)}" for a, b in words.MERGED)
_inside = words.one_of(
    [words.any_case(w).replace("'", _APOSTROPHE) for w in words.WITH_APOSTROPHE]
    + [words.any_case(w) for w in words.WITH_STRAIGHT_APOSTROPHE]
    + [f"[oO]{_ANY_APOSTROPHE}[oO]"]
)
_in_front = words.one_of([words.any_case(w).replace("'", _APOSTROPHE) for w in words.APOSTROPHE_FIRST])


@dataclass(frozen=True)
class Rule:
    """One kind of token.

    Attributes:
        name: a name of one or two words.
        pattern: the regular expression; its group, if it has one, is the token.
        starts: the characters it can start with: L ASCII letters, D ASCII digits, N anything beyond ASCII, other
            characters literally.
        example: a caption that needs the rule.
        tokens: the program's output for it.
    """

    name: str
    pattern: str
    starts: str
    example: str
    tokens: str


RULES = (
    Rule("blank", r"(?:[\x00-\x20\x7f\xa0\u2000-\u200a\u3000]|&[nN][bB][sS][pP];)+", "\x00&N", "a\t&nbsp; b", "a b"),
    Rule("declaration", _DECLARATION, "<", "a <!-- b --> c", "a <!--\xa0b\xa0--> c"),
    Rule("tag", _TAG, "<", "<br /> x", "<br\xa0/> x"),
    Rule("end tag", _END_TAG, "<", "a</b>", "a </b>"),
    Rule(
        "e-mail",
        rf"(?:<|&[lL][tT];)?[{_ASCII}]{_EMAIL_CHARACTER}*@(?:{_EMAIL_DOMAIN}\.)*{_EMAIL_DOMAIN}>?",
        "LD<&",
        "a.b@c.org.",
        "a.b@c.org",
    ),
    Rule("closer", rf"({_closer}\.)(?:.{_NO_WORD}|{_NO_WORD}?.|)", "L", "Acme Inc.-x", "acme inc. x"),
    Rule("before clitic", f"((?:{_W}|{_ACCENT_ENTITY})+|{_DOTTED}){_APOSTROPHE}{_CLITIC}", "LDN&", "O'll", "o 'll"),
    Rule("merged", _merged, "L", "cannot", "can not"),
    Rule("word", f"{_WORD}|{_NAMED}", "LDN&", "Caf&eacute; d'or 3rd", "caf&eacute; d'or 3rd"),
    Rule("hyphenated", _HYPHENATED, "LDN", "hors-d'oeuvre x_y", "hors-d'oeuvre x_y"),
    Rule("hyphen after stops", _HYPHENATED_AFTER_STOPS, "LD", "St.-John 1.5-inch", "st.-john 1.5-inch"),
    Rule("initials", rf"(?:[{_ASCII}]+-)*{_INITIALS}(?:-(?:{_INITIALS}|[{_ASCII}]+))*", "LD", "non-U.S.", "non-u.s."),
    Rule(
        "slash",
        rf"[{_ASCII}]+(?:-[A-Za-z]+){{0,2}}(?:\\?/[{_ASCII}]+(?:-[A-Za-z]+){{0,2}}){{1,2}}",
        "LD",
        "and/or 24/7",
        "and/or 24/7",
    ),
    Rule("dotted", _DOTTED, "LN&", "word.Word Yahoo!x", "word.word yahoo!x"),
    Rule("acronym", r"[A-Za-z](?:\.[A-Za-z])+\.?", "L", "U.S.", "u.s."),
    Rule("single letter", rf"[A-Za-z]\.(?!{_WIDE_BLANK}+{_starter}{_WIDE_BLANK})", "L", "C. x C. The", "c. x c the"),
    Rule("title", rf"{_title}\.", "L", "Mr. Smith", "mr. smith"),
    Rule("before number", rf"({_before_number}\.){_WIDE_BLANK}?{_D}", "L", "No. 5 no.", "no. 5 no"),
    Rule(
        "stop before comma",
        rf"((?:{_HYPHENATED_AFTER_STOPS}|{_DOTTED}|{_AMPERSAND}|{_HYPHENATED}|{_WORD})\.)[,:;]",
        "LDN&",
        "folle., x",
        "folle. x",
    ),
    Rule("before not", rf"([A-Za-z\xad]*[A-MO-Za-mo-z]\xad*)[nN]{_ANY_APOSTROPHE}[tT]", "LN", "isn't", "is n't"),
    Rule("not", rf"[nN]{_ANY_APOSTROPHE}[tT]", "L", "n’t", "n't"),
    Rule("name", rf"[A-HJ-XZdlno]{_ANY_APOSTROPHE}[{LETTERS}]{{2,}}", "L", "O'Brien", "o'brien"),
    Rule(
        "between vowels",
        rf"[{LETTERS}]+[aeiouyAEIOUY]{_ANY_APOSTROPHE}[aeiouA-Z][{LETTERS}]*",
        "LN",
        "Hawai'i",
        "hawai'i",
    ),
    Rule("apostrophe inside", _inside, "L", "ol' cap'n", "ol' cap'n"),
    Rule("apostrophe first", _in_front, "'’&", "get 'em", "get 'em"),
    Rule(
        "and",
        rf"{_APOSTROPHE}[nN]{_APOSTROPHE}|(?:[’\x92]|{_APOS})[nN]|'[nN](?={_BLANK}|\Z)",
        "'’&",
        "rock'n'roll",
        "rock 'n' roll",
    ),
    Rule("elision", rf"[dDjJlL]{_APOSTROPHE}", "L", "j' x", "j' x"),
    Rule("you", rf"([yY]{_APOSTROPHE})(?!{_CLITIC})[{LETTERS}]", "L", "y'all", "y' all"),
    Rule(
        "clitic",
        rf"(?:[’\x92]|{_APOS}){_CLITIC}|'[sdmSDM](?![A-Za-z])|'{_LONG_CLITIC}(?=[^A-Za-z])",
        "'’&",
        "it’s",
        "it 's",
    ),
    Rule("it", r"('[tT])(?:[iI][sS]|[wW][aA][sS])", "'", "'twas", "'t was"),
    Rule("years", rf"{_APOSTROPHE}(?:[2-9]0[sS]|[0-9]{{2}}(?={_WIDE_BLANK}))", "'’&", "the '90s", "the '90s"),
    Rule(
        "number",
        rf"[+-]?{_NUMBER}",
        "DN+-.,:",
        "-1,000.50",
        "-1,000.50",
    ),
    Rule("fraction", rf"(?:{_D}{{1,4}}[- \xa0])?{_D}{{1,4}}(?:\\?/|⁄){_D}{{1,4}}", "DN", "3 1/2 cups", "3\xa01/2 cups"),
    Rule("date", rf"{_D}{{1,2}}[-/]{_D}{{1,2}}[-/]{_D}{{2,4}}", "DN", "1/2-2014", "1/2-2014"),
    Rule(
        "telephone",
        r"(?:\([0-9]{2,3}\)[ \xa0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])[0-9]{3,4}[- \xa0]?[0-9]{3,5}",
        "D(+",
        "(555) 123-4567",
        "-lrb-555-rrb-\xa0123-4567",
    ),
    Rule(
        "long telephone", r"\+\+?(?:[0-9]{2,4}\.){2}[0-9]{3,4}\.[0-9]{3,5}", "+", "++44.20.794.0958", "++44.20.794.0958"
    ),
    Rule("address", rf"[hH][tT][tT][pP][sS]?://{_URL_CHARACTER}+{_URL_LAST}", "L", "http://x.y/z.", "http://x.y/z"),
    Rule("page", rf"[wW]{{3}}\.(?:{_HOST}+\.)+[A-Za-z]{{2,4}}{_PATH}", "L", "www.x.y.com/ab", "www.x.y.com/ab"),
    Rule("host", rf"[wW]{{3}}\.(?:{_HOST}+\.)+[A-Za-z]{{2,4}}", "L", "www.a_b.com", "www.a_b.com"),
    Rule("domain", rf"(?:{_DOMAIN_CHARACTER}+\.)+{_TOP_LEVEL}(?:{_PATH})?", "LN#%&*+~\x00", "ab.com/xy", "ab.com/xy"),
    Rule("file", rf"({_NAME}(?:\.{_NAME})*\.{_extension})(?:{_WIDE_BLANK}|[.,?!])", "LDN&", "1.jpg x", "1.jpg x"),
    Rule("at name", r"@[A-Za-z_][A-Za-z_0-9]*", "@", "@a_b", "@a_b"),
    Rule("hashtag", rf"#{_L_ENTITY}+", "#", "#café #1", "#café # 1"),
    Rule("currency", r"[A-Z]+\$", "L", "US$5", "us$ 5"),
    Rule("language", r"[cC]\+\+|[cCfF]#", "L", "C++ F#", "c++ f#"),
    Rule("ampersand", _AMPERSAND, "L", "AT&T", "at&t"),
    Rule("smiley", r"([<>]?[:;=]['*o-]?[()@DdOPp\[\]\\{|])[^A-Za-z0-9]", "<>:;=", "x :-)", "x :--rrb-"),
    Rule(
        "face",
        rf"\({_FACE}[._]?{_FACE}\)|\((?!--|.--){_FACE}-{_FACE}\)|{_FACE}_{_FACE}",
        "(" + _FACE[1:-1] + "L",
        "^_^",
        "^_^",
    ),
    Rule("read entity", words.one_of(list(words.ENTITIES)), "&", "&lt; &amp;", "< &"),
    Rule("entity", r"&(?i:ht|lr|qc|ql|qr|tl|ur|cdq|odq|quot|apos|#[0-9]+);", "&", "&#39;", "&#39;"),
    Rule("bracket", r"-[LRlr][RSCrsc][Bb]-", "-", "-LRB-", "-lrb-"),
    Rule(
        "run",
        r"#+|@+|\*+|(?:\\\*)+|_+|-+|\.{3,5}|\.(?:[ \xa0]\.){2,4}|[?!]{2,}|<<|>>|''",
        "#@*\\_-.?!<>'",
        "what?! ----",
        "what ?!",
    ),
    Rule("quotes", r"[`‘-‟‹›«»\x91-\x94]{1,2}", "`N", "“’x", "``' x"),
    Rule("superscript", "[⁺⁻₊₋]?(?:[⁰¹²³⁴-⁹]+|[₀-₉]+)", "N", "m²³ x⁻¹", "m ²³ x ⁻¹"),
    Rule("symbol", rf"[!-/:-@\[-`{{-~\x80\x85\x96\x97{SYMBOLS}…–—―¢£¤₠€¼-¾⅓⅔]", "", "a = ©", "a = ©"),
    Rule("unknown", r"[^\n]", "", "a 😀 b", "a b"),
)

ABBREVIATIONS = frozenset(
    w for group in (words.TITLES, words.CLOSERS, words.CAPITAL_CLOSERS, words.BEFORE_NUMBER) for w in group
) | {"mfg", "mtg", "pte", "ptes", "pty", "ptys", "ppte", "pptes", "ppty", "pptys"}
"""Lower-case words whose period may belong to them; a caption that ends in another word needs no rules."""


def _can_start(rule: Rule, character: str) -> bool:
    if not rule.starts:
        return True
    if character > "\x7f":
        return "N" in rule.starts or character in rule.starts
    if character.isalpha():
        return "L" in rule.starts
    if character.isdigit():
        return "D" in rule.starts
    if character <= " " or character == "\x7f":
        return "\x00" in rule.starts
    return character in rule.starts


def _in_ascii(pattern: str) -> str:
    """A pattern that finds the same in ASCII text, and compiles five times faster."""
    pattern = pattern.replace(LETTERS, "A-Za-z").replace(DIGITS, "0-9")
    return pattern.replace(MARKS, "").replace(SYMBOLS, "").replace(HYPHENS, "")


class _ByFirst(dict[str, tuple[tuple[str, Match], ...]]):
    """The rules to try at a character, as (name, match function): compiled when one is first needed."""

    def __init__(self, *, only_ascii: bool) -> None:
        super().__init__()
        self._only_ascii = only_ascii
        self._compiled: dict[str, Match] = {}

    def __missing__(self, character: str) -> tuple[tuple[str, Match], ...]:
        if character > "\x7f":
            rules = [rule for rule in RULES if _can_start(rule, "é") or "’" in rule.starts]
        else:
            rules = [rule for rule in RULES if _can_start(rule, character)]
        self[character] = tuple((rule.name, self._match(rule)) for rule in rules)
        return self[character]

    def _match(self, rule: Rule) -> Match:
        if rule.name not in self._compiled:
            pattern = _in_ascii(rule.pattern) if self._only_ascii else rule.pattern
            self._compiled[rule.name] = re.compile(pattern).match
        return self._compiled[rule.name]


BY_FIRST_OF_ASCII = _ByFirst(only_ascii=True)
"""For texts in ASCII."""
BY_FIRST = _ByFirst(only_ascii=False)
"""For all other texts."""
