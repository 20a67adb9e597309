"""What an application's source says of how it should be served. It is read, not run: hints, none of them proof."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rackhand.bundle import IGNORED, names
from rackhand.clients import Function, known_in
from rackhand.inventory import shown
from rackhand.protocol import FRAMEWORKS, Protocol, full_name, imports, protocol

#: By their packages, in the order in which one counts as the application's when it imports several.
_FRAMEWORKS = {
    **{"fastapi": "FastAPI", "litestar": "Litestar", "quart": "Quart", "sanic": "Sanic", "blacksheep": "BlackSheep"},
    **{"django": "Django", "flask": "Flask", "falcon": "Falcon", "bottle": "Bottle", "pyramid": "Pyramid"},
    "starlette": "Starlette",
}

#: What waits for something else, by the beginning of its full name, and what does not hold up an event loop meanwhile.
#: Nothing: it does not.
_WAITS = {
    "time.sleep": "await asyncio.sleep()",
    **dict.fromkeys(("requests", "urllib.request", "http.client", "urllib3"), "httpx.AsyncClient"),
    **{f"httpx.{name}": "httpx.AsyncClient" for name in ("Client", "get", "post", "put", "patch", "delete", "request")},
    **dict.fromkeys(("subprocess", "os.system", "os.popen"), "asyncio.create_subprocess_exec()"),
    "urllib.request.Request": "",
    "sqlite3.connect": "aiosqlite, or a plain def",
    **dict.fromkeys(("psycopg2", "psycopg.connect"), "psycopg.AsyncConnection or asyncpg"),
    **dict.fromkeys(("pymysql", "MySQLdb", "mysql.connector"), "aiomysql"),
    **dict.fromkeys(("redis.Redis", "redis.StrictRedis", "redis.from_url"), "redis.asyncio"),
    "pymongo.MongoClient": "pymongo.AsyncMongoClient",
    **dict.fromkeys(("boto3", "smtplib", "ftplib", "socket.create_connection", "socket.getaddrinfo"), "a plain def"),
    "open": "await asyncio.to_thread()",
}
#: What makes, of what waits, objects that wait in turn, besides classes.
_MAKERS = ("client", "connect", "create_connection", "cursor", "from_url", "pipeline", "resource", "session")
#: What keeps a processor busy.
_COMPUTES = (
    *("hashlib.pbkdf2_hmac", "hashlib.scrypt", "bcrypt", "argon2", "passlib", "werkzeug.security"),
    *("zlib.compress", "gzip.compress", "bz2.compress", "lzma.compress"),
)
#: Packages that are there to wait for others, and to compute.
_WAITING = frozenset(
    {"requests", "httpx", "aiohttp", "urllib3", "sqlalchemy", "psycopg", "psycopg2", "asyncpg", "pymysql", "sqlite3"}
    | {"redis", "pymongo", "motor", "boto3", "smtplib", "elasticsearch", "peewee", "flask_sqlalchemy", "subprocess"}
)
_COMPUTING = frozenset(
    {"numpy", "pandas", "polars", "scipy", "sklearn", "torch", "tensorflow", "cv2", "PIL", "matplotlib", "networkx"}
)

_VERBS = ("get", "post", "put", "patch", "delete", "options", "head", "trace")
_METHODS = (*_VERBS, "route", "api_route")
_ADDED = ("add_url_rule", "add_api_route", "add_route")
_ROUTES = ("starlette.routing.Route", "fastapi.routing.APIRoute", "django.urls.path", "django.urls.re_path")
_VIEWS = ("flask.views", "starlette.endpoints", "flask_restful", "django.views", "rest_framework")
_STREAMS = ("StreamingResponse", "EventSourceResponse", "stream_with_context", "StreamingHttpResponse")
_SOCKETS = ("websocket", "websocket_route", "add_websocket_route", "add_api_websocket_route", "WebSocketRoute")
_SOCKET_PACKAGES = frozenset({"flask_sock", "flask_socketio", "socketio", "channels"})


@dataclass(frozen=True, kw_only=True)
class Hint:
    """Something in the code, where it is, and what would be better."""

    file: str
    line: int
    what: str
    instead: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """`asynchronous` and `plain` are how many endpoints are async def and def. `blocking` is what holds up an event
    loop; `waiting` and `computing` what the code waits for and what keeps it busy."""

    framework: str | None = None
    protocol: Protocol | None = None
    asynchronous: int = 0
    plain: int = 0
    websockets: tuple[Hint, ...] = ()
    streams: tuple[Hint, ...] = ()
    blocking: tuple[Hint, ...] = ()
    waiting: tuple[Hint, ...] = ()
    computing: tuple[Hint, ...] = ()


def findings(folder: Path, app: str, requirements: str) -> Findings:
    """What the folder of an application, its `module:object` and its requirements say. A file that is no Python of this
    version is passed over: whether it runs is told by a deploy."""
    readers = [_Reader(shown(path), tree) for path, tree in _modules(folder)]
    speaks = protocol(folder, app)
    imported = {name.partition(".")[0] for reader in readers for name in reader.imported.values()}
    used = [name for name in _FRAMEWORKS if name in imported] or [
        name for name in _FRAMEWORKS if name in names(requirements)
    ]
    used = [name for name in used if speaks is None or FRAMEWORKS.get(name, speaks) == speaks] or used
    endpoints = [
        one if isinstance(one, bool) else _asynchronous(one, reader, readers)
        for reader in readers
        for one in reader.endpoints
    ]
    return Findings(
        framework=_FRAMEWORKS[used[0]] if used else None,
        protocol=speaks or (FRAMEWORKS.get(used[0]) if used else None),
        asynchronous=sum(endpoints),
        plain=len(endpoints) - sum(endpoints),
        websockets=_all(reader.websockets for reader in readers),
        streams=_all(reader.streams for reader in readers),
        blocking=_all(reader.blocking for reader in readers),
        waiting=_all(reader.waiting for reader in readers),
        computing=_all(reader.computing for reader in readers),
    )


def _asynchronous(endpoint: str, user: _Reader, readers: Sequence[_Reader]) -> bool:
    """Whether the function of this name is async def: that of the module which the name says, else that of the user's
    own; of several such modules, that in the user's folder."""
    module, _, name = endpoint.rpartition(".")
    meant = module.rpartition(".")[2] or Path(user.file).stem
    folder = Path(user.file).parent

    def distance(reader: _Reader) -> tuple[bool, bool]:
        return Path(reader.file).stem != meant, Path(reader.file).parent != folder

    defined = [reader for reader in readers if name in reader.functions]
    return bool(defined) and min(defined, key=distance).functions[name]


def _all(hints: Iterable[Iterable[Hint]]) -> tuple[Hint, ...]:
    return tuple(hint for some in hints for hint in some)


def _modules(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """The application's Python files, but for its tests."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if IGNORED & set(parts) or "tests" in parts or path.name.startswith(("test_", "conftest")):
            continue
        try:
            yield path, ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue


@dataclass
class _Reader(ast.NodeVisitor):
    """What one module says."""

    file: str
    tree: ast.Module
    imported: Mapping[str, str] = field(init=False)
    #: Whether each is async def; or its name, as far as that is known in full.
    endpoints: list[bool | str] = field(default_factory=list)
    #: Whether each is async def, by its name.
    functions: dict[str, bool] = field(default_factory=dict)
    websockets: list[Hint] = field(default_factory=list)
    streams: list[Hint] = field(default_factory=list)
    blocking: list[Hint] = field(default_factory=list)
    waiting: list[Hint] = field(default_factory=list)
    computing: list[Hint] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.imported = imports(self.tree)
        #: The functions that the code is in, the innermost last.
        self._inside: list[Function] = []
        self._known = known_in(self.tree, self.imported, _is_client)
        self.visit(self.tree)

    @contextmanager
    def _within(self, function: Function) -> Iterator[None]:
        around = self._known
        self._known = known_in(function, around, _is_client)
        self._inside.append(function)
        yield
        self._inside.pop()
        self._known = around

    def _hint(self, node: ast.expr | ast.stmt, what: str, instead: str = "") -> Hint:
        return Hint(file=self.file, line=node.lineno, what=what, instead=instead)

    # Functions and classes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        with self._within(node):
            self.generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        asynchronous = self.functions[node.name] = isinstance(node, ast.AsyncFunctionDef)
        for decorator in node.decorator_list:
            self.visit(decorator)
            if isinstance(decorator, ast.Call) and _is_route(decorator):
                self.endpoints.append(asynchronous)
        with self._within(node):
            for part in node.body:
                self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(self._full(base).startswith(_VIEWS) for base in node.bases):
            self.endpoints += _methods(node)
        self.generic_visit(node)

    # What it uses

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._uses(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level:
            self._uses(node, node.module or "")

    def _uses(self, node: ast.stmt, module: str) -> None:
        package = module.partition(".")[0]
        if package in _WAITING:
            self.waiting.append(self._hint(node, package))
        if package in _COMPUTING:
            self.computing.append(self._hint(node, package))
        if package in _SOCKET_PACKAGES:
            self.websockets.append(self._hint(node, package))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        full = self._full(node.func)
        last = full.rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        if last in _SOCKETS and (last == "WebSocketRoute" or _has_path(node)):
            self.websockets.append(self._hint(node, last))
        if last in _ADDED and _has_path(node) or full in _ROUTES:
            self.endpoints += [self._full(view) or _last(view) for view in _view(node)]
        self._holds_up(node, full)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _STREAMS and isinstance(node.ctx, ast.Load):
            self.streams.append(self._hint(node, node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if node.attr in _STREAMS:
            self.streams.append(self._hint(node, node.attr))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value.startswith("text/event-stream"):
            self.streams.append(self._hint(node, "text/event-stream"))

    def _holds_up(self, node: ast.Call, full: str) -> None:
        instead = _instead(full)
        computes = f"{full}.".startswith(tuple(f"{name}." for name in _COMPUTES))
        here = self._inside[-1] if self._inside else None
        if isinstance(here, ast.AsyncFunctionDef) and (instead or computes):
            what = f"{full}() in async def {here.name}"
            self.blocking.append(self._hint(node, what, instead or "a plain def, or await asyncio.to_thread()"))
        elif instead and full != "open":
            self.waiting.append(self._hint(node, f"{full}()"))
        if computes:
            self.computing.append(self._hint(node, f"{full}()"))

    def _full(self, expression: ast.expr) -> str:
        if isinstance(expression, ast.Name) and expression.id == "open" and "open" not in self.imported:
            return "open"
        return full_name(expression, self._known)


def _instead(full: str) -> str:
    """What would hold up no event loop, in the place of what waits; nothing for what does not wait."""
    known = [name for name in _WAITS if f"{full}.".startswith(f"{name}.")]
    return _WAITS[max(known, key=len)] if known else ""


def _is_client(full: str) -> bool:
    """Whether a call makes an object that waits for others: `requests.Session()`, but not `requests.get()`."""
    last = full.rpartition(".")[2]
    return bool(_instead(full)) and (last[0].isupper() or last in _MAKERS)


def _is_route(decorator: ast.Call) -> bool:
    """Whether it is `app.get("/path")` or the like; `sock.route` is one of a WebSocket, known by its name alone."""
    match decorator.func:
        case ast.Attribute(value=ast.Name(id="sock" | "socketio")):
            return False
        case ast.Attribute(attr=method):
            return method in _METHODS and _has_path(decorator)
    return False


def _has_path(call: ast.Call) -> bool:
    """Whether a call is given a path, as a route is: `cache.get("key")` is none."""
    given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg in ("path", "rule"))]
    return any(
        isinstance(one, ast.Constant) and isinstance(one.value, str) and (not one.value or one.value.startswith("/"))
        for one in given
    )


def _view(call: ast.Call) -> Iterator[ast.Name | ast.Attribute]:
    """What names the function that a call makes an endpoint."""
    named = [one.value for one in call.keywords if one.arg in ("view_func", "endpoint", "view", "route")]
    for given in (*call.args[1:], *named):
        if isinstance(given, (ast.Name, ast.Attribute)):
            yield given
            return


def _last(name: ast.Name | ast.Attribute) -> str:
    return name.id if isinstance(name, ast.Name) else name.attr


def _methods(view: ast.ClassDef) -> Iterator[bool]:
    """Whether each method that answers requests is async def."""
    for node in view.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in _VERBS:
            yield isinstance(node, ast.AsyncFunctionDef)
