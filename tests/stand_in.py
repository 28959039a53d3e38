"""A stand-in for a watch's server: made-up cameras, scores and alarms, told as serving/page expects them.

    python tests/stand_in.py --cameras 200 --port 8123   # every camera gets new scores each second; Ctrl-C ends it

Its fields are plain dictionaries as the page gets them; a test changes them and says so: `stand.change(id, state="down")`.
"""

import argparse
import asyncio
import colorsys
import io
import json
import math
import random
import socket
import sys
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "serving" / "page"
POLICY = "default-src 'self'; img-src 'self' data:; media-src 'self'; frame-ancestors 'none'"
HOSTILE = "<img src=x onerror=alert(1)> \"&amp;' \u202egnol\u202c 🎥 " + "very long " * 15
SNIPPET, THRESHOLD = 16 / 30, 0.9


def score_at(seed: int, at: float) -> float:
    """A made-up score in [0, 1]: low, restless, and high now and then."""
    slow = math.sin(at / 47 + seed) + math.sin(at / 13.7 + 2.3 * seed)
    noise = (int(at / SNIPPET) * 7919 + seed) * 2654435761 % 2**32 / 2**32
    return round(min(0.995, 0.04 + 0.2 * noise * noise + 0.9 / (1 + math.exp(-9 * (slow - 1.72)))), 4)


@lru_cache(maxsize=1000)
def picture(seed: int, number: int, size: tuple[int, int] = (640, 360)) -> bytes:
    """A drawn yard in which somebody walks, as JPEG."""
    (width, height), (hue, shift) = size, ((seed * 0.17) % 1, number * 9 % 560)
    tone = [tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.25, v)) for v in (0.75, 0.42, 0.3, 0.14)]
    image = Image.new("RGB", size, tone[0])
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 0.55, width, height), fill=tone[1])
    for i in range(4):
        left = width * (0.08 + 0.24 * i)
        draw.rectangle((left, height * (0.15 + 0.05 * (seed * i % 4)), left + width * 0.17, height * 0.6), fill=tone[2])
    draw.ellipse((30 + shift, height * 0.52, 54 + shift, height * 0.59), fill=tone[3])
    draw.rectangle((28 + shift, height * 0.59, 56 + shift, height * 0.82), fill=tone[3])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return file.getvalue()


class Stand:
    """What a watch knows, and what it has told (`outbox`), been asked (`asked`) and been sent (`posted`)."""

    def __init__(self):
        self.cameras: dict[str, dict] = {}
        self.alarms: dict[str, dict] = {}
        self.spans: dict[str, dict] = {}  # by camera: what /api/span answers, where it is not made up
        self.gone: list[dict] = []  # cameras that were watched once
        self.outbox: list[tuple[str, object]] = []
        self.asked: list[tuple[float, str]] = []
        self.posted: list[tuple[str, dict]] = []
        self.token: str | None = None
        self.failing: str | None = None  # words with which a POST is refused
        self.clip: bytes = b""
        self.may_answer = threading.Event()  # about alarms
        self.may_answer.set()
        self.snippet = SNIPPET  # seconds
        self.n_listening = 0  # pages that follow the events

    def add(self, name: str, live: bool = True, state: str = "live", **fields) -> str:
        """A camera with five minutes of scores; returns its id."""
        number = len(self.cameras)
        key, now = f"c{number:x}", time.time()
        times = (
            [(now if live else 300.0) - i * SNIPPET for i in range(560, 0, -1)] if state not in ("waiting", "failed") else []
        )
        scores = [[round(at, 3), score_at(number, at)] for at in times]
        last = scores[-1] if scores else [None, None]
        shown = dict(score=last[1], at=last[0], alarm=None, dropped=0, delay=0.4, picture=1 if scores else 0, scores=scores)
        source = f"rtsp://***@10.0.0.{number}/main" if live else f"videos/{number}.mp4"
        known = dict(id=key, name=name, source=source, live=live, state=state, since=now - 4000, text="")
        self.cameras[key] = known | shown | fields
        return key

    def change(self, key: str, **fields) -> None:
        """Fields of a camera are new; `scores` are points to add."""
        camera, points = self.cameras[key], fields.pop("scores", None)
        camera |= fields
        if points is not None:
            camera["scores"] = [*camera["scores"], *points][-560:]
            fields |= dict(scores=points, score=points[-1][1], at=points[-1][0])
            camera |= dict(score=points[-1][1], at=points[-1][0])
        self.outbox.append(("cameras", [{"id": key} | fields]))

    def alarm(self, key: str, ago: float = 0.0, lasts: float | None = 8.0, tell: bool = True, **fields) -> dict:
        """An alarm of a camera, `ago` seconds before now (of a file: at that second); None lasts still."""
        camera, number, now = self.cameras[key], len(self.alarms) + 1, time.time()
        start, live = (now - ago if camera["live"] else ago), camera["live"]
        places = dict(start=start, peak=start + 2, end=None if lasts is None else start + lasts)
        walls = {f"wall_{name}": at if live else None for name, at in places.items()}
        known = dict(id=f"a{number:x}", number=number, camera=key, name=camera["name"], live=live, score=0.97, exit_layer=2)
        rest = dict(raised_at=now - ago if live else now, picture=True, clip=lasts is not None, acknowledged=None, note="")
        return self.tell(known | places | walls | rest | fields, tell)

    def tell(self, alarm: dict, tell: bool = True) -> dict:
        """An alarm is new or has changed."""
        self.alarms[alarm["id"]] = alarm
        if tell:
            self.outbox.append(("alarms", [dict(alarm)]))
        return alarm

    def found(self, asked: dict) -> dict:
        """What /api/alarms answers: newest first, 50 at a time."""
        since, until = float(asked.get("since", 0)), float(asked.get("until", "inf"))
        before, open_alone = float(asked.get("before", "inf")), asked.get("open") == "1"

        def end(alarm: dict) -> float:
            return alarm["wall_end"] or (math.inf if alarm["end"] is None else alarm["wall_start"] or alarm["raised_at"])

        fits = [
            alarm
            for alarm in sorted(self.alarms.values(), key=lambda alarm: -alarm["number"])
            if asked.get("camera", alarm["camera"]) == alarm["camera"]
            and (alarm["wall_start"] or alarm["raised_at"]) <= until
            and since <= end(alarm)
            and alarm["number"] < before
            and not (open_alone and alarm["acknowledged"])
        ]
        n_open = sum(not alarm["acknowledged"] for alarm in self.alarms.values())
        return {"alarms": fits[:50], "more": len(fits) > 50, "open": n_open}

    def span(self, asked: dict) -> dict:
        """What /api/span answers: a bar a minute of a live camera, a snippet of a file."""
        key = asked["camera"]
        camera, seed = self.cameras[key], int(key[1:], 16)
        begin, end = float(asked.get("from", 0)), float(asked.get("until", 300))
        step = max((end - begin) / 1440, SNIPPET)
        now = time.time() if camera["live"] else 300.0
        places = [begin + i * step for i in range(1440) if begin + i * step < min(end, now)]
        down = [[begin + 30000, begin + 34000], [begin + 61000, begin + 61900]] if camera["live"] else []
        scores = [[at, max(score_at(seed, at + j * step / 4) for j in range(3)) ** 1.5] for at in places]
        scores = [point for point in scores if not any(a <= point[0] < b for a, b in down)]
        alarms = [alarm for alarm in self.alarms.values() if alarm["camera"] == key and begin <= alarm["start"] < end]
        made = {
            "name": camera["name"],
            "from": begin,
            "until": end,
            "step": step,
            "scores": scores,
            "alarms": alarms,
            "down": down,
        }
        return self.spans.get(key, made)

    def tick(self) -> None:
        """A second passes: each live camera has new scores, and a picture now and then."""
        now, told = time.time(), []
        for number, camera in enumerate(self.cameras.values()):
            if camera["live"] and camera["state"] in ("live", "behind"):
                points = [[round(now - SNIPPET, 3), score_at(number, now - SNIPPET)], [round(now, 3), score_at(number, now)]]
                fields = dict(picture=camera["picture"] + 1, delay=round(0.3 + 0.2 * random.random(), 2))
                self.change(camera["id"], scores=points, **fields)
                told += self.outbox.pop()[1]
        self.outbox.append(("cameras", told))


class Answers:
    """What a stand answers to each request."""

    def __init__(self, stand: Stand):
        self.stand, self.ends = stand, False

    def page(self, request):
        return self.file(PAGE / request.path_params.get("name", "index.html"))

    def file(self, path: Path):
        from starlette.responses import FileResponse

        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    def json(self, value, status: int = 200):
        from starlette.responses import JSONResponse

        return JSONResponse(value, status)

    def bytes(self, content: bytes, kind: str, status: int = 200):
        from starlette.responses import Response

        return Response(content, status, media_type=kind)

    async def login(self, request):
        from starlette.responses import RedirectResponse

        if request.method == "GET":
            return self.file(PAGE / "login.html")
        if (await request.body()).decode() != f"token={self.stand.token}":
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie("token", self.stand.token, httponly=True, samesite="strict")
        return answer

    def cameras(self, request):
        how = {"threshold": THRESHOLD, "snippet": self.stand.snippet}
        return self.json({"now": time.time(), **how, "gone": self.stand.gone, "cameras": list(self.stand.cameras.values())})

    def alarms(self, request):
        found = self.stand.found(dict(request.query_params))
        self.stand.may_answer.wait(10)
        return self.json(found)

    async def change(self, request):
        key, sent = request.path_params["key"], await request.json()
        self.stand.posted.append((key, sent))
        if self.stand.failing:
            return self.json({"error": self.stand.failing}, 409)
        alarm = self.stand.alarms[key]
        if "acknowledged" in sent:
            alarm["acknowledged"] = time.time() if sent["acknowledged"] else None
        alarm["note"] = sent.get("note", alarm["note"])
        return self.json(self.stand.tell(alarm))

    def span(self, request):
        return self.json(self.stand.span(dict(request.query_params)))

    def last_picture(self, request):
        key = request.path_params["key"]
        if key not in self.stand.cameras:
            return self.bytes(b"no such camera", "text/plain", 404)
        return self.bytes(picture(int(key[1:], 16), self.stand.cameras[key]["picture"]), "image/jpeg")

    def picture(self, request):
        alarm = self.stand.alarms[request.path_params["key"]]
        return self.bytes(picture(int(alarm["camera"][1:], 16), 7 * alarm["number"]), "image/jpeg")

    def clip(self, request):
        return self.bytes(self.stand.clip, "video/mp4")

    def events(self, request):
        from starlette.responses import StreamingResponse

        return StreamingResponse(self.told(), media_type="text/event-stream")

    async def told(self):
        stand = self.stand  # of this test: a page of the one before may leave after the next has begun
        seen = len(stand.outbox)
        stand.n_listening += 1
        try:
            yield ": here\n\n"
            while not self.ends:
                news, seen = stand.outbox[seen:], len(stand.outbox)
                for name, data in news:
                    yield f"event: {name}\ndata: {json.dumps(data)}\n\n"
                await asyncio.sleep(0.03)
        finally:
            stand.n_listening -= 1

    async def guard(self, request, call_next):
        """A token where one is needed; what may be loaded, as the server says it."""
        from starlette.responses import RedirectResponse

        token, path = self.stand.token, request.url.path
        self.stand.asked.append((time.time(), path))
        if token and path != "/login" and request.cookies.get("token") != token:
            return RedirectResponse("/login", 303) if path == "/" else self.bytes(b"a token is needed", "text/plain", 401)
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    def app(self):
        """The Starlette application."""
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.routing import Route

        paths = {
            "/": self.page,
            "/page/{name}": self.page,
            "/api/cameras": self.cameras,
            "/api/alarms": self.alarms,
            "/api/span": self.span,
            "/cameras/{key}.jpg": self.last_picture,
            "/pictures/{key}.jpg": self.picture,
            "/clips/{key}.mp4": self.clip,
            "/events": self.events,
        }
        routes = [Route(path, answer) for path, answer in paths.items()]
        routes += [
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/api/alarms/{key}", self.change, methods=["POST"]),
        ]
        return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=self.guard)])


class Server:
    """A stand's server in a thread of its own: `with Server(stand) as server: server.url`; stopped, it can be started again."""

    def __init__(self, stand: Stand, port: int = 0):
        self.stand, self.port = stand, port

    def start(self) -> None:
        import uvicorn

        listening = socket.create_server(("127.0.0.1", self.port))  # listens before the page asks
        self.port = listening.getsockname()[1]
        self.answers = Answers(self.stand)
        config = uvicorn.Config(self.answers.app(), log_level="warning", timeout_graceful_shutdown=2)
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, args=([listening],), name="stand-in")
        self.thread.start()

    def stop(self) -> None:
        self.answers.ends = self.uvicorn.should_exit = True
        self.thread.join()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def drawn_clip() -> bytes:
    """Two seconds of the walk, as MP4, coded as alarms' clips are. Needs PyAV."""
    sys.path.insert(0, str(ROOT))
    from watching.evidence import Jpeg, write_pictures

    with tempfile.TemporaryDirectory() as folder:
        write_pictures([Jpeg(i / 10, picture(0, 3 * i)) for i in range(20)], Path(folder, "clip.mp4"))
        return Path(folder, "clip.mp4").read_bytes()


def furnished(n_cameras: int) -> Stand:
    """Cameras of every state, and alarms of three days."""
    stand = Stand()
    states = [("live", ""), ("behind", "12 snippets wait"), ("down", "connection refused; next try in 3.1 s"), ("waiting", "")]
    states += [("ended", ""), ("failed", "no video stream in it"), ("live", "")]
    places = ("door", "yard", "gate", "stairs", "hall", "ramp", "dock")
    for i in range(n_cameras):
        state, text = states[i % 7] if i < 7 or i % 31 == 0 else states[0]
        name = f"{places[i % 7]} {i // 7 + 1}"
        stand.add(name, live=state not in ("ended", "failed"), state=state, text=text, dropped=3 * (state == "behind"))
    keys = list(stand.cameras)
    for i in range(70):
        key, done = keys[i * i % len(keys)], time.time() - 3000 if i < 60 and i % 3 else None
        stand.alarm(key, ago=200 if not stand.cameras[key]["live"] else 260000 * (1 - i / 70) ** 2 + 90, acknowledged=done)
    stand.cameras[keys[0]]["alarm"] = stand.alarm(keys[0], ago=42, lasts=None, note="the postman?")["id"]
    door = stand.cameras[keys[0]]
    door["scores"][-80:] = [[at, 0.97 - 0.05 * math.cos(at)] for at, _ in door["scores"][-80:]]
    door["score"] = door["scores"][-1][1]
    return stand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=12)
    parser.add_argument("--port", type=int, default=8123)
    args = parser.parse_args()
    stand = furnished(args.cameras)
    stand.clip = drawn_clip()
    with Server(stand, args.port) as server:
        print(server.url)
        try:
            while True:
                time.sleep(1)
                stand.tick()
        except KeyboardInterrupt:
            stand.outbox.append(("stopping", {}))
            time.sleep(0.2)


if __name__ == "__main__":
    main()
