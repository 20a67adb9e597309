"""Ansible's own commands in a process that has loaded them once: `ansible-inventory`, `ansible --list-hosts`.

Each line of standard input is a request in JSON, and is answered by a line with what the command printed. A fork
answers it, so that nothing that Ansible keeps in memory outlives one request. This is the only file that touches
Ansible, and nothing imports it: it is run as a program of its own.
"""

import contextlib
import io
import json
import os
import sys
from typing import Any

from ansible._internal._templating._engine import TemplateEngine
from ansible.cli.adhoc import AdHocCLI
from ansible.cli.inventory import InventoryCLI
from ansible.plugins.loader import cache_loader, init_plugin_loader, inventory_loader, vars_loader
from ansible.vars.clean import clean_facts
from ansible.vars.hostvars import HostVars

Request = dict[str, Any]


def answer(request: Request) -> Any:
    os.chdir(request["cwd"])
    options = [argument for source in request["sources"] for argument in ("--inventory", source)]
    options += [argument for extra in request["extra_vars"] for argument in ("--extra-vars", extra)]
    if request["project"]:
        options += ["--playbook-dir", request["project"]]
    if request["ask"] == "inventory":
        return command(InventoryCLI(["ansible-inventory", *options, *request["arguments"]]))
    if request["ask"] == "hosts":
        limit = [] if request["limit"] is None else ["--limit", request["limit"]]
        printed: str = command(AdHocCLI(["ansible", *options, *limit, "--list-hosts", request["pattern"]]))
        return printed.split("\n")[1:] if printed.startswith("  hosts (") else printed
    return templated(options)


def command(cli: Any) -> str:
    """What a command prints, or how it failed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            cli.parse()
            code = cli.run()
        except SystemExit as end:
            code = end.code
        except Exception as error:
            return f"failed: {error}"
    return printed.getvalue().rstrip("\n") if not code else f"failed: {code}"


def templated(options: list[str]) -> dict[str, dict[str, Any]]:
    """Every variable of every host with its templates filled in, or null where that fails."""
    cli = InventoryCLI(["ansible-inventory", "--list", *options])
    cli.parse()
    loader, inventory, variables = cli._play_prereqs()
    HostVars(inventory, variables, loader)  # which makes itself known to the variables
    found: dict[str, dict[str, Any]] = {}
    for host in inventory.get_hosts("all"):
        names = cli._remove_internal(variables.get_vars(host=host, include_hostvars=False, stage="all"))
        seen = variables.get_vars(host=host, stage="all")
        engine = TemplateEngine(loader=loader, variables=seen)
        for name, value in names.items():
            try:
                filled = json.loads(json.dumps(engine.template(value), default=str))
            except Exception:
                filled = None
            found.setdefault(host.name, {})[name] = filled
    return found


def main() -> None:
    # What each fork would load anew.
    init_plugin_loader()
    clean_facts({})
    for name in ("host_list", "script", "auto", "yaml", "ini", "toml"):
        inventory_loader.get(name)
    vars_loader.get("host_group_vars")
    cache_loader.get("memory")
    for line in sys.stdin:
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.close(reads)
            try:
                answered = answer(json.loads(line))
            except BaseException as error:
                answered = f"failed: {type(error).__name__}: {error}"
            with os.fdopen(writes, "w") as back:
                json.dump(answered, back)
            os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as back:
            print(back.read(), flush=True)
        os.waitpid(child, 0)


main()
