"""The server of the page: a thread beside the watch, from a socket that was free when the watch began.

with Server(address, token, tls) as server:  # bound: a port that is taken is told before anything is watched
    server.start(watching)
"""

import asyncio
import os
import socket
import ssl
import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from files.extra import needed
from serving.access import HERE, IDLE
from serving.app import application
from serving.board import Board
from serving.news import News
from watching.roster import Roster

RENEWED_EVERY = 60.0  # seconds between two looks at the certificate
MOST = 256  # connections, each of which has to ask something in IDLE seconds
ENDING = 3.0  # seconds that browsers have to hear that the watch ends


class Address(NamedTuple):
    """Where the page is."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> "Address":
        """`8080`, `0.0.0.0:8080`, `[::]:8080`. Raises ValueError."""
        host, _, port = text.rpartition(":")
        if not (port.isdecimal() and int(port) < 2**16 and len(port) < 6):
            raise ValueError(f"--serve {text}: expected a port, 8080, or an address of this machine and a port, 0.0.0.0:8080")
        return cls(host.removeprefix("[").removesuffix("]") or HERE[0], int(port))

    @property
    def shown(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def here(self) -> bool:
        """Whether this machine alone reaches it, by a name that the page answers to without a token."""
        return self.shown in HERE


class Encryption:
    """TLS by the certificate and the key of PEM files, which are read again when they are renewed."""

    def __init__(self, cert: str, key: str | None):
        """Raises ValueError or OSError that names them."""
        self.given = {"--tls-cert": cert} | ({"--tls-key": key} if key is not None else {})
        self.stamps: list[int] = []
        self.renew()
        self.context = self.now  # the one that a server keeps, which hands each connection on to that of now
        self.context.sni_callback = self.hand_on

    def hand_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self.now

    def renew(self) -> None:
        """Read them if they were written since; who is connected stays so. Raises ValueError or OSError, nothing changed."""
        stamps = []
        for flag, path in self.given.items():
            try:
                open(path, "rb").close()
                stamps.append(os.stat(path).st_mtime_ns)
            except OSError as error:
                raise type(error)(f"{flag} {path}: {error.strerror}") from error
        if stamps == self.stamps:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # in the old one a key of another kind would stay beside the new
        try:
            context.load_cert_chain(*self.given.values(), password="")  # nobody is asked for a key's on the terminal
        except OSError as error:
            said = " ".join(f"{flag} {path}" for flag, path in self.given.items())
            raise ValueError(f"{said}: expected a certificate and its key, without a password, as PEM ({error})") from error
        self.stamps, self.now = stamps, context

    async def renewed(self) -> None:
        """Look for ever; that they cannot be read is said once."""
        said = ""
        while True:
            await asyncio.sleep(RENEWED_EVERY)
            try:
                self.renew()
                said = ""
            except (ValueError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    print(f"{said}; the page goes on with those of before", file=sys.stderr)


def bounded() -> type:
    """uvicorn's protocol with at most MOST connections, of which one that asks nothing ends: they are files, as cameras are.

    With TLS they count from the end of their handshake, for which asyncio gives them a minute.
    """

    class Bounded(needed("uvicorn.protocols.http.h11_impl", "serve").H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MOST:
                transport.abort()
            # as after an answer: it ends what comes too late
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

        def data_received(self, data: bytes) -> None:
            """A whole request ends the waiting, and not, as uvicorn has it, its first byte."""
            self.conn.receive_data(data)
            self.handle_events()

    return Bounded


class Server:
    """The server, and its socket."""

    def __init__(self, address: Address, token: str | None, tls: Encryption | None = None):
        """Raises ValueError where a token is missing, OSError where the port cannot be had."""
        self.uvicorn = needed("uvicorn", "serve")
        needed("starlette", "serve")
        needed("prometheus_client", "serve")
        if token is None and not address.here:
            raise ValueError(
                f"--serve {address.shown}:{address.port}: others than this machine could see the cameras; give --token @FILE, "
                f"a file that holds what they have to show, or serve {HERE[0]} alone: --serve {address.port}"
            )
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            self.socket = socket.create_server((address.host, address.port), family=family)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise OSError(f"--serve {address.shown}:{address.port}: {why}; choose another port or address") from error
        self.token, self.tls = token, tls
        self.url = f"http{'s' * bool(tls)}://{address.shown}:{self.socket.getsockname()[1]}/"
        self.note = "" if tls or address.here else ", not encrypted: who is between can read the token; --tls-cert FILE"
        self.thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None  # while it serves

    def start(self, watching: Roster) -> None:
        """Serve the page of this watch."""
        board = Board(watching)
        self.news = News(board)
        how = {"log_level": "critical", "lifespan": "off", "timeout_graceful_shutdown": ENDING}
        how |= {"http": bounded(), "timeout_keep_alive": IDLE}
        how |= {"ssl_context_factory": lambda *_: self.tls.context} if self.tls else {}
        config = self.uvicorn.Config(application(board, self.news, self.token), **how)
        self.server = self.uvicorn.Server(config)
        self.thread = threading.Thread(target=asyncio.run, args=[self.serve()], name="page", daemon=True)
        self.thread.start()

    async def serve(self) -> None:
        """Until `stop`; what ends it before is said."""
        beside = [asyncio.create_task(self.news.run())]
        beside += [asyncio.create_task(self.tls.renewed())] if self.tls else []
        self.loop = asyncio.get_running_loop()
        try:
            await self.server.serve(sockets=[self.socket])
        finally:
            self.loop = None
            for task in beside:
                task.cancel()
            if not self.server.should_exit:
                print(f"{self.url} is served no more ({sys.exception() or 'its server has ended'})", file=sys.stderr)

    def __enter__(self) -> "Server":
        return self

    def stop(self) -> None:
        """Tell browsers that the watch ends, and end."""
        if self.thread:
            self.server.should_exit = True
            if loop := self.loop:
                with suppress(RuntimeError):  # it has ended meanwhile
                    loop.call_soon_threadsafe(self.news.stop)
            self.thread.join(ENDING + 1)

    def __exit__(self, *_: Any) -> None:
        self.stop()
        self.socket.close()
