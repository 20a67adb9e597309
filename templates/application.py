# What `module:object` is. Each worker loads the application by this, in the application's own environment and sandbox.
# The first one notes what it has found, for the agent, which refuses what these workers cannot serve before traffic.
import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

#: By the package of its classes: the name that people know a framework by.
FRAMEWORKS = {
    **{"fastapi": "FastAPI", "starlette": "Starlette", "litestar": "Litestar", "quart": "Quart", "sanic": "Sanic"},
    **{"blacksheep": "BlackSheep", "channels": "Channels", "flask": "Flask", "django": "Django", "falcon": "Falcon"},
    **{"bottle": "Bottle", "pyramid": "Pyramid"},
}
INTERFACES = {"asgi3": "an ASGI application", "asgi2": "an ASGI 2 application", "wsgi": "a WSGI application"}
#: By the kind of workers: what they speak, as messages call them, and what speaks the other protocol. The last two are
#: those of Uvicorn without Gunicorn.
KINDS = {
    "uvicorn": ("asgi", "Uvicorn's workers", "sync or gthread"),
    "asgi": ("asgi", "Gunicorn's asgi workers", "sync or gthread"),
    "sync": ("wsgi", "sync workers", "uvicorn or asgi"),
    "gthread": ("wsgi", "gthread workers", "uvicorn or asgi"),
    "uvicorn alone": ("asgi", "Uvicorn", "sync or gthread, with server: gunicorn"),
    "adapter": ("wsgi", "Uvicorn's adapter for WSGI", "uvicorn"),
}


class Unservable(Exception):
    """Why an object cannot be served, the setting that says otherwise, and what to write there."""

    def __init__(self, setting: str, why: str, write: str = "") -> None:
        super().__init__(why)
        self.note = {"setting": setting, "why": why, "write": write}


def load(name: str, worker: str) -> Any:
    """The application, for workers of this kind: made, if the object is a factory, and with ASGI 2 adapted. What they
    cannot serve is replaced by what answers with errors only, until the agent has read why and stops the instance."""
    found: dict[str, Any] = {"interface": None, "framework": None, "refused": None, "warnings": []}
    try:
        application, interface, factory = resolved(name)
        found |= {"interface": interface, "factory": factory, "framework": framework(application)}
        check(interface, found["framework"], worker)
        with contextlib.suppress(Exception):  # what is only told of must not keep it from serving
            app = os.environ["RACKHAND_APP"]
            found["warnings"] = [f"{app}: {text}" for text in warnings(application, worker)]
    except Unservable as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
        found["refused"] = error.note
        application = functools.partial(_refuse, str(error))
    else:
        if interface == "asgi2":
            application = _asgi3(application)
    _write(found)
    return application


def resolved(name: str) -> tuple[Any, str, bool]:
    """The object that `module:object` or `module:object()` names, or what it makes; its interface; and whether it is a
    factory. Raises Unservable; what the application itself raises comes through."""
    module_name, _, path = name.removesuffix("()").partition(":")
    module = importlib.import_module(module_name)
    thing: Any = module
    for part in path.split("."):
        if not hasattr(thing, part):
            others = [key for key, value in vars(module).items() if _package(value)]
            hint = f", but {' and '.join(others)}" if others else ""
            raise Unservable("app", f"the module {module_name} has no {path}{hint}")
        thing = getattr(thing, part)
    is_factory = name.endswith("()") or interface_of(thing) == "factory"
    if not is_factory:
        return thing, _known(path, thing), False
    if inspect.iscoroutinefunction(thing):
        raise Unservable("app", f"{path} is a factory that is async: make it a plain function")
    made = thing()
    return made, _known(f"what {path}() returns", made), True


def _known(name: str, thing: Any) -> str:
    interface = interface_of(thing)
    if interface in (*INTERFACES, "unknown"):
        return interface
    what = "a factory again" if interface == "factory" else interface
    raise Unservable("app", f"{name} is {what}: neither an ASGI nor a WSGI application, nor a factory of one")


def interface_of(thing: Any) -> str:
    """asgi3, asgi2, wsgi or factory, by how it wants to be called; unknown when that does not tell; else, in words,
    what it is instead."""
    if not callable(thing):
        return f"of the type {type(thing).__name__}, which cannot be called"
    plain = inspect.isroutine(thing) or inspect.isclass(thing) or isinstance(thing, functools.partial)
    call = thing if plain else thing.__call__
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # of an extension module
        return "unknown"
    waits = inspect.iscoroutinefunction(call)
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return "asgi3" if waits else "unknown"
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in kinds]
    if not needed:
        return "factory"
    if len(needed) == 3:
        return "asgi3"
    if len(needed) == 2 and not waits:
        return "wsgi"
    if needed == ["scope"] and not waits:
        return "asgi2"
    return f"to be called with {', '.join(needed)}"


def framework(application: Any) -> str | None:
    """The framework that the application, or what a middleware wraps, is made with, and its version."""
    for package in filter(None, map(_package, _layers(application))):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{FRAMEWORKS[package]} {importlib.metadata.version(package)}"
        return FRAMEWORKS[package]
    return None


def _package(thing: Any) -> str | None:
    """The package of the framework that an object is of."""
    packages = (kind.__module__.partition(".")[0] for kind in type(thing).__mro__)
    return next((package for package in packages if package in FRAMEWORKS), None)


def _layers(application: Any) -> list[Any]:
    """The application, and what it wraps, as most middleware does."""
    layers = [application]
    with contextlib.suppress(Exception):  # of an object that stands for another one, which is not there yet
        while len(layers) < 8:
            own = vars(layers[-1])
            layers.append(next(own[name] for name in ("app", "application", "__wrapped__") if callable(own.get(name))))
    return layers


def check(interface: str, made_with: str | None, worker: str) -> None:
    """Raises Unservable when workers of this kind do not speak the application's protocol."""
    speaks, workers, others = KINDS[worker]
    if interface != "unknown" and not interface.startswith(speaks):
        what = INTERFACES[interface] + (f" ({made_with})" if made_with else "")
        raise Unservable("worker", f"{os.environ['RACKHAND_APP']} is {what}, which {workers} cannot serve", others)


def warnings(application: Any, worker: str) -> Any:
    """What an application may do, and should not."""
    layers = _layers(application)
    if any(getattr(layer, "debug", False) is True for layer in layers) or _debug_of_django():
        yield "debug mode is on: error pages show code and variables to everybody: turn it off"
    for flask in (layer for layer in layers if hasattr(layer, "view_functions") and hasattr(layer, "wsgi_app")):
        views = dict(flask.view_functions)
        waiting = [name for name, view in views.items() if _waits(view)]
        if waiting and KINDS[worker][0] == "wsgi":
            yield (
                f"{len(waiting)} of {len(views)} endpoints are async def ({', '.join(waiting[:3])}): under Flask each "
                "keeps a worker's thread busy until it is done, as def would, and costs more: write def, or use FastAPI"
            )
    if worker.startswith("uvicorn"):
        lacking = [name for name in ("uvloop", "httptools") if importlib.util.find_spec(name) is None]
        if lacking:
            yield f"{' and '.join(lacking)} cannot be imported: Uvicorn is slower without: require uvicorn[standard]"


def _debug_of_django() -> bool:
    settings: Any = getattr(sys.modules.get("django.conf"), "settings", None)
    return bool(settings is not None and settings.configured and settings.DEBUG)


def _waits(view: Any) -> bool:
    """Whether a view of Flask's is async: a function, or a method of a class of views."""
    methods = getattr(getattr(view, "view_class", None), "methods", None) or ()
    calls = [getattr(view.view_class, method.lower(), None) for method in methods]
    return any(map(inspect.iscoroutinefunction, [inspect.unwrap(view), *calls]))


def _asgi3(application: Any) -> Callable[..., Any]:
    async def call(scope: Any, receive: Any, send: Any) -> None:
        await application(scope)(receive, send)

    return call


def _refuse(why: str, *_: Any) -> Any:
    raise RuntimeError(why)


def _note() -> str:
    return os.environ["RUNTIME_DIRECTORY"] + "/application.json"


def _write(found: dict[str, Any]) -> None:
    """Once for each start of the instance: all its workers load the same."""
    if os.path.exists(_note()):
        return
    partial = f"{_note()}.{os.getpid()}"
    with contextlib.suppress(OSError), open(partial, "w", encoding="utf-8") as file:
        json.dump(found, file)
    with contextlib.suppress(OSError):
        os.replace(partial, _note())
