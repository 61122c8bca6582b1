"""The official VQA scorers as straight lines, to compare and to time ours with; nothing in the package uses it.

Written from the description of the algorithms in GT-Vision-Lab/VQA ``vqaEval.py`` (commit a013f00, and its state from
October 2016 to March 2021), facebookresearch/mmf ``m4c_evaluators.py`` (commit 2dc099a) and VizWiz API ``VQAEval``.
As in the originals there is one loop over questions, every text is normalised where it occurs, annotators are compared
as records, and lists are built to be counted, so that its time is the originals' time. It shares nothing with ours:
the table of contractions is spelled out here.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

Annotation = dict[str, Any]

CONTRACTIONS = {
    word: right
    for word, right in (
        pair.split(">")
        for pair in """
aint>ain't arent>aren't cant>can't couldve>could've couldnt>couldn't couldn'tve>couldn't've couldnt've>couldn't've
didnt>didn't doesnt>doesn't dont>don't hadnt>hadn't hadnt've>hadn't've hadn'tve>hadn't've hasnt>hasn't havent>haven't
hed>he'd hed've>he'd've he'dve>he'd've hes>he's howd>how'd howll>how'll hows>how's Id've>I'd've I'dve>I'd've Im>I'm
Ive>I've isnt>isn't itd>it'd itd've>it'd've it'dve>it'd've itll>it'll let's>let's maam>ma'am mightnt>mightn't
mightnt've>mightn't've mightn'tve>mightn't've mightve>might've mustnt>mustn't mustve>must've neednt>needn't notve>not've
oclock>o'clock oughtnt>oughtn't ow's'at>'ow's'at 'ows'at>'ow's'at 'ow'sat>'ow's'at shant>shan't shed've>she'd've
she'dve>she'd've she's>she's shouldve>should've shouldnt>shouldn't shouldnt've>shouldn't've shouldn'tve>shouldn't've
somebody'd>somebodyd somebodyd've>somebody'd've somebody'dve>somebody'd've somebodyll>somebody'll somebodys>somebody's
someoned>someone'd someoned've>someone'd've someone'dve>someone'd've someonell>someone'll someones>someone's
somethingd>something'd somethingd've>something'd've something'dve>something'd've somethingll>something'll thats>that's
thered>there'd thered've>there'd've there'dve>there'd've therere>there're theres>there's theyd>they'd theyd've>they'd've
they'dve>they'd've theyll>they'll theyre>they're theyve>they've twas>'twas wasnt>wasn't wed've>we'd've we'dve>we'd've
weve>we've werent>weren't whatll>what'll whatre>what're whats>what's whatve>what've whens>when's whered>where'd
wheres>where's whereve>where've whod>who'd whod've>who'd've who'dve>who'd've wholl>who'll whos>who's whove>who've
whyll>why'll whyre>why're whys>why's wont>won't wouldve>would've wouldnt>wouldn't wouldnt've>wouldn't've
wouldn'tve>wouldn't've yall>y'all yall'll>y'all'll y'allll>y'all'll yall'd've>y'all'd've y'alld've>y'all'd've
y'all'dve>y'all'd've youd>you'd youd've>you'd've you'dve>you'd've youll>you'll youre>you're youve>you've
""".split()  # noqa: SIM905 - as a list literal it could not be read
    )
}
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
ARTICLES = ["a", "an", "the"]
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
COMMA = re.compile(r"(\d)(\,)(\d)")
MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]


def punctuation(text: str) -> str:
    out = text
    for mark in MARKS:
        if (mark + " " in text or " " + mark in text) or (re.search(COMMA, text) is not None):
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    return PERIOD.sub("", out, count=32)


def digit_article(text: str) -> str:
    out = []
    for word in text.lower().split():
        mapped = NUMBERS.setdefault(word, word)
        if mapped not in ARTICLES:
            out.append(mapped)
    for at, word in enumerate(out):
        if word in CONTRACTIONS:
            out[at] = CONTRACTIONS[word]
    return " ".join(out)


def line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def leave_one_out(annotations: list[Annotation], answer: str) -> float:
    scores = []
    for left_out in annotations:
        others = [item for item in annotations if item != left_out]
        matching = [item for item in others if item["answer"] == answer]
        scores.append(min(1, float(len(matching)) / 3))
    return float(sum(scores)) / len(scores)


def records(texts: Sequence[str]) -> list[Annotation]:
    return [{"answer": text, "answer_confidence": "yes", "answer_id": at} for at, text in enumerate(texts, 1)]


def vqa_2021(questions: Sequence[tuple[list[Annotation], str]]) -> list[float]:
    scores = []
    for given, said in questions:
        annotations, answer = given, line(said)
        for item in annotations:
            item["answer"] = line(item["answer"])
        if len({item["answer"] for item in annotations}) > 1:
            for item in annotations:
                item["answer"] = digit_article(punctuation(item["answer"]))
            answer = digit_article(punctuation(answer))
        scores.append(leave_one_out(annotations, answer))
    return scores


def vqa_2016(questions: Sequence[tuple[list[Annotation], str]]) -> list[float]:
    scores = []
    for annotations, said in questions:
        answer = digit_article(punctuation(line(said)))
        if len({item["answer"] for item in annotations}) > 1:
            for item in annotations:
                item["answer"] = punctuation(item["answer"])
        scores.append(leave_one_out(annotations, answer))
    return scores


def vizwiz(questions: Sequence[tuple[list[Annotation], str]]) -> list[float]:
    return [leave_one_out(given, digit_article(punctuation(line(said)))) for given, said in questions]


def m4c(text: str) -> str:
    lowered = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return digit_article(punctuation(line(lowered)))


def textvqa(questions: Sequence[tuple[list[Annotation], str]]) -> list[float]:
    scores = []
    for given, said in questions:
        answers = list(enumerate(m4c(item["answer"]) for item in given))
        assert len(answers) == 10
        table = {}
        for unique in {text for _, text in answers}:
            found = []
            for left_out in answers:
                others = [item for item in answers if item != left_out]
                found.append(min(1, float(len([item for item in others if item[1] == unique])) / 3))
            table[unique] = sum(found) / len(found)
        scores.append(table.get(m4c(said), 0.0))
    return scores


RULES = {"2021": vqa_2021, "2016": vqa_2016, "textvqa": textvqa, "vizwiz": vizwiz}


def score(rule: str, references: Sequence[Sequence[str]], answers: Sequence[str]) -> list[float]:
    """The scores of texts; the annotations are copies, so that what the originals change is changed in a copy."""
    return RULES[rule](copy.deepcopy([(records(texts), said) for texts, said in zip(references, answers, strict=True)]))
