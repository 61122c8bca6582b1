"""Finds the example that each recorded answer belongs to.

In the project's own layouts ids are the data's: an unknown one is refused. Other harnesses name examples in their own
ways. Three rules are tried over the whole file, and the one that finds the most examples is used: one of the names that
rows give their example is its id (or, with the question, its cluster); the rows' numbers are places in the data; rows
hold the question of one example alone. A rule that gives a row another question than its own is not used.
"""

import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from anymal_eval.errors import BadData, listed
from anymal_eval.models._protocols import Question
from anymal_eval.models.replay.records import Layout, RecordedAnswer

Found = dict[int, str]  # the number of a row -> the id of its example
ENDINGS = (".jpg", ".jpeg", ".png", ".mp4", ".wav", ".flac", ".mp3")


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The answers by the data's ids, and what a reader must know of the rest, a sentence each."""

    answers: Mapping[str, RecordedAnswer]
    notes: tuple[str, ...] = ()


def match(layout: Layout, ids: Collection[str], questions: Sequence[Question]) -> Matched:
    """The answers of a file by the ids of the data.

    Args:
        layout: the file.
        ids: of the whole split, in its order.
        questions: those that are evaluated, which confirm a match.

    Raises:
        BadData: no row belongs to the data, a row of the project's own layouts does not, or two rows differ on one
            example.
    """
    if not layout.name:
        return Matched(answers=_by_data_id(layout, ids))
    known = {example.id: example for example in questions}
    places = list(ids)
    rules: list[tuple[str, Found]] = [(key, _by_key(layout.answers, key, ids, known)) for key in _keys(layout.answers)]
    rules.append(("the row's number", _by_position(layout.answers, places, known)))
    rules.append(("the question", _by_question(layout.answers, known)))
    how, found = max(rules, key=lambda rule: len(set(rule[1].values())))
    total = len(layout.answers)
    if not found:
        raise BadData(
            f"{layout.where} ({layout.name}): none of its {total} rows belongs to these data: its names are such as "
            f"{listed([item.id for item in layout.answers])}, those of the data such as {listed(places)}; is it of "
            "another benchmark or split?"
        )
    answers, same = _by_id(layout, found)
    notes = [f"{layout.name}: {len(found):,} of {total:,} rows match an example by {how}"]
    alien = [item.id for at, item in enumerate(layout.answers) if at not in found]
    notes += [f"{len(alien):,} rows are of no example and are left out: {listed(alien)}"] if alien else []
    notes += [f"{same:,} rows repeat another and are left out"] if same else []
    lacking = [name for name in places if name not in answers]
    notes += [f"{len(lacking):,} of {len(places):,} examples have no row: {listed(lacking)}"] if lacking else []
    return Matched(answers=answers, notes=(*notes, *layout.notes))


def refuse_doubles(layout: Layout) -> Layout:
    """The same layout, for one whose ids are the data's.

    Raises:
        BadData: an id stands in it twice; names both rows.
    """
    counts = Counter(item.id for item in layout.answers)
    if double := [name for name, count in counts.items() if count > 1]:
        first = [item for item in layout.answers if item.id == double[0]][:2]
        rows = "; ".join(f"{_place(item, layout.where)} answers {item.shown}" for item in first)
        raise BadData(f"{layout.where}: {len(double)} ids stand in it more than once: {listed(double)} ({rows})")
    return layout


def _by_data_id(layout: Layout, ids: Collection[str]) -> dict[str, RecordedAnswer]:
    """Answers by the data's ids: copies of some benchmarks write ``08291`` where others write ``8291``."""
    found: dict[str, RecordedAnswer] = {}
    for item in layout.answers:
        known = _without_zeros(item.id, ids) or item.id
        if known in found:
            raise BadData(f"{layout.where}: {known} stands in it twice, once with leading zeros")
        found[known] = item
    if unknown := [name for name in found if name not in ids]:
        raise BadData(f"{layout.where}: {len(unknown)} of its {len(found)} ids are not in the data: {listed(unknown)}")
    return found


def _by_id(layout: Layout, found: Found) -> tuple[dict[str, RecordedAnswer], int]:
    answers: dict[str, RecordedAnswer] = {}
    same = 0
    for at, name in found.items():
        item, earlier = layout.answers[at], answers.get(name)
        if earlier is None:
            answers[name] = item
        elif earlier.same_answer(item):
            same += 1
        else:
            raise BadData(
                f"{layout.where} ({layout.name}): two rows answer {name}: {_place(earlier, layout.where)} with "
                f"{earlier.shown}, {_place(item, layout.where)} with {item.shown}; keep one of them"
            )
    return answers, same


def _place(item: RecordedAnswer, where: str) -> str:
    return item.where.removeprefix(f"{where}: ")


def _keys(answers: Iterable[RecordedAnswer]) -> list[str]:
    return list(dict.fromkeys(key for item in answers for key in item.keys))


def _by_key(answers: Sequence[RecordedAnswer], key: str, ids: Collection[str], known: Mapping[str, Question]) -> Found:
    """A name is the example's id, or its cluster and the row's question is that of one of the cluster."""
    clusters: dict[str, list[Question]] = {}
    for example in known.values():
        clusters.setdefault(example.cluster, []).append(example)

    def one(item: RecordedAnswer) -> str | None:
        for name in _spellings(item.keys.get(key, "")):
            if (own := _without_zeros(name, ids)) is not None:
                return own
            if name in clusters and item.question:
                fitting = [each for each in clusters[name] if _agrees(item, each)]
                if len(fitting) == 1:
                    return fitting[0].id
        return None

    found = _confirmed(answers, one, known)
    names = {item.keys.get(key, "") for item in answers}
    counted = key == "index" or names == {str(number) for number in range(1, len(answers) + 1)}
    # Numbers that a harness gives its rows can be ids of other examples by chance.
    return {} if counted and not _has_question(found, known) else found


def _has_question(found: Found, known: Mapping[str, Question]) -> bool:
    """Whether a question confirms one of the examples found."""
    return any(name in known and _normal(known[name].question) for name in found.values())


def _by_position(answers: Sequence[RecordedAnswer], places: Sequence[str], known: Mapping[str, Question]) -> Found:
    """The row's number is the example's place; only where rows hold questions, and one that is known confirms it."""

    def one(item: RecordedAnswer) -> str | None:
        at = item.position
        return places[at] if at is not None and _normal(item.question) and at < len(places) else None

    found = _confirmed(answers, one, known)
    return found if _has_question(found, known) else {}


def _by_question(answers: Sequence[RecordedAnswer], known: Mapping[str, Question]) -> Found:
    """The row holds the question that one example alone has, with these options where it holds some."""
    names: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, example in known.items():
        for options in {(), _plain(example.options)}:
            names.setdefault((_normal(example.question), options), []).append(name)

    def one(item: RecordedAnswer) -> str | None:
        text = _normal(item.question)
        found = names.get((text, _plain(item.options)), ()) if text else ()
        return found[0] if len(found) == 1 else None

    return _confirmed(answers, one, known)


def _confirmed(
    answers: Sequence[RecordedAnswer], rule: Callable[[RecordedAnswer], str | None], known: Mapping[str, Question]
) -> Found:
    """What a rule finds; nothing where it gives a row an example with another question."""
    found = {at: name for at, item in enumerate(answers) if (name := rule(item)) is not None}
    if any(name in known and not _agrees(answers[at], known[name]) for at, name in found.items()):
        return {}
    return found


def _agrees(item: RecordedAnswer, example: Question) -> bool:
    """Whether the row has the example's options, and its prompt the question; true where one of them has none."""
    own, theirs = _normal(example.question), _normal(item.question)
    if item.options and example.options and _plain(item.options) != _plain(example.options):
        return False
    return not own or not theirs or own in theirs


def _normal(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def _plain(options: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(map(_normal, options)))


def _spellings(name: str) -> list[str]:
    """A name as it stands, and a file's without folder and ending."""
    bare = name.rpartition("/")[2]
    stem = next((bare.removesuffix(ending) for ending in ENDINGS if bare.lower().endswith(ending)), bare)
    return list(dict.fromkeys(each for each in (name, bare, stem, f"{bare}.jpg") if each and bare))


def _without_zeros(name: str, ids: Collection[str]) -> str | None:
    if name in ids:
        return name
    bare = name.lstrip("0")
    return bare if name.isdigit() and bare in ids else None
