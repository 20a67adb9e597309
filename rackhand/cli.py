"""Invoke's program with Rackhand's exit codes: bad options and bad input end with 5, Ctrl-C with 99."""

import contextlib
import os
import signal
import sys
from typing import Any, NoReturn

import rackhand.quick_start  # noqa: F401  # before Invoke

# isort: split
from invoke.config import Config
from invoke.exceptions import Exit
from invoke.program import Program

from rackhand import PROJECT, __version__
from rackhand.errors import UserError
from rackhand.exit_codes import BAD_INPUT, INTERRUPTED


class _Config(Config):
    @staticmethod
    def global_defaults() -> dict[str, Any]:
        defaults: dict[str, Any] = Config.global_defaults()
        defaults["tasks"]["search_root"] = str(PROJECT)
        return defaults


class _Program(Program):
    """Invoke's own, which ends with 1 whether the options or the command's work were bad; this one can tell."""

    executing = False

    def parse_core(self, argv: list[str] | None) -> None:
        super().parse_core(argv)
        # Invoke turns byte-code off for the sake of tasks.py; every later import would be compiled at every start.
        sys.dont_write_bytecode = False

    def execute(self) -> None:
        self.executing = True
        # A polite request to end, or a terminal that is closed, is an interrupt, so that all is put back in order.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        try:
            super().execute()
        except KeyboardInterrupt:
            raise Exit("interrupted", code=INTERRUPTED) from None


def main() -> NoReturn:
    """Runs one command line, and ends this process with its exit code."""
    try:
        code = run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # At once: threads that a command leaves behind, as after Ctrl-C, would otherwise be ended by the interpreter, and
    # one that is just loading a library written in Rust would take the process down with it.
    os._exit(code)


def run() -> int:
    """Runs one command line, and returns its exit code or raises SystemExit with it."""
    program = _Program(name="Rackhand", version=__version__, binary="inv[oke]", config_class=_Config)
    try:
        program.run()
    except UserError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except ValueError as error:
        # Invoke converts numbers on the command line without catching what is none.
        if program.executing:
            raise
        print(f"an option has a bad value: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as end:
        if end.code and not program.executing:
            print("see: invoke --list, invoke --help COMMAND", file=sys.stderr)
            return BAD_INPUT
        raise
    return 0
