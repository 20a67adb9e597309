"""The local port in front of applications under development: it does for them what nginx does on a host.

A request's head is read, its prefix taken off, and what nginx tells of the client is told; from there on bytes are
passed on as they come, both ways, until one side has ended. So bodies, streams and WebSockets need no understanding.
Each connection carries one request: who answers says so to the client (`Connection: close`).
"""

import asyncio
import contextlib
import mimetypes
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

#: Bytes that the head of a request may have, as in nginx (large_client_header_buffers).
_LARGEST_HEAD = 32 * 1024
_PIECE = 2**16
#: Seconds for an application to start, or to come back after an edit.
_PATIENCE = 30.0
#: Seconds for a client to take the end of an answer.
_LINGERING = 2.0
#: What may be asked twice when the process that answers is replaced meanwhile, as nginx does.
_REPEATABLE = (b"GET", b"HEAD")
_WEBSOCKET = re.compile(rb"(?i)upgrade:\s*websocket\s*")
#: What is between the client and the gateway only.
_OF_CONNECTION = re.compile(rb"(?i)(connection|keep-alive|upgrade)\s*:")
#: What a client cannot say of itself.
_NOT_FROM_CLIENTS = re.compile(rb"(?i)forwarded|x-forwarded-.*|x-real-ip|x-script-name|proxy|[^:]*_[^:]*")


@dataclass(frozen=True)
class Request:
    """The head of a request. `target` is as the client has sent it."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[bytes, ...]

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def below(self, prefix: str, client: str) -> bytes:
        """The head as the application gets it: without its prefix, and with what is known of the client."""
        kept = [line for line in self.fields if not _NOT_FROM_CLIENTS.fullmatch(line.partition(b":")[0].strip())]
        if not any(_WEBSOCKET.fullmatch(line) for line in kept):
            kept = [line for line in kept if not _OF_CONNECTION.match(line)] + [b"Connection: close"]
        about = [f"X-Forwarded-For: {client}".encode(), f"X-Real-IP: {client}".encode(), b"X-Forwarded-Proto: http"]
        first = b" ".join((self.method, self.target[len(prefix) :], self.version))
        return b"\r\n".join((first, *kept, *about, b"", b""))


def parse(head: bytes) -> Request | None:
    """The request, or None for what is no HTTP/1."""
    first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match first.split(b" "):
        case [method, target, (b"HTTP/1.1" | b"HTTP/1.0") as version] if target.startswith(b"/"):
            return Request(method, target, version, tuple(fields))
    return None


@dataclass(frozen=True)
class Gateway:
    """`sockets` has the path of each application's socket by its prefix; nothing, for the route "/", is one too.
    `static` has the folders of files by theirs."""

    sockets: Mapping[str, Path]
    static: Mapping[str, Path] = field(default_factory=dict)

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        return await asyncio.start_server(self._serve, sock=listener, limit=_LARGEST_HEAD)

    def prefix_of(self, path: bytes) -> str | None:
        """The longest prefix that a path lies below."""
        found = [prefix for prefix in self.sockets if (path + b"/").startswith(prefix.encode() + b"/")]
        found += [prefix for prefix in self.static if path.startswith(prefix.encode() + b"/")]
        return max(found, key=len, default=None)

    def file(self, path: bytes, prefix: str) -> Path | None:
        """The file that a path means, if there is one in the folder."""
        folder = self.static[prefix].resolve()
        try:
            file = folder.joinpath(unquote(path[len(prefix) + 1 :].decode("latin-1"))).resolve()
            return file if file.is_relative_to(folder) and file.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Only the end of everything cancels it, and Python 3.11 would print a traceback of that.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                request = parse(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.LimitOverrunError:
                request = None
            if request is None:
                await _answer(writer, "400 Bad Request", "not a request that is understood here")
            elif (prefix := self.prefix_of(request.path)) is None:
                known = "".join(f"  {prefix}/\n" for prefix in self.sockets)
                await _answer(writer, "404 Not Found", f"no application has this path. There are:\n{known}")
            elif prefix in self.static:
                await _file(writer, request, self.file(request.path, prefix))
            elif request.path == prefix.encode():
                query = request.target[len(prefix) :].decode("latin-1")
                await _answer(writer, "308 Permanent Redirect", "", f"Location: {prefix}/{query}\r\n")
            else:
                await self._pass_on(request, prefix, reader, writer)
        writer.close()

    async def _pass_on(
        self, request: Request, prefix: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = request.below(prefix, writer.get_extra_info("peername")[0])
        for may_repeat in (request.method in _REPEATABLE, False):
            try:
                async with asyncio.timeout(_PATIENCE):
                    app = await _connected(self.sockets[prefix])
            except TimeoutError:
                break
            sending = asyncio.create_task(_until_left(head, reader, app))
            answering = asyncio.create_task(_answers(app, writer))
            try:
                # A client that has left ends what is done for it.
                await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    return
                if answering.result():
                    writer.write_eof()
                    # Closing earlier would take the answer from a client that still sends.
                    await asyncio.wait((sending,), timeout=_LINGERING)
                    return
            finally:
                sending.cancel()
                answering.cancel()
                # Both let go of the socket before it is closed.
                await asyncio.wait((sending, answering))
                app.close()
            if not may_repeat:
                break
        await _answer(writer, "502 Bad Gateway", "the application does not answer: see what it has printed")


# Plain sockets to applications: asyncio's transports forget what was answered when the rest of a request is refused.


async def _connected(path: Path) -> socket.socket:
    """A connection to an application, as soon as it accepts one."""
    while True:
        app = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        app.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(app, str(path))
            return app
        except OSError:
            app.close()
            await asyncio.sleep(0.05)


async def _until_left(head: bytes, reader: asyncio.StreamReader, app: socket.socket) -> None:
    """Passes on what a client sends, as long as the application takes it, until the client has ended."""
    loop = asyncio.get_running_loop()
    piece, taken = head, True
    with contextlib.suppress(ConnectionError):
        while piece:
            if taken:
                try:
                    await loop.sock_sendall(app, piece)
                except OSError:
                    taken = False
            piece = await reader.read(_PIECE)


async def _answers(app: socket.socket, writer: asyncio.StreamWriter) -> int:
    """Passes on all that an application answers. Returns how many bytes that was."""
    passed = 0
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(app, _PIECE):
            passed += len(piece)
            writer.write(piece)
            await writer.drain()
    return passed


async def _file(writer: asyncio.StreamWriter, request: Request, file: Path | None) -> None:
    if request.method not in _REPEATABLE:
        await _answer(writer, "405 Method Not Allowed", "a file can only be read")
    elif file is None:
        await _answer(writer, "404 Not Found", "there is no such file")
    else:
        body = await asyncio.to_thread(file.read_bytes)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        _write(writer, "200 OK", kind, body, with_body=request.method != b"HEAD")
        await writer.drain()


async def _answer(writer: asyncio.StreamWriter, status: str, text: str, fields: str = "") -> None:
    """An answer of the gateway's own."""
    _write(writer, status, "text/plain; charset=utf-8", f"{text}\n".encode(), fields)
    await writer.drain()


def _write(
    writer: asyncio.StreamWriter, status: str, kind: str, body: bytes, fields: str = "", *, with_body: bool = True
) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{fields}"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + (body if with_body else b""))
