"""The ways in which Rackhand serves an application: the server and the kind of its workers, for each protocol."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import FRAMEWORKS


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way: `folder` is the application's, `settings` what an inventory says."""

    name: str
    folder: str
    server: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def framework(self) -> str:
        return FRAMEWORKS[self.folder]

    @property
    def title(self) -> str:
        return f"{self.framework}, {self.server}"


MODES = (
    Mode(name="fast_uvicorn", folder="fast", server="Gunicorn, Uvicorn workers", settings={"worker": "uvicorn"}),
    Mode(name="fast_asgi", folder="fast", server="Gunicorn, asgi workers", settings={"worker": "asgi"}),
    Mode(name="fast_alone", folder="fast", server="Uvicorn alone", settings={"server": "uvicorn"}),
    Mode(name="slow_sync", folder="slow", server="Gunicorn, sync workers", settings={"worker": "sync"}),
    Mode(name="slow_gthread", folder="slow", server="Gunicorn, gthread workers", settings={"worker": "gthread"}),
    Mode(name="slow_alone", folder="slow", server="Uvicorn alone", settings={"server": "uvicorn"}),
)


def declared(modes: Iterable[Mode], apps: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    """The applications for an inventory, one for each mode."""
    return {
        mode.name: {
            "path": str(apps / mode.folder),
            "app": "app:app",
            "route": f"/{mode.name}",
            **mode.settings,
            **settings,
        }
        for mode in modes
    }
