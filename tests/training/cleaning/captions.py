"""Sixty captions, labelled by hand, and the parses by which a small pipeline learns to read them.

A word is written WORD/TAG: n noun, v verb, a adjective or participle before a noun, m number, d determiner,
p preposition, x auxiliary, r pronoun. The label says what the CAT filter does with the caption: keep it, or drop it for
its complexity or for its action.
"""

from dataclasses import dataclass

POS = {"n": "NOUN", "v": "VERB", "a": "ADJ", "m": "NUM", "d": "DET", "p": "ADP", "x": "AUX", "r": "PRON"}

KEEP = """
a/d black/a cat/n chases/v a/d small/a brown/a bird/n
a/d dog/n runs/v
two/m children/n play/v in/p the/d garden/n
a/d man/n rides/v a/d horse/n
she/r reads/v a/d book/n
the/d old/a woman/n sells/v red/a apples/n
a/d boy/n throws/v a/d ball/n to/p a/d dog/n
people/n dance/v at/p a/d wedding/n
a/d girl/n eats/v an/d ice/n
the/d chef/n cuts/v fresh/a bread/n
three/m birds/n fly/v over/p the/d lake/n
a/d man/n is/x playing/v a/d guitar/n
a/d woman/n is/x walking/v her/d dog/n
workers/n build/v a/d house/n
a/d cat/n sleeps/v on/p a/d sofa/n
the/d train/n crosses/v a/d bridge/n
a/d player/n kicks/v the/d ball/n
children/n watch/v a/d film/n
a/d farmer/n feeds/v two/m cows/n
the/d bus/n stops/v near/p the/d station/n
a/d white/a boat/n sails/v on/p the/d sea/n
the/d teacher/n writes/v on/p the/d board/n
a/d small/a child/n holds/v a/d kite/n
he/r paints/v the/d wall/n
"""
NO_RELATION = """
cat/n
a/d house/n
the/d sea/n
dogs/n
a/d chair/n
the/d station/n
apples/n
a/d bridge/n
the/d garden/n
her/d dog/n
the/d lake/n
a/d kite/n
a/d film/n
bread/n
the/d wall/n
a/d horse/n
a/d board/n
the/d sofa/n
"""
NO_ACTION = """
a/d black/a cat/n
the/d old/a house/n
two/m red/a apples/n
a/d cat/n on/p a/d sofa/n
fresh/a bread/n
a/d small/a brown/a bird/n
the/d white/a boat/n on/p the/d sea/n
three/m cows/n
a/d house/n near/p the/d lake/n
the/d running/a dog/n
a/d book/n on/p the/d old/a chair/n
red/a wall/n
a/d bridge/n over/p the/d sea/n
small/a children/n in/p a/d garden/n
two/m boats/n
white/a horse/n
a/d sleeping/a child/n
the/d station/n at/p the/d lake/n
"""


@dataclass(frozen=True)
class Labelled:
    """A caption, its parse (a head and a relation for each word), and what becomes of it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    label: str

    @property
    def text(self) -> str:
        return " ".join(self.words)


def labelled() -> list[Labelled]:
    """All sixty."""
    groups = {"keep": KEEP, "complexity": NO_RELATION, "action": NO_ACTION}
    return [_read(line, label) for label, lines in groups.items() for line in lines.strip().splitlines()]


def _read(line: str, label: str) -> Labelled:
    words, tags = zip(*(word.split("/") for word in line.split()), strict=True)
    heads, relations = _parse(tags)
    return Labelled(words, tags, tuple(heads), tuple(relations), label)


def _parse(tags: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Heads and relations in English order: subject, verb, object, and prepositions after what they belong to."""
    verb = tags.index("v") if "v" in tags else None
    nouns = [at for at, tag in enumerate(tags) if tag in "nr"]
    root = nouns[0] if verb is None else verb
    heads, relations = [root] * len(tags), ["ROOT"] * len(tags)
    for at, tag in enumerate(tags):
        if at == root:
            continue
        following = next((noun for noun in nouns if noun > at), root)
        if tag in "dam":
            heads[at], relations[at] = following, {"d": "det", "a": "amod", "m": "nummod"}[tag]
        elif tag == "x":
            relations[at] = "aux"
        elif tag == "p":
            # Beside a verb with an object, the preposition belongs to the verb: throws a ball to a dog.
            before = max((noun for noun in nouns if noun < at), default=root)
            heads[at], relations[at] = (root if verb is not None else before), "prep"
        elif "p" in tags[:at] and (verb is None or "p" in tags[verb:at]):
            heads[at], relations[at] = max(place for place in range(at) if tags[place] == "p"), "pobj"
        else:
            relations[at] = "nsubj" if verb is not None and at < verb else "dobj"
    return heads, relations
