"""What a watch prints: whoever reads it, or does not, stops nothing."""

import os
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from running.command import exit_codes
from watching import printing

LINES = [f"{number} {'ü' * 100}" for number in range(8000)]  # more than waits for a reader
UNREAD = "lines that were to be printed are left out: nobody reads them"


@contextmanager
def piped(path):
    """Whoever reads what the block prints; its stderr is this file."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, encoding="utf-8") as reader,
        os.fdopen(writing, "w") as out,
        path.open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
        printing.unwaiting(),
    ):
        yield reader


@pytest.fixture
def err(monkeypatch, tmp_path):
    monkeypatch.setattr(printing, "PATIENCE", 0.2)
    return tmp_path / "err"


def test_who_does_not_read_stops_nothing(err):
    """Of `watch.py --json | program` where the program hangs, every turn waited for it, and so did Ctrl-C."""
    with piped(err):
        for line in LINES:
            print(line)
    unread, *words = err.read_text().split()
    assert 7000 < int(unread) < 8000 and " ".join(words) == UNREAD


def test_all_that_is_read_is_there_in_its_order(err):
    with piped(err) as reader:
        for line in LINES[:400]:
            print(line)
            assert reader.readline() == f"{line}\n"
    assert not err.read_text()


def test_lines_are_left_out_until_somebody_reads_again(err):
    with piped(err) as reader:
        for line in LINES:
            print(line)
        read = [reader.readline() for _ in range(4000)]
        print("again")
        while read[-1] != "again\n":
            read.append(reader.readline())
    read = [line.rstrip("\n") for line in read[:-1]]  # whole, in their order; which ones is a matter of who was quicker
    numbers = [int(line.split()[0]) for line in read]
    assert numbers == sorted(set(numbers)) and read == [LINES[number] for number in numbers]
    assert 4000 < len(read) < 8000 and err.read_text() == f"{len(LINES) - len(read)} {UNREAD}\n"


def test_a_last_line_that_cannot_be_written_is_an_error(err):
    with (
        pytest.raises(SystemExit) as ended,
        open("/dev/full", "w") as full,
        err.open("w") as said,
        redirect_stdout(full),
        redirect_stderr(said),
        printing.unwaiting(),
        exit_codes(),
    ):
        print("the last one")
    assert ended.value.code == 2 and "error: [Errno 28]" in err.read_text()


def test_a_reader_that_is_gone_is_an_error(err):
    with pytest.raises(BrokenPipeError), piped(err) as reader:
        reader.close()
        while True:
            print("to nobody")
            time.sleep(0.001)
    assert not err.read_text()
