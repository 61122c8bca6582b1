"""The demo world: generated, seeded data in the official layout of the benchmarks, and for training.

Coloured shapes, signs with words, short sounds, clips and motions, with questions about them. A small model learns them
in minutes; a model without media stays near chance. All arithmetic is on integers and nothing on disk is lossy, so the
decoded arrays are the same on every machine. A scene belongs to training or to evaluation by the last bit of its
content's hash, so the two never share a picture, sound, clip or motion; every fourth evaluation question has a wording
that training never uses.
"""

from anymal_eval.demo.chance import WorldHalf, content_hash, split_of
from anymal_eval.demo.questions import Question
from anymal_eval.demo.training import Pair, pairs, text_questions
from anymal_eval.demo.wordings import Wording, wording_of
from anymal_eval.demo.writing import GROUPS, default_root, tasks, write_task

__all__ = [
    "GROUPS",
    "Pair",
    "Question",
    "Wording",
    "WorldHalf",
    "content_hash",
    "default_root",
    "pairs",
    "split_of",
    "tasks",
    "text_questions",
    "wording_of",
    "write_task",
]
