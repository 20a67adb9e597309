"""What a host's variables mean to Rackhand: read once, checked in full, typed.

A class says what each setting is for; the function that fills it says what it may be. All mistakes of a host
are reported together, each with file, line and path.
"""

from rackhand.settings.app import App, Server, Worker
from rackhand.settings.connection import ConnectionSettings
from rackhand.settings.host import HostSettings, Read, host_settings, passed_on, read
from rackhand.settings.machine import Allowed, FirewallSettings, SshSettings
from rackhand.settings.roles import APP_ROLES, ROLES, RoleSettings, Secret
from rackhand.settings.web import NginxSettings
from rackhand.settings.workers import resolve_workers

__all__ = [
    "APP_ROLES",
    "ROLES",
    "Allowed",
    "App",
    "ConnectionSettings",
    "FirewallSettings",
    "HostSettings",
    "NginxSettings",
    "Read",
    "RoleSettings",
    "Secret",
    "Server",
    "SshSettings",
    "Worker",
    "host_settings",
    "passed_on",
    "read",
    "resolve_workers",
]
