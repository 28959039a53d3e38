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
OPEN = ("/login", "/healthz", "/page/")
# the Host names that mean this machine; others are refused: a foreign site could point its name here, and read the page
HERE = ("127.0.0.1", "localhost", "[::1]")
LONGEST = 2**16  # bytes of a request
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
        self.name = token and "lshma-" + hashlib.sha256(self.cookie.encode()).hexdigest()[:8]
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
            if refusal and request.headers.get("authorization"):
                await self.wait()
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
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
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
            await self.wait()
            return self.answers.RedirectResponse("/login?wrong", 303)
        answer = self.answers.RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(self.name, self.cookie, max_age=MONTH, httponly=True, samesite="strict", secure=secure)
        return answer

    async def wait(self) -> None:
        """Let a wrong token take its time, however many are tried at once."""
        async with self.guessing:
            await asyncio.sleep(WRONG)


async def beginning(request: Any) -> bytes:
    """What a request sends, but only so much as is of use: who sends more is not heard out."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LONGEST:
            break
    return content


def same(given: str, token: str) -> bool:
    """Whether both are alike, in a time that does not tell how far."""
    return hmac.compare_digest(given.encode(), token.encode())
