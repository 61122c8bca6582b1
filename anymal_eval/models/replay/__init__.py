"""Answers from a file: recorded answers of a system or of another harness, scored like those of a model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anymal_eval.errors import BadData
from anymal_eval.models._protocols import PLAIN_WORDING, Model, PlainText, Prepared, Question
from anymal_eval.models.replay.content import read_content
from anymal_eval.models.replay.layouts import layout_of
from anymal_eval.models.replay.matching import match, refuse_doubles
from anymal_eval.models.replay.records import Layout, Options, RecordedAnswer
from anymal_eval.paths import expanded
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import ALL_MEDIA, Failure, MediaKind, Request, Response

__all__ = ["Layout", "Options", "RecordedAnswer", "accepts", "load", "opens_media", "read"]

opens_media = False  # answers without looking


def accepts(options: Options) -> frozenset[MediaKind]:
    """Every kind of medium: none is opened."""
    del options
    return ALL_MEDIA


def load(options: Options) -> Model:
    """Read the whole file.

    Raises:
        MissingData: there is no such file.
        BadData: it is truncated, of no known layout, or has an id twice.
        NeedsExtra: it is xlsx, and openpyxl is not installed.
    """
    from anymal_eval.sources.load import collector_resting

    with collector_resting():
        return _Replay(read(expanded(options.checkpoint), options), options)


def read(file: Path, options: Options) -> Layout:
    """Read a file in any of the layouts of ``replay/layouts``: the benchmarks' own, and those of other harnesses."""
    content = read_content(file)
    layout: Layout = layout_of(content, options.layout).read(content, options)
    if not layout.answers and layout.name:  # one of the benchmarks' own may hold none: each example is then an error
        raise BadData(f"{file}: it holds no answer")
    layout = replace(layout, where=str(file))
    return layout if layout.name else refuse_doubles(layout)


CHOOSING = ("field", "layout", "filter", "epoch")  # options that choose among the answers of a file


class _Replay:
    prepares_nothing = True

    def __init__(self, layout: Layout, options: Options) -> None:
        from anymal_eval import fingerprint

        self._layout = layout
        self._answers: Mapping[str, RecordedAnswer] = {item.id: item for item in layout.answers}
        self._questions: Sequence[Question] = ()
        self._where = layout.where
        self._subset = options.subset
        chosen = {name: value for name in CHOOSING if (value := getattr(options, name)) != getattr(Options, name)}
        digest = fingerprint.of_file(Path(layout.where))
        self.fingerprint = f"replay:{fingerprint.of([digest, chosen]) if chosen else digest}"
        self.accepts = ALL_MEDIA
        self.notes: tuple[str, ...] = ()
        self.provenance = {"layout": layout.name} if layout.name else {}
        extract = options.extract or layout.extract
        self.wording: Wording = {
            kind: _read_by(phrase, extract if kind == "choice" else "") for kind, phrase in PLAIN_WORDING.items()
        }

    def compare_with(self, questions: Sequence[Question]) -> None:
        """Take the questions, which show which row of another harness's file is theirs."""
        self._questions = questions

    def expect(self, ids: Collection[str]) -> Collection[str]:
        """Find the rows of these ids; refuse a file that belongs to another benchmark, split or release."""
        from anymal_eval.sources.load import collector_resting

        with collector_resting():
            matched = match(self._layout, ids, self._questions)
        self._answers = matched.answers
        self.notes = tuple(f"{self._where}: {note}" for note in matched.notes)
        return self._answers.keys() if self._subset == "answered" else ids

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        return [self._respond(item.request) for item in batch]

    def close(self) -> None:
        pass

    def _respond(self, request: Request) -> Response:
        found = self._answers.get(request.id)
        if found is None:
            failure = Failure(kind="missing", message=f"{self._where} has no answer to {request.id}")
            return Response(id=request.id, failure=failure)
        if found.failure:
            return Response(id=request.id, failure=Failure(kind="recorded", message=f"{found.where}: {found.failure}"))
        if found.option_scores is None:
            return Response(id=request.id, answer=found.answer, finish="stop")
        count = len(request.candidates)
        if count and len(found.option_scores) != count:
            message = f"{self._where}: {request.id} has {len(found.option_scores)} option scores for {count} options"
            raise BadData(message)
        return Response(id=request.id, option_scores=found.option_scores, finish="ranked")


def _read_by(phrase: Phrase, extract: str) -> Phrase:
    # A file does not hold how many tokens its options have, so their scores are compared as they are.
    return replace(phrase, extract=extract, length_normalise=False)
