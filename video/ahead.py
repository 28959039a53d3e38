"""An iterator's values, made in a thread of its own before they are asked for: a source decodes while its caller works."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import Any

POLL = 0.05  # seconds between two looks at whether the other side has ended


class Ahead(Iterator):
    """At most `n` values ahead; what the iterator raises is raised here, after the values before it."""

    def __init__(self, values: Iterator, n: int, name: str) -> None:
        self._queue: Queue = Queue(n)
        self._error: BaseException | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(values,), name=name, daemon=True)
        self._thread.start()

    def _work(self, values: Iterator) -> None:
        try:
            for value in values:
                if not self._put(value):
                    return
        except BaseException as error:
            self._error = error

    def _put(self, value: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(value, timeout=POLL)
                return True
            except Full:
                pass
        return False

    def __next__(self) -> Any:
        while True:
            alive = self._thread.is_alive()
            try:
                return self._queue.get(timeout=POLL if alive else 0)
            except Empty:
                if not alive:
                    break
        error, self._error = self._error, None
        raise error or StopIteration

    def close(self) -> None:
        """End the thread, at the latest when the value it is at is made."""
        self._closed.set()
        self._thread.join()
