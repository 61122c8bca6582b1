"""The page of a study, on this machine alone.

A vote must be JSON, from this origin, to this host; a vote that was taken already, or belongs to a trial that is no
longer shown, is refused. All that a model or a file holds is text on the page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import AnyMALEvalError, NeedsExtra
from anymal_eval.judge.guard import Guard, Site
from anymal_eval.judge.session import BadVote, Conflict, Session, media_files

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = Path(__file__).parent / "page"
ASSETS: Mapping[str, str] = {"judge.js": "text/javascript", "judge.css": "text/css"}
LARGEST = 4096  # bytes of a vote


def application(session: Session, folder: Path, site: Site) -> Guard:
    """The page, its state, its media, and what takes votes.

    Raises:
        NeedsExtra: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ImportError:
        raise NeedsExtra("starlette is not installed: pip install 'anymal_eval[judge]'") from None
    pages = _Pages(session, folder, site)
    routes = [
        Route("/{token}/", pages.page),
        Route("/{token}/about", pages.about),
        Route("/{token}/state", pages.state),
        Route("/{token}/vote", pages.vote, methods=["POST"]),
        Route("/{token}/media/{name:path}", pages.media),
        Route("/{token}/{name}", pages.page),
    ]
    return Guard(Starlette(routes=routes), site)


class _Pages:
    """What is at each address."""

    def __init__(self, session: Session, folder: Path, site: Site) -> None:
        self._session = session
        self._folder = folder
        self._origin = f"http://{site.host}"
        self._files = media_files(session.study)

    async def page(self, request: "Request") -> "Response":
        name = request.path_params.get("name", "index.html")
        if name != "index.html" and name not in ASSETS:
            return _json({"error": "not found"}, 404)
        return _file(PAGE / name, ASSETS.get(name, "text/html"))

    async def about(self, request: "Request") -> "Response":
        del request
        study = self._session.study
        texts = {"guideline": study.guideline, "consent": study.consent, "mode": study.mode, "demo": study.is_demo}
        return _json({"annotators": list(study.annotators), **texts})

    async def state(self, request: "Request") -> "Response":
        try:
            return _json(self._session.state(request.query_params.get("annotator", "")))
        except BadVote as error:
            return _json({"error": str(error)}, 400)

    async def vote(self, request: "Request") -> "Response":
        if request.headers.get("origin") != self._origin:
            return _json({"error": "another origin"}, 403)
        if request.headers.get("content-type") != "application/json":
            return _json({"error": "not JSON"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return _json({"error": "too large"}, 413)
        return self._taken(body)

    def _taken(self, body: bytes) -> "Response":
        try:
            sent = json.loads(body)
            if not isinstance(sent, dict):
                raise BadVote("no object")
            annotator = str(sent.get("annotator", ""))
            self._session.vote(annotator, sent)
            return _json(self._session.state(annotator))
        except (BadVote, ValueError, RecursionError) as error:
            return _json({"error": str(error)[:200]}, 400)
        except Conflict as error:
            return _json({"error": str(error)}, 409)
        except AnyMALEvalError as error:  # no space: the vote is not acknowledged
            return _json({"error": str(error)}, 507)

    async def media(self, request: "Request") -> "Response":
        name = f"media/{request.path_params['name']}"
        return _file(self._folder / name) if name in self._files else _json({"error": "not found"}, 404)


def _json(content: Mapping[str, Any], status: int = 200) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse(content, status)


def _file(file: Path, kind: str | None = None) -> "Response":
    from starlette.responses import FileResponse

    return FileResponse(file, media_type=kind)


def serve(session: Session, folder: Path, site: Site) -> None:
    """Serve until the process is interrupted.

    Raises:
        NeedsExtra: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise NeedsExtra("uvicorn is not installed: pip install 'anymal_eval[judge]'") from None
    app: Any = application(session, folder, site)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[site.socket])
