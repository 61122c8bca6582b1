"""What the page of a study shows and takes: the next trial of an annotator, and votes. Knows nothing of HTTP.

Nothing that names a system leaves this module: a trial is an id that says nothing, a prompt, media, and texts from left
to right.
"""

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anymal_eval.judge.design import Trial, trials
from anymal_eval.judge.study import Study
from anymal_eval.judge.votes import Choice, Vote, Votes, standing

_SHOWN = ("kind", "file", "thumb", "seconds", "channels", "error", "window", "width", "height")
_COMPARING = frozenset({"left", "right", "tie", "both bad", "skip"})
_LONGEST = 24 * 3600.0


class Conflict(Exception):
    """A vote that is not the next one: it was sent twice, or another page of the same annotator was faster."""


class BadVote(Exception):
    """A vote that the study has no place for."""


class Session:
    """A study that is open.

    Args:
        study: its content.
        votes: open for appending.
    """

    def __init__(self, study: Study, votes: Votes) -> None:
        self.study = study
        self._votes = votes
        self._trials: dict[str, list[Trial]] = {name: trials(study.design, name) for name in study.annotators}

    @property
    def left(self) -> int:
        """How many trials have no vote yet, over all annotators."""
        return sum(len(self._trials[name]) - len(standing(self._votes.of(name))) for name in self._trials)

    def state(self, annotator: str) -> dict[str, Any]:
        """What the page shows.

        Raises:
            BadVote: the study has no such annotator.
        """
        shown = self._of(annotator)
        done = standing(self._votes.of(annotator))
        trial = self._next(annotator)
        return {
            "n": self._votes.next(annotator),
            "done": len(done),
            "total": len(shown),
            "mode": self.study.mode,
            "scales": [{"name": one.name, "question": one.question, "levels": [label for label, _ in one.levels]}
                       for one in self.study.scales] if self.study.mode == "rating" else [],
            "trial": None if trial is None else self._shown(trial),
        }  # fmt: skip

    def vote(self, annotator: str, sent: Mapping[str, Any]) -> None:
        """Take a vote on the trial that is shown; it is on disk when this returns.

        Args:
            annotator: the code.
            sent: ``n`` and ``trial`` of the state, ``choice`` or ``ratings``, ``seconds``.

        Raises:
            BadVote: no such annotator, choice or level.
            Conflict: the state has changed since; nothing is written.
        """
        self._of(annotator)
        trial = self._next(annotator)
        choice = sent.get("choice")
        if choice == "undo":
            before = standing(self._votes.of(annotator))
            if not before:
                raise BadVote("there is no vote to take back")
            self._append(annotator, sent, before[-1].trial, "undo", {})
            return
        if trial is None or sent.get("trial") != trial.id:
            raise Conflict("another trial is shown by now")
        if self.study.mode == "pairwise":
            if choice not in _COMPARING:
                raise BadVote("no such choice")
            self._append(annotator, sent, trial.id, choice, {})
        elif choice == "skip":
            self._append(annotator, sent, trial.id, "skip", {})
        else:
            self._append(annotator, sent, trial.id, "rated", self._levels(sent.get("ratings")))

    def _append(
        self, annotator: str, sent: Mapping[str, Any], trial: str, choice: Choice, ratings: Mapping[str, float]
    ) -> None:
        number, seconds = sent.get("n"), sent.get("seconds")
        if type(number) is not int or number != self._votes.next(annotator):
            raise Conflict("this vote was taken already, or another page was faster")
        if type(seconds) not in (int, float) or not 0 <= float(str(seconds)) <= _LONGEST:
            seconds = math.nan
        self._votes.append(
            Vote(
                n=number,
                annotator=annotator,
                trial=trial,
                choice=choice,
                ratings=ratings,
                seconds=0.0 if seconds is None or math.isnan(float(seconds)) else round(float(seconds), 2),
                time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
        )

    def _levels(self, sent: Any) -> dict[str, float]:
        """The values of the levels, one of each scale, by their numbers."""
        if not isinstance(sent, dict) or sent.keys() != {scale.name for scale in self.study.scales}:
            raise BadVote("every scale needs a level")
        found = {}
        for scale in self.study.scales:
            number = sent[scale.name]
            if type(number) is not int or not 0 <= number < len(scale.levels):
                raise BadVote(f"{scale.name} has no such level")
            found[scale.name] = scale.levels[number][1]
        return found

    def _of(self, annotator: str) -> list[Trial]:
        if annotator not in self._trials:
            raise BadVote("the study has no annotator of this code")
        return self._trials[annotator]

    def _next(self, annotator: str) -> Trial | None:
        done = {vote.trial for vote in standing(self._votes.of(annotator))}
        return next((trial for trial in self._trials[annotator] if trial.id not in done), None)

    def _shown(self, trial: Trial) -> dict[str, Any]:
        item = self.study.all_items[trial.item]
        return {
            "id": trial.id,
            "prompt": item.prompt,
            "media": [{name: tag[name] for name in _SHOWN if name in tag} for tag in item.media],
            "answers": [item.answers[system] for system in trial.shown],
        }


def media_files(study: Study) -> set[str]:
    """The files that the page may read, relative to the study's folder."""
    return {
        str(Path(tag[name]))
        for item in study.all_items
        for tag in item.media
        for name in ("file", "thumb")
        if name in tag
    }
