"""Run in an application's own environment, as a program: Werkzeug's server with Flask's reloader and debugger.

Arguments: `module:object`, the path of a socket, the application's prefix. The path arrives without the prefix.
"""

import ctypes
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from werkzeug.serving import is_running_from_reloader, run_simple

# Ends with the process that has started it, however that ended: prctl's PR_SET_PDEATHSIG.
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

#: What `module:object` names, or makes when it is a factory: as on hosts.
resolved = runpy.run_path(str(Path(__file__).parents[3] / "templates" / "application.py"))["resolved"]

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def application() -> _Application:
    """The application; in the place of one that cannot be loaded, one that says what is wrong, until the next edit."""
    try:
        found: _Application = resolved(sys.argv[1])[0]
        return found
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        wrong = error

    def failed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError(f"{sys.argv[1]} cannot be loaded") from wrong

    return failed


def behind(prefix: str, application: _Application) -> _Application:
    """Tells the application its prefix, and whose request it is, as Rackhand does on hosts."""

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["SCRIPT_NAME"] = prefix
        environ["REMOTE_ADDR"] = environ.get("HTTP_X_FORWARDED_FOR", "")
        for whole in ("RAW_URI", "REQUEST_URI"):
            environ[whole] = prefix + environ.get(whole, "")
        return application(environ, start_response)

    return call


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    # Only the process that serves has the application: the one that watches goes on whatever is in its files.
    served = application() if is_running_from_reloader() else None
    run_simple(
        f"unix://{sys.argv[2]}",
        0,
        behind(sys.argv[3], served) if served else None,  # type: ignore[arg-type]
        threaded=True,
        use_debugger=True,
        use_reloader=True,
        reloader_interval=0.25,  # type: ignore[arg-type]  # it is slept for
    )
