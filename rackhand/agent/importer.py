"""Imports the agent from memory, where the host's Python has nothing that does: zipimport takes as long for a module as
its compilation does, and has to be given a file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType


class Importer:
    """A finder and loader of the modules whose sources it has, by their paths below what would be on `sys.path`. It is
    no subclass of what importlib.abc has for it: to import that takes a millisecond on each host."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

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
        code = compile(self.sources[module.__spec__.origin], module.__spec__.origin, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102  # which is what a loader is for

    def get_source(self, name: str) -> str | None:
        """For the lines in tracebacks."""
        spec = self.find_spec(name)
        return None if spec is None or spec.origin is None else self.sources[spec.origin]


def install(sources: Mapping[str, str]) -> None:
    """From now on modules are looked for here first."""
    sys.meta_path.insert(0, Importer(sources))
