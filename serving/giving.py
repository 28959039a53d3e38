"""From the flags of a watch to what it gives others: a page, and sinks of its messages."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from option import flag_of
from serving.mqtt import Broker
from serving.server import Address, Encryption, Server
from serving.webhook import Webhook
from watching.flags import SECRETS
from watching.outbox import Sink


def asked(args: Namespace) -> dict[str, str]:
    """What the flags ask for, read from where they say. Raises ValueError or OSError, also where one would be ignored."""
    given = {name: text for name in (*SECRETS, "tls_cert", "tls_key") if (text := getattr(args, name)) is not None}
    for name, other in (("token", "serve"), ("tls_cert", "serve"), ("tls_key", "tls_cert")):
        if name in given and other not in given:
            raise ValueError(f"{flag_of(name)} would be ignored without {flag_of(other)}; leave it out, or give both")
    return {name: secret(name, text) if name in SECRETS else text for name, text in given.items()}


def secret(name: str, text: str) -> str:
    """A flag's text, or what the file holds that it names as @FILE: what stands in a command, others can see."""
    if not text:
        raise ValueError(f"--{name} is empty; leave it out, or give what it is to be")
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
    tls = Encryption(given["tls_cert"], given.get("tls_key")) if "tls_cert" in given else None
    with Server(Address.of(given["serve"]), given.get("token"), tls) as bound:
        yield bound


def sinks(given: dict[str, str], folder: Path) -> list[Sink]:
    """Of the watch in this folder. Raises ValueError where an address is none."""
    kinds = {"webhook": Webhook, "mqtt": partial(Broker, folder=folder)}
    return [kind(given[name]) for name, kind in kinds.items() if name in given]
