"""The commands. Thin: each one hands its options to the library."""

import roles
from rackhand import commands, views
from rackhand.commands import Options
from rackhand.host_commands import host_command


@host_command
def deploy(options: Options, app: str | None = None, check: bool = False, diff: bool = False) -> int:
    """Converge: provision what is missing, deploy the applications, verify."""
    return commands.converge(options, roles.DEPLOY, command="deploy", check=check, diff=diff, app=app)


@host_command
def plan(options: Options, app: str | None = None) -> int:
    """What a deploy would change: the same as deploy --check --diff."""
    return commands.converge(options, roles.DEPLOY, command="plan", check=True, diff=True, app=app)


@host_command
def provision(options: Options, check: bool = False, diff: bool = False) -> int:
    """Bring a new VM to where applications can be deployed to it."""
    return commands.converge(options, roles.PROVISION, command="provision", check=check, diff=diff)


@host_command
def rollback(options: Options, app: str | None = None, release: str | None = None) -> int:
    """Put the release before, or a named one, back into service."""
    return commands.rollback(options, app=app, release=release)


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
