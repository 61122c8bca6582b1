"""Judging open-ended answers: people, or a model, compare or rate answers without knowing whose they are.

A study is a folder. ``study.json`` holds what is judged and by which design, ``votes.jsonl`` each vote as it was given,
``media/`` what the answers are about, ``judges/`` what models answered. The design follows from the study alone, so
that every process shows the same trials; votes and answers are only ever appended to.
"""
