"""From the flags of a watch to what it gives others: a page, and sinks of its messages."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.mqtt import Broker
from serving.server import Address, Server
from serving.webhook import Webhook
from video.outbox import Sink


def asked(args: Namespace) -> dict[str, str]:
    """What the flags ask for, read from where they say. Raises ValueError or OSError, also where one would be ignored."""
    given = {name: secret(name, text) for name in ("serve", "token", "webhook", "mqtt") if (text := getattr(args, name))}
    if "token" in given and "serve" not in given:
        raise ValueError("--token would be ignored without --serve; leave it out, or give --serve PORT")
    return given


def secret(name: str, text: str) -> str:
    """A flag's text, or what the file holds that it names as @FILE: what stands in a command, others can see."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        lines = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected one line of text for --{name} ({error})") from error
    except OSError as error:
        raise type(error)(f"{path}: not read for --{name} ({error.strerror})") from error
    if len(lines) != 1:
        raise ValueError(f"{path}: expected one line without spaces for --{name}, found {len(lines)} words")
    return lines[0]


@contextmanager
def server(given: dict[str, str]) -> Iterator[Server | None]:
    """The page's server, bound, where one is asked for. Raises ValueError or OSError."""
    if "serve" not in given:
        yield None
        return
    with Server(Address.of(given["serve"]), given.get("token")) as bound:
        yield bound


def sinks(given: dict[str, str]) -> list[Sink]:
    """Raises ValueError where an address is none."""
    return [kind(given[name]) for name, kind in (("webhook", Webhook), ("mqtt", Broker)) if name in given]
