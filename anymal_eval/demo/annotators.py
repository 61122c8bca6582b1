"""People's answers: mostly the right one, some in other words, some wrong, as in the benchmarks' ten answers."""

from random import Random

from anymal_eval.demo.questions import FACTS, Question

PEOPLE = 10


def ten_answers(random: Random, question: Question) -> list[dict[str, str]]:
    """Ten ``{"answer", "answer_confidence"}``: two questions in five unanimous, else one to three people differ.

    At least seven always give ``question.answer``, so a right answer reaches 1.0 under every benchmark's rule.
    """
    dissent = 0 if random.randrange(5) < 2 else random.choice((1, 1, 2, 3))
    given = [question.answer] * (PEOPLE - dissent)
    given += [_other(random, question) for _ in range(dissent)]
    random.shuffle(given)
    return [{"answer": word, "answer_confidence": _confidence(random, word == question.answer)} for word in given]


def five_answers_twice(random: Random, question: Question) -> list[dict[str, str]]:
    """OK-VQA's ten: five people, each written twice; ``raw_answer`` as written, ``answer`` its stem."""
    raw = {stem: written for written, stem in FACTS[question.topic].values()}
    dissent = 0 if random.randrange(5) < 2 else random.choice((1, 1, 2))
    given = [question.answer] * (5 - dissent) + [random.choice(question.near) for _ in range(dissent)]
    random.shuffle(given)
    return [{"raw_answer": raw[stem], "answer_confidence": "yes", "answer": stem} for stem in given for _ in range(2)]


def _other(random: Random, question: Question) -> str:
    reworded = question.like and (random.randrange(3) > 0 or not question.near)
    return random.choice(question.like if reworded else question.near)


def _confidence(random: Random, agrees: bool) -> str:
    return random.choice(("yes", "yes", "yes", "maybe") if agrees else ("yes", "maybe", "maybe", "no"))
