"""What has changed on the board, about once a second, to all browsers that listen: server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from serving.board import Board, camera_of, recent
from watching.watched import Watched

EVERY = 1.0  # seconds
SILENT = 15.0  # seconds without an event, after which a line says that the connection lives
UNSETTLED = 300.0  # seconds in which an alarm's clip may come
MOST = 30  # events that a browser has not taken yet; one that takes none is let go, and comes again


class News:
    """The changes of a board."""

    def __init__(self, board: Board):
        self.board = board
        self.listeners: set[asyncio.Queue[str | None]] = set()
        self.cameras: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, int] = {}  # scores of each camera that have been told
        self.alarms: dict[str, dict[str, Any]] = {}
        self.number: int | None = None  # of the newest alarm that was seen; None = nobody has looked
        self.oldest = 0  # of the oldest one that was kept
        self.changed: list[dict[str, Any]] = []  # alarms that were acknowledged, or noted on

    def whole(self) -> str:
        """All cameras with their last scores, as JSON: made in pieces, or scoring would wait till all is written."""
        now = time.time()
        cameras = [json.dumps(camera_of(of, now) | {"scores": recent(of)}) for of in self.board.watched().values()]
        about = {"now": now, "gone": self.board.gone()} | self.board.how()
        return f'{json.dumps(about)[:-1]}, "cameras": [{", ".join(cameras)}]}}'

    def touched(self, alarm: dict[str, Any]) -> None:
        self.changed.append(alarm)

    async def run(self) -> None:
        """Look, and tell, for ever."""
        while True:
            try:
                events = await asyncio.to_thread(self.look)
            except Exception as error:  # as where events.db cannot be read now: a page that stands still would be believed
                events = [event("trouble", {"error": str(error) or type(error).__name__})]
            self.tell(events)
            await asyncio.sleep(EVERY)

    def tell(self, events: list[str]) -> None:
        for listener in list(self.listeners):
            for event in events:
                if listener.qsize() < MOST:
                    listener.put_nowait(event)
                else:
                    self.listeners.discard(listener)
                    listener.put_nowait(None)
                    break

    def look(self) -> list[str]:
        """What is to be told since the last look. Raises OSError or ValueError; then the next one tells it."""
        watched, moment, oldest = self.board.watched(), time.time(), self.board.oldest()
        unsettled = [id for id, alarm in self.alarms.items() if is_unsettled(alarm, moment)]
        alarms = {alarm["id"]: alarm for alarm in self.board.news(self.number, unsettled)}
        counts = {id: of.n_scored for id, of in watched.items()}  # before scores: what comes meanwhile is told twice, not never
        now, before = {id: camera_of(of, moment) for id, of in watched.items()}, self.cameras
        gone = oldest > self.oldest > 0  # alarms that were kept long enough
        events = [event("list", {"alarms": gone})] if gone or now.keys() != before.keys() else []
        changes = [self.change(watched[id], camera, before[id]) for id, camera in now.items() if id in before]
        if changes := [change for change in changes if len(change) > 1]:
            events.append(event("cameras", changes))
        touched, self.changed = self.changed, []
        new = {id: alarm for id, alarm in alarms.items() if self.alarms.get(id) != alarm}
        new |= {alarm["id"]: alarm for alarm in touched if alarm["id"] not in alarms}
        self.cameras, self.counts, self.alarms, self.oldest = now, counts, alarms, oldest
        self.number = max([self.number or 0, *(alarm["number"] for alarm in alarms.values())])
        return [*events, event("alarms", [*new.values()])] if new else events

    def change(self, watched: Watched, camera: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        """What of a camera has changed, and its new scores."""
        change = {name: value for name, value in camera.items() if before[name] != value}
        scores = recent(watched, self.counts.get(camera["id"], 0)) if "at" in change else []
        return {"id": camera["id"]} | change | ({"scores": scores} if scores else {})

    async def to_one(self) -> AsyncIterator[str]:
        """The events of one browser, until it goes or the watch ends."""
        listener: asyncio.Queue[str | None] = asyncio.Queue()
        self.listeners.add(listener)
        try:
            yield "retry: 2000\n\n"
            while True:
                try:
                    told = await asyncio.wait_for(listener.get(), SILENT)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if told is None:
                    return
                yield told
        finally:
            self.listeners.discard(listener)

    def stop(self) -> None:
        """The watch ends."""
        for listener in list(self.listeners):
            listener.put_nowait(event("stopping", {}))
            listener.put_nowait(None)


def is_unsettled(alarm: dict[str, Any], now: float) -> bool:
    """Whether more may come of an alarm: it lasts, or its clip is on its way."""
    return alarm["end"] is None or (not alarm["clip"] and now - (alarm["wall_end"] or alarm["raised_at"]) < UNSETTLED)


def event(kind: str, content: Any) -> str:
    """A server-sent event; JSON has no line breaks."""
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n"
