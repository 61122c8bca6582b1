"""The closed word lists of the Penn Treebank tokenizer, by the behaviour of the words.

Every list was found by testing the program: all strings of up to five letters, the words of English word lists with
letters left out, and hand-made candidates, in sentences that distinguish the behaviours. The lists hold the words that
behave differently from a common word.
"""

from itertools import product


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


TITLES = _listed(
    "adj adm adv alex assoc asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec ens ft gen "
    "gov govs hon insp invt jos lieut lt maj messrs mlle mme mr mrs ms msgr mt natl pfc ph pres prof profs pvt rep "
    "reps rev sen sens sfc sgt spc st ste supt supts treas vs wm "
)
"""Keep their period always: ``Mr. Smith``."""

CLOSERS = _listed(
    "al ala apr ariz assn aug bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc ext feb fla "
    "fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn plc rd "
    "rt sep sept seq sq sr sys tel tenn thu thurs tue tues univ va vt wed wis wisc wyo"
)
"""Keep their period and may also close a sentence: ``Acme Inc. The`` has a second, separate period."""

CAPITAL_CLOSERS = _listed("ark az del ill la mass miss ore pa tex wash")
"""As CLOSERS, when they start with a capital (``Pa.`` is a state, ``pa.`` ends a sentence)."""

BEFORE_NUMBER = _listed("art ca fig figs no nos op pp prop")
"""Keep their period before a number only: ``No. 5``, but ``no .``"""

SENTENCE_STARTERS = _listed(
    "a about according additionally after an as at but earlier he her here however if in it last many more now once "
    "one other our she since so some such that the their then there these they this we what when while yet you"
)
"""After a single letter and a period, these words with a capital start a sentence: ``Vitamin C . The``."""

MERGED = (("can", "not"), ("gim", "me"), ("gon", "na"), ("got", "ta"), ("lem", "me"), ("wan", "na"))
"""Two words written as one, cut in two: ``gon na``."""

WITH_APOSTROPHE = _listed("c'est cap'n dunkin' ol' somethin'")
"""Kept whole, whatever letters follow: ``c'est``."""

WITH_STRAIGHT_APOSTROPHE = _listed("c'mon e'er ev'ry li'l nat'l nor'easter s'mores")
"""As WITH_APOSTROPHE, with the apostrophe of ASCII only: ``c'mon``."""

APOSTROPHE_FIRST = _listed("'cause 'em 'til 'till")
"""As WITH_APOSTROPHE: ``'til``."""

FILE_EXTENSIONS = _listed(
    "bat bmp c cgi class cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql "
    "tar txt wav x xml zip"
)
"""Before a blank or a stop they end the name of a file: ``12.jpg x``."""


def _all_cases(entity: str) -> list[str]:
    return ["".join(letters) for letters in product(*((c.lower(), c.upper()) for c in entity))]


ENTITIES = {"&quot;": "''", "&apos;": "'"} | {
    f"&{cased};": read
    for entity, read in (("amp", "&"), ("lt", "<"), ("gt", ">"), ("mdash", "--"), ("ndash", "--"), ("md", "--"))
    for cased in _all_cases(entity)
}
"""Entities that are read."""


def any_case(word: str) -> str:
    """A pattern for the word in any mixture of cases.

    >>> any_case("o'o")
    "[oO]'[oO]"
    """
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word)


def capitalised(word: str) -> str:
    """A pattern for the word with a capital, the rest in any mixture of cases.

    >>> capitalised("in")
    'I[nN]'
    """
    return word[0].upper() + any_case(word[1:])


def one_of(patterns: list[str]) -> str:
    """A group that tries the longer patterns first.

    >>> one_of(["a", "ab"])
    '(?:ab|a)'
    """
    return "(?:" + "|".join(sorted(patterns, key=len, reverse=True)) + ")"
