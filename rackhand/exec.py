"""A command by hand on many hosts at once, and what each answered, together where it is the same."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from rackhand.commands import Options, gather, new_run
from rackhand.conversation import Conversation, who
from rackhand.errors import UserError
from rackhand.exit_codes import FAILED
from rackhand.output.printable import printable
from rackhand.settings import HostSettings
from rackhand.views import complain, json_lines

#: Seconds that a command may take at most: a host may not be silent for much longer.
LONGEST = 1800

#: What tells one host's answer from another's.
_SAME = ("code", "stdout", "stderr", "cut")


def execute(options: Options, *, argv: Sequence[str], shell: str | None, timeout: int) -> int:
    """Runs a program with its arguments, or a line of shell, as root. Returns the exit code."""
    if bool(argv) == (shell is not None):
        raise UserError(
            "say what to run, once: a program and its arguments behind --, as in exec --host web -- nginx -t, or a "
            "line of shell, as in exec --host web --shell 'journalctl -b | wc -l'"
        )
    if not 1 <= timeout <= LONGEST:
        raise UserError(f"--timeout should be from 1 to {LONGEST} seconds, got {timeout}")
    words = list(argv) if shell is None else ["sh", "-c", shell]
    if not (argv[0] if shell is None else shell.strip()):
        raise UserError("what to run is empty")
    run = new_run()
    answers, report = gather(options, partial(_ask, argv=words, timeout=timeout, run=run, who=who()))
    if options.json:
        json_lines({host: [{"run": run, **answer}] for host, answer in answers.items()})
    else:
        _print(answers, timeout)
    return complain(report) | (FAILED if any(answer["code"] != 0 for answer in answers.values()) else 0)


def _ask(
    host: HostSettings, conversation: Conversation, *, argv: Sequence[str], timeout: int, run: str, who: str
) -> dict[str, Any]:
    details = {"argv": list(argv), "timeout": timeout, "run": run, "who": who, "secrets": host.secrets}
    answer = conversation.last_answer("exec", within=timeout, **details)
    # Its arguments too are told by way of the answer, which has no secrets any more when it arrives.
    return {"argv": list(argv), **{name: answer[name] for name in (*_SAME, "seconds")}}


def _print(answers: dict[str, dict[str, Any]], timeout: int) -> None:
    together: dict[tuple[Any, ...], list[str]] = {}
    for host, answer in answers.items():
        together.setdefault(tuple(answer[name] for name in _SAME), []).append(host)
    for (code, out, error_out, cut), hosts in together.items():
        count = f" ({len(hosts)} hosts)" if len(hosts) > 1 else ""
        how = f"took longer than {timeout} s, and was ended" if code is None else f"exit {code}"
        print(f"{', '.join(hosts)}{count}: {how}")
        for said in (out, error_out):
            for line in str(printable(said)).splitlines():
                print(f"  {line}")
        if cut:
            print(f"  … and {cut} bytes more, which were not kept")
    sys.stdout.flush()
