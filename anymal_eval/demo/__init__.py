"""The demo world: a generated, seeded stand-in for every benchmark, in its official files, and for training.

Coloured shapes, signs with words, short sounds, clips and motions, with questions about them: small enough for a
small model to learn in minutes, and asked so that a model which sees nothing stays near chance. All arithmetic is on
integers and nothing on disk is lossy, so the decoded arrays are the same on every machine. A scene belongs to
training or to evaluation by the last bit of its content's hash, so the two never share a picture, sound, clip or
motion; every fourth evaluation question is in a wording that training never uses.
"""

from anymal_eval.demo.chance import Split, content_hash, split_of
from anymal_eval.demo.questions import Question
from anymal_eval.demo.training import Pair, pairs, text_questions
from anymal_eval.demo.wordings import Wording, wording_of
from anymal_eval.demo.writing import GROUPS, default_root, tasks, write_task

__all__ = [
    "GROUPS",
    "Pair",
    "Question",
    "Split",
    "Wording",
    "content_hash",
    "default_root",
    "pairs",
    "split_of",
    "tasks",
    "text_questions",
    "wording_of",
    "write_task",
]
