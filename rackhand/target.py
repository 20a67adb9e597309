"""What roles are given: one host, what it is, what it should be, and what is sent to it."""

from collections.abc import Mapping
from dataclasses import dataclass

from rackhand.agent.facts import Facts
from rackhand.bundle import Bundle
from rackhand.settings import App, HostSettings


@dataclass(frozen=True, kw_only=True)
class Target:
    """`apps` are those to deploy now, out of all that the settings declare; `uv` is the digest of the packed uv."""

    settings: HostSettings
    facts: Facts
    bundles: Mapping[str, Bundle]
    apps: tuple[App, ...]
    uv: str
