"""Every kind of resource, one a file."""

from rackhand.agent.resource import Resource
from rackhand.agent.resources.current import Current
from rackhand.agent.resources.directory import Directory
from rackhand.agent.resources.file import File
from rackhand.agent.resources.firewall import Firewall
from rackhand.agent.resources.instance import Instance
from rackhand.agent.resources.link import Link
from rackhand.agent.resources.nginx_site import NginxSite
from rackhand.agent.resources.packages import Packages
from rackhand.agent.resources.probe import Probe
from rackhand.agent.resources.release import Release
from rackhand.agent.resources.retired import Retired
from rackhand.agent.resources.service import Service
from rackhand.agent.resources.sshd import Sshd
from rackhand.agent.resources.systemd_unit import SystemdUnit
from rackhand.agent.resources.user import User
from rackhand.agent.resources.virtualenv import Virtualenv

KINDS: tuple[type[Resource], ...] = (
    Packages,
    User,
    Directory,
    File,
    Link,
    Release,
    Virtualenv,
    SystemdUnit,
    Service,
    Firewall,
    Sshd,
    Instance,
    Current,
    NginxSite,
    Probe,
    Retired,
)

__all__ = [
    "KINDS",
    "Current",
    "Directory",
    "File",
    "Firewall",
    "Instance",
    "Link",
    "NginxSite",
    "Packages",
    "Probe",
    "Release",
    "Retired",
    "Service",
    "Sshd",
    "SystemdUnit",
    "User",
    "Virtualenv",
]
