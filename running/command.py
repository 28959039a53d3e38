"""How a command begins and ends: its options, which process of torchrun it is, what it says of bad input, its exit code."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

from option import parse


class Launch(NamedTuple):
    """Which of the processes that torchrun started this one is."""

    rank: int = 0
    n: int = 1
    local_rank: int = 0  # of those on this machine
    n_local: int = 1


def launched() -> Launch:
    """As torchrun's environment says; without torchrun, one process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Launch(*(int(os.environ[name]) for name in names)) if "TORCHELASTIC_RUN_ID" in os.environ else Launch()


@contextmanager
def said_once() -> Iterator[None]:
    """What all processes find alike, the first one says; the others end with 0, since torchrun ends all when one fails."""
    if launched().rank == 0:
        yield
        return
    try:
        with redirect_stdout(None), redirect_stderr(None):
            yield
    except SystemExit:
        sys.exit()


@contextmanager
def exit_codes(*, of_many: bool = False) -> Iterator[None]:
    """Bad input ends as one message and exit code 2, a stop by the user as 130.

    of_many: whether several processes, of torchrun, do this work together.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end the work
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # and in a log file a line is there at once
    try:
        if launched().n > 1 and not of_many:
            if launched().rank:
                sys.exit()
            raise ValueError(f"torchrun started {launched().n} processes, and only a training divides its work; use python")
        yield
        print(end="", flush=True)  # also where there is no stdout
    except BrokenPipeError as gone:  # who reads has enough, as `head` has
        if gone.errno is None:  # there is more to say, as how a training goes on
            print(f"error: {gone}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(stop.args[0] if stop.args else "stopped", file=sys.stderr)
        sys.exit(130)


def run(
    work: Callable[[Namespace], None], parser: ArgumentParser, arguments: Sequence[str] | None = None, *, of_many: bool = False
) -> None:
    """Parse the command line and do the work. Exits with 2 on bad input, 130 where the user stopped it; of_many: as there."""
    with said_once():
        options = parse(parser, arguments)
    with exit_codes(of_many=of_many):
        work(options)
