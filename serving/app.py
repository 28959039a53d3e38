"""The page's server: what a browser asks for, and what it is told as things change.

GET /                        the page, serving/page/index.html; /page/NAME its parts; /login where a token is needed
GET /api/cameras  /api/alarms  /api/span        JSON: cameras now, alarms and how many are open, a stretch of a camera's scores
POST /api/alarms/ID          {"acknowledged": true, "note": "..."}
GET /cameras/ID.jpg  /pictures/ALARM.jpg  /clips/ALARM.mp4
GET /events                  server-sent events: cameras, alarms, list, trouble, stopping
GET /healthz  /metrics       for programs
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from files.extra import needed
from serving.access import Access, beginning
from serving.board import LONGEST_NOTE, PER_REQUEST, Board
from serving.health import health, metrics
from serving.news import News

PAGE = Path(__file__).with_name("page")


def whole(text: str) -> int:
    """Raises ValueError where it is no number, or one that the journal cannot compare with."""
    number = int(text)
    if abs(number) >= 2**63:
        raise ValueError
    return number


PARAMETERS: dict[str, Callable[[str], Any]] = {
    "camera": str, "since": float, "until": float, "before": whole, "open": lambda text: text not in ("", "0"),
}  # fmt: skip


class Refused(ValueError):
    """What was asked for cannot be; its text says why."""


def application(board: Board, news: News, token: str | None) -> Any:
    """The ASGI application; token: what has to be shown, None = nothing, and then it answers this machine alone."""
    starlette = needed("starlette.applications", "serve")
    routing, files = needed("starlette.routing", "serve"), needed("starlette.staticfiles", "serve")
    handlers = Handlers(board, news)
    access = Access(token, PAGE / "login.html")
    route = routing.Route
    routes = [
        route("/", handlers.page),
        route("/login", access.login, methods=["GET", "POST"]),
        route("/api/cameras", handlers.cameras),
        route("/api/alarms", handlers.alarms),
        route("/api/alarms/{id}", handlers.note, methods=["POST"]),
        route("/api/span", handlers.span),
        route("/cameras/{id}.jpg", handlers.picture),
        route("/pictures/{id}.jpg", handlers.file_of("picture", "image/jpeg")),
        route("/clips/{id}.mp4", handlers.file_of("clip", "video/mp4")),
        route("/events", handlers.events),
        route("/healthz", handlers.healthz),
        route("/metrics", handlers.metrics),
        routing.Mount("/page", files.StaticFiles(directory=PAGE)),
    ]
    refusals = {Refused: handlers.refused, OSError: handlers.failed, ValueError: handlers.failed}
    smaller = needed("starlette.middleware", "serve").Middleware(  # what is no picture, video or event
        needed("starlette.middleware.gzip", "serve").GZipMiddleware, compresslevel=1
    )
    return access.around(starlette.Starlette(routes=routes, middleware=[smaller], exception_handlers=refusals))


class Handlers:
    """An answer to each request. Those that read events.db do so in a thread: the others are not kept waiting."""

    def __init__(self, board: Board, news: News):
        self.board, self.news, self.answers = board, news, needed("starlette.responses", "serve")

    def refused(self, request: Any, error: Exception) -> Any:
        return self.answers.JSONResponse({"error": str(error)}, 400)

    def failed(self, request: Any, error: Exception) -> Any:
        return self.answers.JSONResponse({"error": str(error)}, 503)

    def missing(self, what: str) -> Any:
        return self.answers.JSONResponse({"error": f"no such {what}"}, 404)

    def page(self, request: Any) -> Any:
        return self.answers.FileResponse(PAGE / "index.html")

    def cameras(self, request: Any) -> Any:
        return self.answers.Response(self.news.whole(), media_type="application/json")

    def alarms(self, request: Any) -> Any:
        asked = parameters(request.query_params, PARAMETERS)
        found = self.board.alarms(**asked, most=PER_REQUEST + 1)
        more = len(found) > PER_REQUEST
        return self.answers.JSONResponse({"alarms": found[:PER_REQUEST], "more": more, "open": self.board.n_open()})

    async def note(self, request: Any) -> Any:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused("expected application/json")  # what another site's page cannot send from a browser
        try:
            asked = json.loads(await beginning(request))
        except ValueError as error:
            raise Refused(f"no JSON ({error})") from None
        if not isinstance(asked, dict) or asked.keys() - {"acknowledged", "note"}:
            raise Refused("expected an object with acknowledged, note or both")
        acknowledged, note = asked.get("acknowledged"), asked.get("note")
        if acknowledged not in (None, True, False) or not isinstance(note, str | None):
            raise Refused("expected acknowledged: true or false, and note: a text")
        if note and len(note) > LONGEST_NOTE:
            raise Refused(f"a note has at most {LONGEST_NOTE} letters, this one has {len(note)}")
        id = request.path_params["id"]
        alarm = await asyncio.to_thread(self.board.note, id, acknowledged=acknowledged, note=note)
        if alarm is None:
            return self.missing("alarm")
        self.news.touched(alarm)
        return self.answers.JSONResponse(alarm)

    def span(self, request: Any) -> Any:
        asked = parameters(request.query_params, {"camera": str, "from": float, "until": float})
        span = self.board.span(asked.get("camera", ""), asked.get("from"), asked.get("until"))
        return self.missing("camera") if span is None else self.answers.JSONResponse(span)

    def picture(self, request: Any) -> Any:
        jpeg = self.board.picture(request.path_params["id"])
        return self.missing("picture") if jpeg is None else self.answers.Response(jpeg, media_type="image/jpeg")

    def file_of(self, column: str, kind: str) -> Callable[[Any], Any]:
        def file(request: Any) -> Any:
            path = self.board.file_of(request.path_params["id"], column)
            return self.missing(column) if path is None else self.answers.FileResponse(path, media_type=kind)

        return file

    async def events(self, request: Any) -> Any:
        return self.answers.StreamingResponse(self.news.to_one(), media_type="text/event-stream")

    def healthz(self, request: Any) -> Any:
        state = health(self.board)
        return self.answers.JSONResponse(state, 200 if state["status"] == "ok" else 503)

    def metrics(self, request: Any) -> Any:
        content, kind = metrics(self.board)
        return self.answers.Response(content, headers={"content-type": kind})


def parameters(given: Any, known: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The parameters of a request. Raises Refused where one is unknown, or no number."""
    asked = {}
    for name, text in given.items():
        if name not in known:
            raise Refused(f"unknown parameter {name}; expected {', '.join(known)}")
        try:
            asked[name] = known[name](text)
        except ValueError:
            raise Refused(f"{name}: expected a number, found {text[:40]!r}") from None
    return asked
