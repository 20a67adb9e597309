"""Throwaway real hosts on this machine: a Debian with systemd, sshd and its own address in about a second."""

from rackhand.lab.host import LabHost
from rackhand.lab.image import RELEASES
from rackhand.lab.lab import Lab
from rackhand.lab.machine import ensure_packages

__all__ = ["RELEASES", "Lab", "LabHost", "ensure_packages"]
