"""The commands. Thin: each one hands its options to the library."""

from collections.abc import Sequence

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from rackhand import commands, views
from rackhand.commands import Options
from rackhand.host_commands import host_command, inventory_command
from rackhand.rollout import Pace


@host_command
def deploy(
    options: Options,
    app: str | None = None,
    check: bool = False,
    diff: bool = False,
    serial: str | None = None,
    max_fail_percentage: str | None = None,
    canary: bool = True,
    tags: Sequence[str] | None = None,
    skip_tags: Sequence[str] | None = None,
) -> int:
    """Converge: provision what is missing, deploy the applications, verify."""
    pace = Pace(serial=serial, max_fail_percentage=max_fail_percentage, canary=canary)
    return commands.converge(
        options, command="deploy", check=check, diff=diff, app=app, pace=pace, tags=tags, skip_tags=skip_tags
    )


@host_command
def plan(
    options: Options,
    app: str | None = None,
    tags: Sequence[str] | None = None,
    skip_tags: Sequence[str] | None = None,
) -> int:
    """What a deploy would change: the same as deploy --check --diff."""
    return commands.converge(
        options, command="plan", check=True, diff=True, app=app, pace=Pace(), tags=tags, skip_tags=skip_tags
    )


@host_command
def provision(
    options: Options,
    check: bool = False,
    diff: bool = False,
    serial: str | None = None,
    max_fail_percentage: str | None = None,
    tags: Sequence[str] | None = None,
    skip_tags: Sequence[str] | None = None,
) -> int:
    """Bring a new VM to where applications can be deployed to it."""
    pace = Pace(serial=serial, max_fail_percentage=max_fail_percentage)
    return commands.converge(
        options, command="provision", check=check, diff=diff, pace=pace, tags=tags, skip_tags=skip_tags
    )


@host_command
def rollback(
    options: Options,
    app: str | None = None,
    release: str | None = None,
    serial: str | None = None,
    max_fail_percentage: str | None = None,
) -> int:
    """Put the release before, or a named one, back into service: the same one on all hosts."""
    pace = Pace(serial=serial, max_fail_percentage=max_fail_percentage)
    return commands.rollback(options, app=app, release=release, pace=pace)


@host_command
def restart(
    options: Options, app: str | None = None, serial: str | None = None, max_fail_percentage: str | None = None
) -> int:
    """Replace what runs by new instances of the same releases, without losing a request."""
    return commands.restart(options, app=app, pace=Pace(serial=serial, max_fail_percentage=max_fail_percentage))


@host_command
def tune(
    options: Options,
    app: str | None = None,
    path: str | None = None,
    seconds: int = 3,
    concurrency: int = 32,
    live: bool = False,
    write: bool = False,
) -> int:
    """Find the best kind and number of workers for an application on its host, by measuring candidates beside it."""
    from rackhand import tune

    return tune.tune(options, app=app, path=path, seconds=seconds, concurrency=concurrency, live=live, write=write)


@host_command
def smoke(options: Options, app: str | None = None) -> int:
    """Ask the applications for their health, through nginx on their host."""
    return commands.smoke(options, app=app)


@host_command
def facts(options: Options) -> int:
    """What hosts are: the cores that may be used, memory, system, Python."""
    return views.facts(options)


@host_command
def status(options: Options, app: str | None = None) -> int:
    """What runs on hosts: application, release, since when, workers, memory, health."""
    return views.status(options, app=app)


@host_command
def releases(options: Options, app: str | None = None) -> int:
    """The releases that hosts can go back to."""
    return views.releases(options, app=app)


@host_command
def exec_(options: Options, argv: Sequence[str], shell: str | None = None, timeout: int = 300) -> int:
    """Run a command on hosts: exec --host web -- systemctl is-active nginx. Hosts that say the same stand together."""
    from rackhand import exec

    return exec.execute(options, argv=argv, shell=shell, timeout=timeout)


@host_command
def logs(
    options: Options, app: str | None = None, lines: int = 100, since: str | None = None, follow: bool = False
) -> int:
    """What applications have said, of all hosts by time."""
    from rackhand import logs

    return logs.logs(options, app=app, lines=lines, since=since, follow=follow)


@host_command
def maintenance(options: Options, app: str | None = None, on: bool = False, off: bool = False) -> int:
    """Have nginx answer for applications with 503, without touching them; or open them again."""
    from rackhand import maintenance

    return maintenance.maintenance(options, app=app, on=on, off=off)


@inventory_command(
    help={
        "list": "all groups and the variables of all hosts, as JSON",
        "graph": "groups and hosts as a tree",
        "lint": "what is wrong, misspelt, unused or overridden everywhere, with file and line",
        "host": "the variables of this host, as JSON",
        "blame": "with --host: every place that sets this variable, or a part of it (apps.shop.workers); the last wins",
    }
)
def inventory(
    options: Options, list: bool = False, graph: bool = False, lint: bool = False, blame: str | None = None
) -> int:
    """What ansible-inventory prints: --list, --graph or --host; where a variable was set; what is amiss."""
    from rackhand import inventory_command

    return inventory_command.show(options, all_of_it=list, tree=graph, check=lint, blame=blame)


@inventory_command(
    help={
        "app": "the application",
        "all": "every declared application, behind one port",
        "host": "as this host, group or pattern declares them (default: as all hosts do)",
        "port": "of this machine's loopback interface",
    }
)
def dev(options: Options, app: str | None = None, all: bool = False, port: int = 8000) -> int:
    """Run an application on this machine, under its route, with reload."""
    from rackhand.dev.command import dev

    return dev(options, app=app, every=all, port=port)


@host_command
def advise(options: Options, app: str | None = None) -> int:
    """How applications would best be served, and why; on the hosts that --host names, or in general."""
    from rackhand.advise import advise

    return advise(options, app=app)


@inventory_command(
    "limit",
    help={
        "fingerprint": "SHA256:… of a key that you have seen on the host itself; may be repeated",
        "replace": "also where another key is known",
    },
)
def hosts_trust(options: Options, fingerprint: Sequence[str] | None = None, replace: bool = False) -> int:
    """Show the keys of hosts, and make them known once you have compared them."""
    from rackhand.trust import trust

    return trust(options, fingerprints=fingerprint or (), replace=replace)


@task(help={"name": "of the lab"}, auto_shortflags=False)
def demo(_: Context, name: str = "demo") -> None:
    """Boot a lab host, provision it, deploy both example applications, and show where they are."""
    from rackhand.demo import demo

    _end(demo(name))


@task(help={"only": "a folder, file or test for pytest, instead of everything"}, auto_shortflags=False)
def test(_: Context, only: str | None = None) -> None:
    """Everything that CI checks."""
    from rackhand import checks

    _end(checks.run(only))


@task(
    iterable=["scenario", "fault"],
    help={
        "scenario": "fresh, code, dependency or rollback; may be repeated (default: all)",
        "fault": "one by its name, as the table has it; may be repeated (default: all)",
        "out": "file for the table (default: benchmarks/FAULTS.md, when everything is run)",
        "subset": "a few minutes instead of an hour: every fault at least once",
        "hosts": "how many lab hosts at once",
    },
    auto_shortflags=False,
)
def faults(
    _: Context,
    scenario: list[str],
    fault: list[str],
    out: str | None = None,
    subset: bool = False,
    hosts: int = 2,
) -> None:
    """Hit deploys on lab hosts with faults at every boundary between two steps, and keep a table of what came of it."""
    from tests.faults import run

    _end(run.main(scenarios=scenario, faults=fault, out=out, few=subset, at_once=hosts, command=run.command_line()))


@task(
    help={
        "rounds": "how often everything is measured, taking turns",
        "seconds": "how long each load lasts",
        "out": "file for the result, with the figures as JSON beside it (default: benchmarks/SERVING.md)",
    },
    auto_shortflags=False,
)
def bench_serve(_: Context, rounds: int = 5, seconds: int = 5, out: str | None = None) -> None:
    """Load what is deployed to a lab host, next to what the usual tutorials set up by hand."""
    from benchmarks import serving

    _end(serving.main(rounds, seconds, out))


@task(
    help={
        "rounds": "how often everything is measured, taking turns",
        "seconds": "how long each load lasts",
        "out": "file for the result (default: benchmarks/SCALING.md)",
    },
    auto_shortflags=False,
)
def bench_scaling(_: Context, rounds: int = 5, seconds: int = 5, out: str | None = None) -> None:
    """Have applications compute with one worker, and with one for each core of a lab host."""
    from benchmarks import scaling

    _end(scaling.main(rounds, seconds, out))


@task(
    help={
        "rounds": "how often everything is measured, taking turns",
        "seconds": "how long each load lasts",
        "out": "file for the result, with the plot beside it (default: benchmarks/MODES.md and docs/modes.svg)",
    },
    auto_shortflags=False,
)
def bench_modes(_: Context, rounds: int = 3, seconds: int = 2, out: str | None = None) -> None:
    """Load a lab host in each mode of serving, side by side: servers, kinds of workers, both frameworks."""
    from benchmarks import modes

    _end(modes.main(rounds, seconds, out))


@task(
    help={
        "rounds": "how often everything is measured",
        "timeout": "seconds of silence after which a worker counts as hung, as an application's `timeout`",
        "out": "file for the result (default: benchmarks/SUPERVISION.md)",
    },
    auto_shortflags=False,
)
def bench_supervision(_: Context, rounds: int = 3, timeout: int = 5, out: str | None = None) -> None:
    """Kill, stop and starve workers and masters on a lab host, in each mode of serving, until all serve again."""
    from benchmarks import supervision

    _end(supervision.main(rounds, timeout, out))


@task(
    help={"rounds": "how often all is done", "out": "file for the result (default: benchmarks/TRAFFIC.md)"},
    auto_shortflags=False,
)
def bench_traffic(_: Context, rounds: int = 3, out: str | None = None) -> None:
    """Deploy, roll back, restart and kill under traffic, and count what is lost and how long nothing is answered."""
    from benchmarks import traffic

    _end(traffic.main(rounds, out))


@task(
    help={"rounds": "how many edits of each application", "out": "file for the result (default: benchmarks/DEV.md)"},
    auto_shortflags=False,
)
def bench_dev(_: Context, rounds: int = 20, out: str | None = None) -> None:
    """Edit the example applications under `dev`, until each edit is live."""
    from benchmarks import dev as edits

    _end(edits.main(rounds, out))


@task(
    iterable=["only"],
    help={
        "rounds": "how many turns each tool has in each scenario",
        "only": "one scenario by its name, as the progress shows it; may be repeated (default: all)",
        "out": "file for the results, with the plot beside it (default: benchmarks/RESULTS.md and docs/provision.svg)",
    },
    auto_shortflags=False,
)
def bench_provision(_: Context, only: list[str], rounds: int = 5, out: str | None = None) -> None:
    """Measure the same job done by Rackhand, Ansible, pyinfra and a shell script, on lab hosts."""
    from benchmarks.provision import run

    _end(run.main(rounds=rounds, only=only, out=out))


@task(
    help={"count": "how many hosts: lab1, lab2, …", "image": "bookworm or trixie", "name": "of the lab"},
    auto_shortflags=False,
)
def lab_up(_: Context, count: int = 1, image: str = "bookworm", name: str = "demo") -> None:
    """Boot throwaway hosts on this machine: each a Debian with systemd, sshd and an address of its own."""
    from rackhand.lab import commands

    _end(commands.up(name, count, image))


@task(help={"name": "of the lab"}, auto_shortflags=False)
def lab_down(_: Context, name: str = "demo") -> None:
    """Remove the lab's hosts and all that they used."""
    from rackhand.lab import commands

    _end(commands.down(name))


@task(help={"name": "of the lab"}, auto_shortflags=False)
def lab_status(_: Context, name: str = "demo") -> None:
    """The lab's running hosts."""
    from rackhand.lab import commands

    _end(commands.status(name))


@task(help={"host": "which one", "name": "of the lab"}, auto_shortflags=False)
def lab_ssh(_: Context, host: str = "lab1", name: str = "demo") -> None:
    """A shell on a lab host."""
    from rackhand.lab import commands

    _end(commands.ssh(name, host))


_VAULT = {
    "vault_id": "label@FILE, label@SCRIPT or label@prompt",
    "vault_password_file": "file or script with the password",
    "ask_vault_pass": "ask for the password",
}


@task(
    iterable=["vault_id", "vault_password_file"],
    help={"name": "of the variable", **_VAULT},
    auto_shortflags=False,
)
def vault_encrypt(
    _: Context,
    vault_id: list[str],
    vault_password_file: list[str],
    name: str | None = None,
    ask_vault_pass: bool = False,
) -> None:
    """Print a value encrypted, as it goes into a file of variables; it is asked for, or read from a pipe."""
    from rackhand import vault_commands

    _end(vault_commands.encrypt_value(name, ids=vault_id, files=vault_password_file, ask=ask_vault_pass))


@task(
    positional=["file"],
    iterable=["vault_id", "vault_password_file"],
    help={"file": "encrypted as a whole, or with encrypted values", **_VAULT},
    auto_shortflags=False,
)
def vault_view(
    _: Context,
    file: str,
    vault_id: list[str],
    vault_password_file: list[str],
    ask_vault_pass: bool = False,
) -> None:
    """Print what is encrypted in a file."""
    from rackhand import vault_commands

    _end(vault_commands.view(file, ids=vault_id, files=vault_password_file, ask=ask_vault_pass))


def _end(code: int) -> None:
    if code:
        raise Exit(code=code)


_lab = Collection("lab")
for _name, _task in {"up": lab_up, "down": lab_down, "status": lab_status, "ssh": lab_ssh}.items():
    _lab.add_task(_task, name=_name)

_bench = Collection("bench")
_bench.add_task(bench_dev, name="dev")
_bench.add_task(bench_modes, name="modes")
_bench.add_task(bench_provision, name="provision")
_bench.add_task(bench_scaling, name="scaling")
_bench.add_task(bench_serve, name="serve")
_bench.add_task(bench_supervision, name="supervision")
_bench.add_task(bench_traffic, name="traffic")

_hosts = Collection("hosts")
_hosts.add_task(hosts_trust, name="trust")

_vault = Collection("vault")
_vault.add_task(vault_encrypt, name="encrypt")
_vault.add_task(vault_view, name="view")

namespace = Collection(
    deploy,
    plan,
    provision,
    rollback,
    restart,
    smoke,
    tune,
    facts,
    status,
    releases,
    logs,
    maintenance,
    inventory,
    dev,
    advise,
    demo,
    test,
    faults,
)
namespace.add_task(exec_, name="exec")
namespace.add_collection(_lab)
namespace.add_collection(_bench)
namespace.add_collection(_vault)
namespace.add_collection(_hosts)
