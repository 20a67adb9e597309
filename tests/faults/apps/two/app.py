"""An ASGI application that answers with what it is made of."""

from pathlib import Path

import idna

MARK = Path(__file__).with_name("mark.txt").read_text().strip()
ANSWER = f"{MARK} idna-{idna.__version__}".encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": ANSWER})
