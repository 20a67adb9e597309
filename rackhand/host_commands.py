"""Makes Invoke tasks of functions that work on hosts: the options that they share are declared here, once."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task, task

from rackhand.commands import Options
from rackhand.errors import UserError

_HELP = {
    "host": "host, group or pattern (web, web:&prod:!db1, ~regex); `all`, in words, for every host",
    "limit": "a further pattern that the hosts must match; @failed: those with which the last run did not end well",
    "inventory": "inventory file, folder or script, or hosts and a comma; may be repeated (default: inventory/)",
    "extra_vars": "variable as k=v, JSON or @file, stronger than the inventory; may be repeated",
    "forks": "on how many hosts at once",
    "scheduler": "address of a Dask scheduler: its workers do the work, instead of this machine",
    "vault_id": "label@FILE, label@SCRIPT or label@prompt: a password of Ansible Vault; may be repeated",
    "vault_password_file": "file or script with a password of Ansible Vault; may be repeated",
    "ask_vault_pass": "ask for the password of Ansible Vault, if anything is encrypted",
    "json": "JSON lines on standard output, and nothing else",
    "profile": "say at the end, on standard error, where the time went",
    "app": "this application only",
    "check": "change nothing, say what would change",
    "diff": "show what changes, line by line",
    "tags": "only what has one of these: roles, kinds or ids of resources, with commas; may be repeated",
    "skip_tags": "not what has one of these; may be repeated",
    "shell": "a line of shell to run, instead of the program and its arguments behind --",
    "timeout": "seconds that it may take on a host",
    "lines": "how many entries of each host at most",
    "since": "no entry from before: as journalctl takes it (2026-11-23 21:00, yesterday, -1h)",
    "follow": "go on with what comes, until Ctrl-C",
    "on": "close: nginx answers with 503",
    "off": "open again",
    "path": "what is asked for, below the route (default: the health path)",
    "seconds": "how long each candidate is loaded",
    "concurrency": "how many requests at a time",
    "live": "load what serves, too, through nginx: its users feel it",
    "write": "note the result in the inventory, in the host's own file",
    "release": "the id of a release, or its beginning (default: the one before)",
    "serial": "how many hosts in a batch, one batch after the other: 2, 30% (of all hosts) or 1,5,20% (growing)",
    "max_fail_percentage": "end the run once more percent of a batch failed or could not be reached "
    "(default: when a whole batch did)",
    "canary": "when code changes and there are more than two hosts, one goes first (on, but for --serial)",
}

_SHARED: dict[str, Any] = {
    "host": None,
    "limit": None,
    "inventory": None,
    "extra_vars": None,
    "forks": 20,
    "scheduler": None,
    "vault_id": None,
    "vault_password_file": None,
    "ask_vault_pass": False,
    "json": False,
    "profile": False,
}


#: Those of them that say which inventory is meant, and how it is read.
_OF_INVENTORY = ("host", "inventory", "extra_vars", "vault_id", "vault_password_file", "ask_vault_pass")

_REPEATED = ("extra_vars", "fingerprint", "inventory", "tags", "skip_tags", "vault_id", "vault_password_file")


#: The parameter that gets what is behind `--` on the command line.
_BEHIND = "argv"


def _behind() -> tuple[str, ...]:
    """Invoke itself makes one text of it, in which nobody can tell where an argument ends."""
    return tuple(sys.argv[sys.argv.index("--") + 1 :]) if "--" in sys.argv else ()


def host_command(body: Callable[..., int]) -> Task[Callable[..., None]]:
    """A task of the function's name, which is called with the shared Options and its own, and returns the exit code."""
    return _command(body, _SHARED, _HELP)


def inventory_command(*also: str, help: Mapping[str, str]) -> Callable[[Callable[..., int]], Task[Callable[..., None]]]:
    """The same for a command that reads the inventory and has no run on hosts: of the shared options it has those of
    the inventory, and `also` these. `help` is for its own options, and for shared ones that mean something else."""
    shared = {name: _SHARED[name] for name in (*_OF_INVENTORY, *also)}
    return functools.partial(_command, shared=shared, help={**_HELP, **help})


def _command(body: Callable[..., int], shared: Mapping[str, Any], help: Mapping[str, str]) -> Task[Callable[..., None]]:
    own = [one for one in list(inspect.signature(body).parameters.values())[1:] if one.name != _BEHIND]
    takes_more = _BEHIND in inspect.signature(body).parameters

    @functools.wraps(body)
    def run(_: Context, **given: Any) -> None:
        for repeated in _REPEATED:
            if repeated in given:
                given[repeated] = tuple(given[repeated] or ())
        options = Options(**{name: given.pop(name) for name in shared})
        if takes_more:
            given[_BEHIND] = _behind()
        elif _behind():
            raise UserError(f"{body.__name__} takes nothing behind --: {' '.join(map(repr, _behind()))}")
        code = body(options, **given)
        if code:
            raise Exit(code=code)

    keyword = inspect.Parameter.KEYWORD_ONLY
    offered = [inspect.Parameter(name, keyword, default=default) for name, default in shared.items()]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [context, *(parameter.replace(kind=keyword) for parameter in own), *offered]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Invoke reads options from
    names = [parameter.name for parameter in parameters[1:]]
    made: Task[Callable[..., None]] = task(
        iterable=[name for name in names if name in _REPEATED],
        auto_shortflags=False,
        help={name: help[name] for name in names},
    )(run)
    return made
