"""Imports the agent from memory, where the host's Python has nothing that does: zipimport takes as long for a module as
its compilation does, and has to be given a file.

Most of the rest is compilation. So a run that changes the host keeps what it has compiled, and agents of the same
source, on the same Python, take it from there. That is all it is for: an agent that finds nothing compiles.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType


class Importer:
    """A finder and loader of the modules whose sources it has, by their paths below what would be on `sys.path`. It is
    no subclass of what importlib.abc has for it: to import that takes a millisecond on each host."""

    def __init__(self, sources: Mapping[str, str], digest: str, cache: str) -> None:
        """The digest is that of all sources; the cache is a file."""
        self.sources = sources
        self._digest = digest
        self._cache = cache
        self._kept = self._read()
        self._compiled: dict[str, CodeType] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        stem = name.replace(".", "/")
        for origin, is_package in ((f"{stem}.py", False), (f"{stem}/__init__.py", True)):
            if origin in self.sources:
                spec = ModuleSpec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]  # see above
                spec.has_location = True  # so that tracebacks say where
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own way is the right one."""

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        assert module.__spec__.origin is not None
        exec(self._code(module.__spec__.origin), module.__dict__)  # noqa: S102  # which is what a loader is for

    def _code(self, origin: str) -> CodeType:
        if origin in self._kept:
            code: CodeType = marshal.loads(self._kept[origin])  # noqa: S302  # nobody else can have written it: _read
            return code
        compiled = compile(self.sources[origin], origin, "exec", dont_inherit=True)
        self._compiled[origin] = compiled
        return compiled

    def get_source(self, name: str) -> str | None:
        """For the lines in tracebacks."""
        spec = self.find_spec(name)
        return None if spec is None or spec.origin is None else self.sources[spec.origin]

    def _read(self) -> dict[str, bytes]:
        """What was kept, of this source for this Python. What anybody else may have written, and what is damaged,
        counts as nothing."""
        try:
            descriptor = os.open(self._cache, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return {}
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            head, _, body = file.read().partition(b"\n")
        kept: dict[str, bytes] = marshal.loads(body) if head == self._head(body) else {}  # noqa: S302  # checked above
        return kept

    def _head(self, body: bytes) -> bytes:
        """The line before what is kept. The sum tells a file that a power cut has left incomplete."""
        return f"{self._digest} {zlib.crc32(body):08x} {sys.version}".replace("\n", " ").encode()

    def keep(self) -> None:
        """Writes what was compiled, and was not there, to the file. Raises OSError."""
        if not self._compiled:
            return
        body = marshal.dumps(self._kept | {origin: marshal.dumps(code) for origin, code in self._compiled.items()})
        from rackhand.agent import files

        files.write(self._cache, self._head(body) + b"\n" + body, "root:root", "0600")
        self._compiled.clear()


def install(sources: Mapping[str, str], digest: str, cache: str) -> None:
    """From now on modules are looked for here first."""
    sys.meta_path.insert(0, Importer(sources, digest, cache))
