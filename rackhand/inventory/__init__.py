"""Ansible inventories: hosts, groups, variables with the place where each was set, and patterns."""

from rackhand.inventory.documents import Definition, Layer, Origin, got, shown
from rackhand.inventory.inventory import Group, Host, Inventory, load_inventory
from rackhand.inventory.names import did_you_mean
from rackhand.inventory.variables import Variables
from rackhand.inventory.vault import UndecryptableError, Vault

__all__ = [
    "Definition",
    "Group",
    "Host",
    "Inventory",
    "Layer",
    "Origin",
    "UndecryptableError",
    "Variables",
    "Vault",
    "did_you_mean",
    "got",
    "load_inventory",
    "shown",
]
