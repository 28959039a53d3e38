"""How far a long loop is: a bar in a terminal; else, as in a log file, a plain line every half minute."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

SECONDS = 30.0  # between two lines


class Lines:
    """A stream to which a bar writes each of its states as a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def bar(iterable: Iterable | None, what: str, total: int, **how) -> tqdm:
    """A tqdm bar, or its lines: what, how many of how many, the rate, and the time left. `how` are tqdm's own options."""
    if not sys.stderr.isatty():
        how |= {"file": Lines(), "mininterval": SECONDS, "miniters": 1, "delay": SECONDS, "bar_format": "{desc}: {n_fmt} of "
                "{total_fmt}{postfix}, {rate_fmt}, {remaining} left"}  # fmt: skip
    return tqdm(iterable, what, total, leave=False, **how)
