"""The tokenizer without Java equals the official one: on recorded pairs, on strings made up here, and rule by rule."""

import gzip
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from anymal_eval.errors import NeedsJava
from anymal_eval.metrics import _ptb, _ptb_java
from anymal_eval.metrics._ptb_rules import RULES, Rule
from anymal_eval.metrics._ptb_words import BEFORE_NUMBER, CAPITAL_CLOSERS, CLOSERS, SENTENCE_STARTERS, TITLES

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no java on PATH")


def listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


WORDS = listed("""
    a the man woman dog sitting street red two people with on bench Mary Smith Paris kitchen table HAPPY tv iPhone
    naïve café Łódź Žižek garçon Ærø ÉCOLE Straße boat gonna cannot Wanna lemme no art in it If The He yes photo
    skateboarder
""")
APOSTROPHISED = listed("""
    don't DON'T can't won't I'm we've he'd they'll y'all ma'am o'clock 'tis 'Twas 'em 'til 'cause rock'n'roll dogs'
    dog's James's '90s '90 1990's ain't should've d'you c'mon ol' li'l somethin' 'n' e'er d'Artagnan O'Brien L'Oreal
    Hawai'i Qur'an n't 's 'll 'S x'mas s'mores nat'l gov't ok'd cap'n y'know it’s don’t O’Neil dog‘s it`s it&apos;s
    Y'ALL l' j'ai
""")
ABBREVIATIONS = (
    *TITLES,
    *CLOSERS,
    *CAPITAL_CLOSERS,
    *BEFORE_NUMBER,
    "vol",
    "approx",
    "e.g",
    "i.e",
    "a.m",
    "U.S",
    "Ph.D",
)
SMILEYS = listed(":) :-) ;) :( :D :-P :o) :/ =) =D :'( xD <3 ^_^ ^^ -_- o_O >:( :3 :] (: 8) D: (^.^) x_x \\o/ :| :}")
SYMBOLS = "©®™°§¶•·…–—‹›«»“”‘’„¡¿¢£¥€½¼¾⅓×÷±≤→µº²³¹"
PUNCTUATION = ".,!?;:-'\"`()[]{}/\\&%$#@*_+=<>|~^"


class Strings:
    """Captions and worse, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds: tuple[Callable[[], str], ...] = (
            self.word, self.word, self.word, self.number, self.marks, self.abbreviation, self.address, self.tag,
            self.smiley, self.acronym, self.joined, self.quoted, self.apostrophised, self.symbol,
        )  # fmt: skip

    def one(self, values: Sequence[str]) -> str:
        return self.random.choice(values)

    def digits(self, least: int = 1, most: int = 4) -> str:
        return "".join(self.one("0123456789") for _ in range(self.random.randint(least, most)))

    def word(self) -> str:
        word = self.one(WORDS)
        return self.one((word, word, word.upper(), word.title(), word.swapcase()))

    def marks(self) -> str:
        return "".join(self.one(PUNCTUATION) for _ in range(self.random.randint(1, 5)))

    def number(self) -> str:
        d, one = self.digits, self.one
        forms = (
            d(),
            f"{d()}.{d(1, 2)}",
            f"{d(1, 3)},{d(3, 3)}",
            f"{d(1, 2)}{one((' ', '-', ''))}{d(1, 2)}/{d(1, 2)}",
            d(1, 2) + one(("st", "nd", "rd", "th", "s", "mm", "pm", '"', "'", "%", "°", "lb", "K", "-", "+", "'s")),
            f"{d(1, 2)}:{d(2, 2)}" + one(("", "am", " p.m.", f":{d(2, 2)}", f"-{d(1, 2)}:{d(2, 2)}")),
            one("/-.").join((d(1, 2), d(1, 2), d(2, 4))),
            d() + one(("-", "–", " - ", "--", "/", "x")) + d(),
            one(("$", "€", "£", "US$", "A$", "#", "-", "+", "~", ".", ",", "'")) + d() + one(("", ".50", ",000", "k")),
            one(("(", "")) + d(3, 3) + one((") ", ")", "-", " ", ".")) + d(3, 3) + one("- .") + d(4, 4),
            one(("+", "", "++")) + one(" -.").join((d(1, 3), d(1, 4), d(1, 4), d(1, 4))),
            d(1, 2) + one(("-year-old", "-inch", "-by-", " 1/2-inch")) + d(0, 2),
            f"{d(1, 2)}'{d(1, 2)}" + one(('"', "", "''")),
            "".join(one("0123456789.,:/-+ ") for _ in range(self.random.randint(2, 8))),
        )
        return one(forms)

    def abbreviation(self) -> str:
        word = self.one(ABBREVIATIONS)
        ends = ("", ".", ". ", "..", ".,", ".;", ".)", ".-", '."', ".'s", ".?", f".-{self.word()}", f".{self.word()}")
        after = (f". {self.digits()}", f".{self.digits()}", f". {self.one(SENTENCE_STARTERS).title()}", '. "The', " .")
        return self.one((word, word.title(), word.upper())) + self.one(ends + after)

    def address(self) -> str:
        start = self.one(
            ("http://", "https://", "www.", "", "HTTP://", "ftp://", f"{self.word()}@", "<a@", f"{self.word()}.b@")
        )
        host = (
            self.word()
            + self.one((".", "-", "_", ""))
            + self.word()
            + self.one((".com", ".org", ".co.uk", ".io", ".Com", ""))
        )
        tail = "".join(self.one("ab1./?=&-_%#~!,;:()'") for _ in range(self.random.randint(1, 8)))
        return start + host + self.one(("", "", "/", f"/{self.word()}", f"/{tail}", ":80", ".", ",", ">", ")"))

    def tag(self) -> str:
        name = self.one(("b", "a", "br", "unk", "h1", "x:y", "person"))
        word = self.word()
        tags = (
            f"<{name}>",
            f"</{name}>",
            f"<{name} />",
            f"<{name} {word}>",
            f'<{name} {word}="{word}">',
            f"<!-- {word} -->",
        )
        broken = (f"<{name}", f"< {name}>", f"<?{name}?>", f"<{name} {word}='{self.marks()}'>", f"&{word};")
        entities = (
            "&amp;",
            "&lt;",
            "&quot;",
            "&nbsp;",
            "&#39;",
            "&mdash;",
            f"{word}&amp;{word}",
            "A&amp;B",
            "caf&eacute;",
        )
        names = (f"#{word}", f"@{word}", f"#{self.digits()}", f"@{word}_{word}", f"##{word}", "R&D", "C++", "C#")
        files = (f"{self.digits()}.jpg", f"{word}.tar.gz")
        return self.one(self.random.choice((tags, broken, entities, names, files)))

    def smiley(self) -> str:
        return self.one(SMILEYS)

    def acronym(self) -> str:
        letters = "".join(self.one("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(self.random.randint(1, 4)))
        dotted = ".".join(letters)
        ends = (".", "", "..", ".'s", f".-{self.word()}", ". The", ". In", f". {self.word()}", f"&{letters}", ".,")
        return self.one((letters, dotted, dotted, dotted.lower())) + self.one(ends)

    def joined(self) -> str:
        joint = self.one(
            ("-", "-", "--", "/", "_", ".", "&", "+", ",", "\\/", ".-", ",-", "’", "!", "@", "=", "*", "…", "–", "'")
        )
        return joint.join(
            self.one((self.word(), self.digits(), self.apostrophised())) for _ in range(self.random.randint(2, 4))
        )

    def quoted(self) -> str:
        marks = ('"', "'", "``", "`", "“", "‘", "''", "«", "(", "[", "{")
        return (
            self.one(marks)
            + self.one(("", " "))
            + self.word()
            + self.one(("", ".", ",", " ", "!"))
            + self.one("\"'”’»)]}")
        )

    def apostrophised(self) -> str:
        word = self.one(APOSTROPHISED)
        clitic = self.word() + self.one(("'s", "’s", "'S", "'d", "'", "n't", "'ve"))
        return self.one((word, word, word.title(), word.upper(), clitic))

    def symbol(self) -> str:
        return self.one(SYMBOLS) + self.one(("", self.word(), self.digits()))

    def caption(self) -> str:
        glued = self.random.choice((0.1, 0.1, 0.5))
        caption = ""
        for _ in range(self.random.randint(1, 7)):
            caption += self.random.choice(self.kinds)()
            caption += "" if self.random.random() < glued else self.one((" ", " ", " ", " ", " ", "  ", "\t"))
        return caption

    def noise(self, characters: str, longest: int = 40) -> str:
        return "".join(self.one(characters) for _ in range(self.random.randint(1, longest)))


@pytest.fixture
def text(golden: Path) -> Path:
    return golden / "text"


def test_the_recorded_pairs(text: Path) -> None:
    with gzip.open(text / "ptb_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    assert len(pairs) == 97_330
    # Which line followed each was not recorded. Where that line decides, one of its two effects must fit.
    alone = [_ptb.tokenise(pair["in"]) for pair in pairs]
    before_starter = [
        _ptb.tokenise_all([pair["in"], "The end", ""])[0] for pair in pairs if _ptb._SEES_NEXT_LINE(pair["in"])
    ]
    starters = iter(before_starter)
    differ, open_cases = [], 0
    for pair, tokens in zip(pairs, alone, strict=True):
        other = next(starters) if _ptb._SEES_NEXT_LINE(pair["in"]) else tokens
        open_cases += tokens != other
        if pair["out"] not in (tokens, other):
            differ.append(pair["in"])
    assert differ == []
    assert open_cases == 1050, "captions that end in a single letter and a period"


@needs_java
def test_the_recorded_captions_as_one_file(text: Path) -> None:
    with gzip.open(text / "ptb_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        captions = [json.loads(line)["in"] for line in lines]
    assert _ptb.tokenise_all(captions) == _ptb_java.tokenise_all(captions)


def test_the_recorded_probes(text: Path) -> None:
    probes = [json.loads(line) for line in (text / "ptb_probes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(probes) == 212
    assert [probe for probe in probes if _ptb.tokenise(probe["in"]) != probe["out"]] == []


@needs_java
@pytest.mark.parametrize("seed", [1, 2])
def test_made_up_strings_equal_the_official_tokenizer(seed: int) -> None:
    strings = Strings(seed)
    ascii_characters = "".join(map(chr, range(32, 127)))
    made = [strings.caption() for _ in range(12_000)]
    made += [strings.noise(ascii_characters) for _ in range(4_000)]
    made += [strings.noise(ascii_characters + "éèÀßœŁ ’“ aaannttsS  ..''--") for _ in range(4_000)]
    differ = [
        (one, official, ours)
        for one, official, ours in zip(made, _ptb_java.tokenise_all(made), _ptb.tokenise_all(made), strict=True)
        if official != ours
    ]
    assert len(made) == 20_000
    assert differ == []


@needs_java
def test_what_differs_beyond_latin_text_is_what_the_docstring_lists() -> None:
    strings = Strings(3)
    plain = "abcXYZ 1234.,'-/@#&:;!?$\"()<>n't s ll " * 60
    emoji = "".join(map(chr, [*range(0x1F300, 0x1F700), *range(0x2600, 0x27C0), 0x200D, 0xFE0F, 0x1F1E6]))
    cjk = "".join(
        map(
            chr, [*range(0x4E00, 0x9FFF, 9), *range(0x3040, 0x3100), *range(0xAC00, 0xD7A0, 11), *range(0xFF00, 0xFFEF)]
        )
    )
    control = "".join(
        chr(c) for c in [*range(1, 32), *range(127, 0xA1), 0xAD, 0x200B, 0xFEFF] if c not in (10, 11, 12, 13)
    )
    greek = "".join(map(chr, range(0x370, 0x400))) + "Σ" * 20
    made = [
        strings.noise(characters * 4 + plain, 25)
        for characters in (emoji, cjk, control * 12, greek * 12)
        for _ in range(5_000)
    ]
    counts = {"soft hyphen": 0, "capital sigma": 0}
    for one, official, ours in zip(made, _ptb_java.tokenise_all(made), _ptb.tokenise_all(made), strict=True):
        if official != ours:
            assert "\xad" in one or "Σ" in one, f"{one!r}: {official!r}, ours {ours!r}"
            counts["soft hyphen" if "\xad" in one else "capital sigma"] += 1
    assert all(0 < count < 200 for count in counts.values()), counts
    assert all(f"``{kind}``" in (_ptb.__doc__ or "") for kind in counts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_on_its_example(rule: Rule) -> None:
    assert _ptb.tokenise(rule.example) == rule.tokens


@needs_java
def test_the_examples_are_the_official_ones() -> None:
    lines = [line for rule in RULES for line in (rule.example, "x x")]
    assert _ptb_java.tokenise_all([*lines, "x"])[:-1:2] == [rule.tokens for rule in RULES]


@pytest.mark.parametrize(
    ("captions", "tokens"),
    [
        (["Vitamin C.", "The fruit"], ["vitamin c", "the fruit"]),
        (["Vitamin C.", "", " The fruit"], ["vitamin c", "", "the fruit"]),
        (["Vitamin C.", "the fruit"], ["vitamin c.", "the fruit"]),
        (["House no.", "5 Main"], ["house no.", "5 main"]),
        (["House no.", "five"], ["house no", "five"]),
        (["in '90", "in '90"], ["in '90", "in 90"]),
        (["a\nb", "c\r\vd\fe\u2028f\u2029g", "h"], ["a b", "c d e f g", "h"]),
        (["", " ", "."], ["", "", ""]),
        ([], []),
    ],
)
def test_captions_are_one_file(captions: list[str], tokens: list[str]) -> None:
    assert _ptb.tokenise_all(captions) == tokens
    if shutil.which("java") is not None:
        assert _ptb_java.tokenise_all(captions) == tokens


def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NeedsJava, match="java"):
        _ptb_java.tokenise_all(["a"])
