"""How a watch is doing, for programs: whether it goes round, and its figures as Prometheus reads them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from files.extra import needed
from serving.board import Board
from watching.watched import DOWN, Watched

STUCK = 60.0  # seconds without a turn
# of each camera, if it has one: the metric, whether it only grows, its help, its value
OF_CAMERA: tuple[tuple[str, bool, str, Callable[[Watched], float | None]], ...] = (
    ("up", False, "1 = frames come, or a file has ended", lambda of: of.state not in (*DOWN, "waiting")),
    ("frames", True, "frames decoded", lambda of: of.figures().n_frames),
    ("dropped_snippets", True, "dropped, for lack of time", lambda of: of.figures().n_dropped),
    ("opened", True, "times that the source was opened", lambda of: of.figures().n_opened),
    ("frame_age_seconds", False, "since its last frame", lambda of: age_of(of)),
    ("snippets", True, "snippets scored", lambda of: of.n_scored),
    ("delay_seconds", False, "from the end of a live snippet until its score was known", lambda of: of.delay),
    ("score", False, "the last one", lambda of: of.recent[-1][1] if of.recent else None),
    ("alarm", False, "1 = one lasts", lambda of: of.figures().alarm is not None),
)  # fmt: skip


def age_of(watched: Watched) -> float | None:
    """Seconds since a camera's last frame, if it has had one."""
    figures = watched.figures()
    return time.time() - figures.seen_at if figures.n_frames else None


def health(board: Board) -> dict[str, Any]:
    """Whether the watch goes round, and how many cameras are down: that alone is no reason to start it anew."""
    states = [watched.state for watched in board.watching.watched.values()]
    silent = time.monotonic() - board.watching.alive_at
    status = {"status": "ok"} if silent < STUCK else {"status": f"no turn for {silent:.0f} s"}
    return status | {"cameras": len(states), "down": sum(state in DOWN for state in states)}


class Collector:
    """The figures of a watch, asked for when they are scraped."""

    def __init__(self, board: Board):
        self.board, self.watching = board, board.watching

    def collect(self) -> Iterator[Any]:
        core = needed("prometheus_client.core", "serve")
        watched = self.watching.watched
        for name, grows, text, value_of in OF_CAMERA:
            kind = core.CounterMetricFamily if grows else core.GaugeMetricFamily
            family = kind(f"lshma_camera_{name}", text, labels=["camera"])
            for camera, of in watched.items():
                if (value := value_of(of)) is not None:
                    family.add_metric([camera], float(value))
            yield family
        spent = core.CounterMetricFamily("lshma_seconds", "spent on the encoder and on the model", labels=["on"])
        for what, seconds in self.watching.spent.seconds.items():
            spent.add_metric([what], seconds)
        yield spent
        yield core.CounterMetricFamily("lshma_batches", "turns of all cameras together", value=self.watching.spent.n_turns)
        yield core.GaugeMetricFamily("lshma_open_alarms", "that nobody has acknowledged", value=self.board.n_open())
        waiting = sum(of.figures().n_waiting or 0 for of in watched.values())
        yield core.GaugeMetricFamily("lshma_waiting_snippets", "decoded, not taken yet", value=waiting)
        unsent = core.GaugeMetricFamily("lshma_unsent", "whether messages wait for a sink", labels=["sink"])
        for sender in self.watching.outbox.senders:
            unsent.add_metric([sender.sink.name], float(sender.taken < sender.last))
        yield unsent


def metrics(board: Board) -> tuple[bytes, str]:
    """The page that Prometheus scrapes, and its type."""
    client = needed("prometheus_client", "serve")
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(Collector(board))
    return client.generate_latest(registry), client.CONTENT_TYPE_LATEST
