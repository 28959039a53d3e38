"""The webhook: each message is the JSON body of an HTTP POST to one address.

Taken is what is answered with 2xx. 400, 413 and 422 say that the message itself is not wanted: it is left out. All else, as
where nobody answers, is tried again, not before a `Retry-After`.
"""

import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from files.extra import needed
from video.address import masked
from watching.alarms import Alarm
from watching.outbox import Later

LATEST = 3600.0  # seconds that are waited where the answer asks for more
TIMEOUT = 10.0  # seconds to connect, and to wait for each part of the answer
NOT_WANTED = (400, 413, 422)


class Webhook:
    """A sink. A name and a password in the address are sent as the header Authorization."""

    name = "webhook"

    def __init__(self, url: str):
        """Raises ValueError where the address is none of HTTP."""
        httpx = needed("httpx", "serve")
        try:
            address = httpx.URL(url)
            address.host.encode("idna")  # as is done to connect
        except (httpx.InvalidURL, UnicodeError):  # what they say may hold the password
            what = "no address; expected http:// or https://, and of / ? # @ in a password %2F %3F %23 %40"
            raise ValueError(f"--webhook {masked(url)}: {what}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"--webhook {masked(url)}: expected an address that begins with http:// or https:// and a host")
        self.url, self.shown = url, f"{address.scheme}://{address.host}"  # paths are secrets, as of Slack's
        self.client, self.problems = httpx.Client(timeout=TIMEOUT), (httpx.HTTPError, httpx.StreamError)

    def begin(self, lasting: Iterable[Alarm], cameras: Iterable[str]) -> None:
        """As Sink.begin; a message says all by itself."""

    def send(self, message: Mapping[str, Any]) -> None:
        """As Sink.send."""
        try:
            with self.client.stream("POST", self.url, json=dict(message)) as answer:
                pass  # what more it says is not read, and may never end
        except self.problems as error:
            raise OSError(f"{self.shown}: {str(error) or type(error).__name__}") from error
        if answer.is_success:
            return
        said = f"{self.shown}: answered {answer.status_code} {answer.reason_phrase}".rstrip()
        if answer.status_code in NOT_WANTED:
            raise ValueError(said)
        raise Later(said, seconds_of(answer.headers.get("retry-after", "")))

    def close(self) -> None:
        self.client.close()


def seconds_of(text: str) -> float:
    """What Retry-After says, in seconds or as a date; 0 where it says nothing."""
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LATEST)
