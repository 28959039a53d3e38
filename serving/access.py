"""Who may see the page: this machine alone, or whoever shows the token; and what a browser may do with it.

A browser shows the token once, on the login page, and then a cookie; a program shows it as `Authorization: Bearer TOKEN`.
"""

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from files.extra import needed

MONTH = 30 * 86400
COOKIE, MOST_SHOWN = "lshma-", 8  # how its name begins; tokens in one request
OPEN = ("/login", "/healthz", "/page/")
# the Host names that mean this machine; others are refused: a foreign site could point its name here, and read the page
HERE = ("127.0.0.1", "localhost", "[::1]")
LONGEST, IDLE = 2**16, 5.0  # bytes of a request, and seconds that it may take
WRONG = 0.5  # seconds that a wrong token takes
POLICY = ("default-src 'self'", "img-src 'self' data:", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'")
HEADERS = {
    "content-security-policy": "; ".join(POLICY),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Access:
    """The door of an application."""

    def __init__(self, token: str | None, login_page: Path):
        self.token, self.login_page = token, login_page
        self.cookie = token and hashlib.sha256(f"lshma page {token}".encode()).hexdigest()
        # of another watch on this machine the browser has another one: ports do not tell cookies apart
        self.name = token and COOKIE + hashlib.sha256(self.cookie.encode()).hexdigest()[:8]
        self.guessing = asyncio.Lock()  # one at a time
        self.answers = needed("starlette.responses", "serve")

    def around(self, application: Any) -> Any:
        """The application behind this door: an ASGI application."""
        requests = needed("starlette.requests", "serve")

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await application(scope, receive, send)

            async def send_with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    there = {name for name, _ in message["headers"]}
                    added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
                    message = message | {"headers": [*message["headers"], *added]}
                await send(message)

            request = requests.Request(scope)
            refusal = None if self.token and scope["path"].startswith(OPEN) else self.refusal(request)
            if refusal and (n := guesses_in(request)) <= MOST_SHOWN:  # of more none was looked at
                await self.wait(n)
            await (refusal or application)(scope, receive, send_with_headers)

        return guarded

    def refusal(self, request: Any) -> Any:
        """The answer to one that may not see this; None = it may."""
        if self.token is None:
            host = request.headers.get("host", "")
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name in HERE:
                return None
            return self.answers.JSONResponse({"error": "this page answers as 127.0.0.1 or localhost alone"}, 403)
        bearer = request.headers.get("authorization", "").encode("latin-1").decode(errors="replace").removeprefix("Bearer ")
        if guesses_in(request) > MOST_SHOWN:
            return self.answers.JSONResponse({"error": "too many tokens; remove this page's cookies"}, 401)
        if same(bearer, self.token) or same(request.cookies.get(self.name, ""), self.cookie):
            return None
        if request.url.path == "/":
            return self.answers.RedirectResponse("/login", 303)
        return self.answers.JSONResponse({"error": "the token is missing, or another one: /login"}, 401)

    async def login(self, request: Any) -> Any:
        """The login page, and what it sends."""
        if self.token is None:
            return self.answers.RedirectResponse("/", 303)
        if request.method == "GET":
            return self.answers.FileResponse(self.login_page)
        given = parse_qs((await beginning(request)).decode(errors="replace")).get("token", [""])[0]
        if not same(given.strip(), self.token):
            await self.wait(1)
            return self.answers.RedirectResponse("/login?wrong", 303)
        answer = self.answers.RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        others = [name for name in request.cookies if name.startswith(COOKIE) and name != self.name]
        for name in others[: max(0, len(others) + 1 - MOST_SHOWN)]:  # of watches there were; more would be refused
            answer.delete_cookie(name)
        answer.set_cookie(self.name, self.cookie, max_age=MONTH, httponly=True, samesite="strict", secure=secure)
        return answer

    async def wait(self, n: int) -> None:
        """Let n wrong tokens take their time, however many are tried at once."""
        if n:
            async with self.guessing:
                await asyncio.sleep(n * WRONG)


def guesses_in(request: Any) -> int:
    """How many tokens a request shows: one as a program, and each of a page of a watch here or elsewhere."""
    return bool(request.headers.get("authorization")) + sum(name.startswith(COOKIE) for name in request.cookies)


async def beginning(request: Any) -> bytes:
    """What a request sends, but only so much as is of use: who sends more is not heard out.

    Raises TimeoutError where it does not come.
    """
    content = b""
    try:
        async with asyncio.timeout(IDLE):
            async for part in request.stream():
                content += part
                if len(content) > LONGEST:
                    break
    except TimeoutError:
        raise TimeoutError(f"what was to be sent has not come within {IDLE:g} s") from None
    return content


def same(given: str, token: str) -> bool:
    """Whether both are alike, in a time that does not tell how far."""
    return hmac.compare_digest(given.encode(), token.encode())
