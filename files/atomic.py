"""Files are written whole or not at all: to a temporary name, flushed to the disk, then renamed over the old one."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to replace `path`: it does so when the block ends, and vanishes if the block fails.

    Raises OSError where the disk or the folder refuses; `path` is then as it was.
    """
    path = Path(os.path.realpath(path))  # of a link what it points to
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror:  # else it has been told already, of another file
            raise OSError(f"{path}: not written ({error.strerror}); what was there before is as it was") from error
        raise


def sweep(folder: Path, pattern: str = ".*.tmp") -> None:
    """Remove what processes that were killed while they wrote left in this folder; no other process may be writing there.

    pattern: of the files, as `Path.glob` takes it.
    """
    for unfinished in folder.glob(pattern):
        if re.search(r"\.[0-9]+\.tmp$", unfinished.name):  # as `replacing` names it
            unfinished.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by this text."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace `path` by this content."""
    with replacing(path) as file:
        file.write(content)
