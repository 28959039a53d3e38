"""Printing that waits for nobody: a pager that stands still, or a program that hangs, must not stop a watch."""

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

MOST = 1 << 20  # bytes that wait for their reader; lines beyond are left out
AT_ONCE = 4096  # bytes written in one go
PATIENCE = 3.0  # seconds that what waits has in the end


class Unwaiting(io.TextIOBase):
    """A stream like `out` that a thread of its own writes, as its reader takes it."""

    def __init__(self, out: TextIO):
        """Raises OSError where `out` is of no file."""
        self.out, self.descriptor = out, out.fileno()
        self.waits, self.changed = bytearray(), threading.Condition()
        self.left_out, self.full, self.begins = 0, False, True  # lines; whether this one is; whether a text begins a line
        self.failed: OSError | None = None
        self.patience = PATIENCE
        threading.Thread(target=self.pass_on, name="printer", daemon=True).start()

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        """Raises OSError where what was written before has failed."""
        with self.changed:
            if self.failed:
                raise self.failed
            if self.begins:
                self.full = len(self.waits) > MOST
            self.begins = text.endswith("\n")
            if self.full:
                self.left_out += text.count("\n")
            else:  # a name that the terminal cannot show must not end the work
                self.waits += text.encode(self.out.encoding, "backslashreplace")
            self.changed.notify_all()
        return len(text)

    def pass_on(self) -> None:
        """The thread, which holds nothing that others need while it waits."""
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: self.waits)
                    some = bytes(self.waits[:AT_ONCE])
                n = os.write(self.descriptor, some)
                with self.changed:
                    del self.waits[:n]
                    self.changed.notify_all()
        except OSError as error:
            with self.changed:
                self.failed = error
                self.changed.notify_all()

    def flush(self) -> None:
        """Wait a while until all is written, once. Raises OSError where that has failed."""
        with self.changed:
            self.changed.wait_for(lambda: self.failed or not self.waits, self.patience)
            self.patience = 0.0
            if self.failed:
                raise self.failed

    def unread(self) -> int:
        """How many lines were left out, or still wait in a while; of a reader that is gone none."""
        with suppress(OSError):
            self.flush()
        with self.changed:
            return 0 if isinstance(self.failed, BrokenPipeError) else self.left_out + self.waits.count(b"\n")


@contextmanager
def unwaiting() -> Iterator[None]:
    """In the block what is printed waits for no reader; says in the end how many lines nobody has read."""
    streams: list[Unwaiting] = []
    with ExitStack() as stack:
        for redirect, out in ((redirect_stdout, sys.stdout), (redirect_stderr, sys.stderr)):
            with suppress(OSError, AttributeError):  # of no file, or none at all: nobody to wait for
                streams.append(Unwaiting(out))
                stack.enter_context(redirect(streams[-1]))
        try:
            yield
        finally:
            for stream in streams:
                if n := stream.unread():
                    print(f"{n} lines that were to be printed are left out: nobody reads them", file=sys.stderr)
