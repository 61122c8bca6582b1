"""Captions and worse, from a seed: what the tokenizer is compared on with the official program."""

import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from anymal_eval.metrics._ptb_words import BEFORE_NUMBER, CAPITAL_CLOSERS, CLOSERS, SENTENCE_STARTERS, TITLES


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


def printable(*ranges: Iterable[int]) -> tuple[str, ...]:
    """The characters of the ranges that are assigned and no control characters."""
    return tuple(
        chr(c) for each in ranges for c in each if unicodedata.category(chr(c)) not in ("Cc", "Cs", "Cn", "Co")
    )


SEQUENCES = ("👩\u200d🚀", "🇫🇷", "👍🏽", "1️⃣", "❤️", "\u200d", "\ufe0f")
SCRIPTS: dict[str, tuple[str, ...]] = {
    "emoji": printable(range(0x1F300, 0x1FA00), range(0x2600, 0x27C0), range(0x1F1E6, 0x1F200)) + SEQUENCES * 20,
    "soft hyphen": ("\xad",),
    "joiners": ("\u200d", "\u200c", "\u200b", "\u2060", "\ufeff", "\u200e"),
    "marks": printable(range(0x300, 0x370), range(0x1AB0, 0x1AC1), range(0x20D0, 0x2100), range(0xFE20, 0xFE30)),
    "cjk": printable(
        range(0x4E00, 0x9FFF, 7), range(0x3000, 0x3100), range(0xAC00, 0xD7A0, 11), range(0xFF00, 0xFFEF),
        range(0x20000, 0x2A6D0, 977),
    ),
    "greek": printable(range(0x370, 0x400), range(0x1F00, 0x2000)) + ("Σ",) * 60 + tuple("ΑΒΓΔΕΟςσ") * 6,
    "cyrillic": printable(range(0x400, 0x530)),
    "arabic": printable(range(0x600, 0x700), range(0x750, 0x780), range(0xFB50, 0xFE00, 3), range(0xFE70, 0xFF00)),
    "hebrew": printable(range(0x590, 0x600)),
    "devanagari": printable(range(0x900, 0x980)),
    "beyond 16 bits": printable(range(0x10400, 0x10450), range(0x1D400, 0x1D7FF, 3), range(0x10000, 0x10100)),
    "latin": printable(range(0xA1, 0x250), range(0x1E00, 0x1F00), range(0x2C60, 0x2C80)),
    "symbols": printable(range(0x2000, 0x2028), range(0x202A, 0x20D0), range(0x2100, 0x2BFF, 3)),
    "digits": tuple("٣٤٥५১²⁻₊¹₇⁄½"),
}  # fmt: skip
PLAIN = (
    *"abcXYZ 1234.,'-/@#&:;!?$\"()<>",
    *listed("n't 's ’s 'S www. foo.org .com http://a.b/ -year-old can't 5 1/2 U.S. 1,000 Inc. sq. No. Ph.D. y' s ll"),
    "'90s ",
    "\u3000",
    "\u2005",
)  # fmt: skip


class UnicodeStrings(Strings):
    """Captions in which characters of a script stand anywhere: alone, in words, next to all that a rule reads."""

    def captions(self, count: int) -> Iterator[str]:
        """So many strings, without characters that end a line."""
        for _ in range(count):
            pool = self.one_of((*SCRIPTS.values(), SCRIPTS["soft hyphen"], SCRIPTS["greek"], SCRIPTS["emoji"]))
            made = self.random.choice(
                (self.mixed, self.mixed, self.sprinkled, self.sprinkled, self.scripts, self.words)
            )
            yield "".join(letter for letter in made(pool) if letter not in "\n\r\v\f\u2028\u2029")

    def one_of(self, values: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return self.random.choice(values)

    def mixed(self, pool: Sequence[str]) -> str:
        makers = (self.random.choice(self.kinds), lambda: self.one(pool), lambda: self.one(PLAIN), lambda: " ")
        return "".join(self.random.choices(makers, (25, 35, 25, 15))[0]() for _ in range(self.random.randint(1, 12)))

    def sprinkled(self, pool: Sequence[str]) -> str:
        made = self.caption()
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randint(0, len(made))
            made = made[:at] + self.one(pool) + made[at:]
        return made

    def scripts(self, pool: tuple[str, ...]) -> str:
        pools = (pool, pool, PLAIN, self.one_of(tuple(SCRIPTS.values())))
        return "".join(self.one(self.one_of(pools)) for _ in range(self.random.randint(1, 15)))

    def words(self, pool: Sequence[str]) -> str:
        around = (
            (self.one(pool) * self.random.randint(0, 2), self.one(pool) * self.random.randint(0, 1)) for _ in "123456"
        )
        return " ".join(before + self.word() + after for before, after in around)
