"""The normal forms in which the VQA scorers compare answers, with their quirks.

The punctuation list, number words and contractions are those of GT-Vision-Lab/VQA ``vqaEval.py`` (commit a013f00),
which facebookresearch/mmf ``m4c_evaluators.py`` repeats; the contractions with a curly apostrophe are in a copy of the
VizWiz API. The official tables list every wrong spelling; here they are derived from the right ones.
"""

import re

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COUNT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_COUNT)}
ARTICLES = frozenset({"a", "an", "the"})
PERIODS_REMOVED = 32  # the official code passes re.UNICODE, which is 32, as the number of replacements

_RIGHT = """\
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()  # noqa: SIM905 - as a list literal it could not be read
_VIZWIZ_STRAIGHT = frozenset({"ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"})
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def _missing_one(right: str, apostrophe: str = "'") -> list[str]:
    """All spellings that lack one apostrophe.

    >>> _missing_one("he'd've")
    ["hed've", "he'dve"]
    """
    return [right[:at] + right[at + 1 :] for at, letter in enumerate(right) if letter == apostrophe]


def _contractions() -> dict[str, str]:
    table = {wrong: right for right in _RIGHT for wrong in _missing_one(right)}
    return table | {"somebody'd": "somebodyd"}  # the wrong way round in the official table


def _vizwiz_contractions() -> dict[str, str]:
    table = {}
    for right in _RIGHT:
        curly = right if right in _VIZWIZ_STRAIGHT else right.replace("'", "’")
        mark = "'" if right in _VIZWIZ_STRAIGHT else "’"
        table.update(dict.fromkeys(_missing_one(curly, mark), curly))
    for straight in ("couldn'tve", "hadn'tve"):  # keys whose apostrophe stayed straight
        table[straight] = table.pop(straight.replace("'", "’"))
    # "hadn’tve" and "couldn’tve" are in no table; all other keys have the apostrophe of their values.
    return table | {"somebody’d": "somebodyd"}


CONTRACTIONS = _contractions()
VIZWIZ_CONTRACTIONS = _vizwiz_contractions()


def one_line(text: str) -> str:
    r"""Replace line breaks and tabs by spaces, and strip: the first step of every rule.

    >>> one_line(" a\n\tb ")
    'a  b'
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def strip_punctuation(text: str) -> str:
    """Delete a mark next to a space, or every mark of a text with digits around a comma; else replace it by a space.

    Quirks kept on purpose: the whole text decides whether a mark is deleted; ``: ' & % $ #`` stay; a period is removed
    unless a digit follows, but only the first 32 of them.

    >>> [strip_punctuation(text) for text in ("two-story", "1,000", "u.s.a.", "0.5")]
    ['two story', '1000', 'usa', '0.5']
    """
    result = text
    number = _DIGIT_COMMA_DIGIT.search(text) is not None
    for mark in PUNCTUATION:
        if mark in text:
            delete = number or mark + " " in text or " " + mark in text
            result = result.replace(mark, "" if delete else " ")
    return _PERIOD.sub("", result, count=PERIODS_REMOVED) if "." in result else result


def plain_words(text: str, contractions: dict[str, str] = CONTRACTIONS) -> str:
    """Lower case, digits for number words up to ten, no articles, restored apostrophes.

    >>> plain_words("The two dogs dont")
    "2 dogs don't"
    """
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


def normalise_vqa(text: str) -> str:
    """The normal form of GT-Vision-Lab/VQA: one line, punctuation, then words.

    >>> normalise_vqa("N/A"), normalise_vqa("A"), normalise_vqa("10:30 a.m.")
    ('n', '', '10:30 am')
    """
    return plain_words(strip_punctuation(one_line(text)))


def normalise_curly(text: str) -> str:
    """As ``normalise_vqa``, but most contractions get a curly apostrophe, which matches no typed one.

    >>> normalise_curly("Dont know"), normalise_curly("cant")
    ('don’t know', "can't")
    """
    return plain_words(strip_punctuation(one_line(text)), VIZWIZ_CONTRACTIONS)


def normalise_m4c(text: str) -> str:
    """The normal form of mmf's ``EvalAIAnswerProcessor``, written for TextVQA and used for uploads to EvalAI.

    Source:
        facebookresearch/mmf ``mmf/utils/m4c_evaluators.py``, commit 2dc099a.

    >>> normalise_m4c("Mike's, cafe?"), normalise_m4c("1,000")
    ("mike 's cafe", '1000')
    """
    lowered = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return plain_words(strip_punctuation(one_line(lowered)))
