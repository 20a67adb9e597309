"""Which resources of a plan are meant: by role, by kind, by id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rackhand.agent.resource import Resource
from rackhand.agent.resources import KINDS, NginxSite
from rackhand.errors import UserError
from rackhand.inventory import did_you_mean
from rackhand.settings import HostSettings

#: A resource, and the role that wants it.
OfRole = tuple[str, Resource]

#: Kinds that stand or fall together: what serves, what did before, and the proof of it.
_SWITCH = ("instance", "current", "probe", "retired")
#: Kinds without which there is nothing to start.
_STARTED_FROM = ("release", "virtualenv")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Each tag is a role, a kind, or a pattern of ids as in `file:/etc/*`. Without `only` all resources are meant, but
    for those of `skip`."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.only or self.skip)

    def choose(self, wanted: Sequence[OfRole]) -> list[Resource]:
        """The resources that are meant, in their order. What one of them cannot do without is meant as well; to skip
        that is refused with UserError."""
        skipped = [resource for role, resource in wanted if _matches(self.skip, role, resource)]
        meant = [one for one in wanted if (not self.only or _matches(self.only, *one)) and one[1] not in skipped]
        for _, resource in meant:  # what is added goes through this in its turn
            for needed in (one for one in wanted if one not in meant and _needs(resource, one[1])):
                if needed[1] in skipped:
                    raise UserError(
                        f"--skip-tags leaves out {needed[1].id}, which {resource.id} cannot do without: "
                        "skip both or neither"
                    )
                meant.append(needed)
        return [one[1] for one in wanted if one in meant]

    def strays(self, ids: Collection[str]) -> Iterator[str]:
        """A warning for each id among the tags that none of a host's resources has."""
        for option, tags in (("--tags", self.only), ("--skip-tags", self.skip)):
            for tag in tags:
                if ":" in tag and not any(fnmatchcase(one, tag) for one in ids):
                    yield f"{option} {tag}: no resource has such an id"


def _matches(tags: Iterable[str], role: str, resource: Resource) -> bool:
    return any(tag in (role, resource.kind) or fnmatchcase(resource.id, tag) for tag in tags)


def _needs(resource: Resource, other: Resource) -> bool:
    """Whether a resource must not be without the other: it refers to that; of a switch, all belongs together."""
    kinds: tuple[str, ...] = ()
    if resource.kind in ("instance", "current", "retired") or _makes_room(resource):
        kinds = (*_SWITCH, *_STARTED_FROM)
    elif resource.kind == "nginx_site":
        kinds = ("probe",)
    return other.id in resource.references() or other.kind in kinds or (resource.kind in _SWITCH and _makes_room(other))


def _makes_room(resource: Resource) -> bool:
    """Whether it takes nginx away, so that an application can listen itself."""
    return isinstance(resource, NginxSite) and not resource.content


def selection(only: Iterable[str], skip: Iterable[str], hosts: Iterable[HostSettings]) -> Selection:
    """From the options, each with commas or given several times. Raises UserError for a tag that nothing can have."""
    roles = dict.fromkeys(role.name for host in hosts for role in host.roles)
    kinds = [kind.kind for kind in KINDS]
    found = []
    for option, given in (("--tags", only), ("--skip-tags", skip)):
        given = tuple(given)
        tags = tuple(tag.strip() for one in given for tag in one.split(",") if tag.strip())
        if given and not tags:
            raise UserError(f"{option} is empty: name roles, kinds or ids of resources")
        for tag in tags:
            name, colon, _ = tag.partition(":")
            if name not in kinds and (colon or name not in roles) and not (colon and set(name) & set("*?[")):
                raise UserError(
                    f"{option} {tag}: there is no such role or kind{did_you_mean(name, [*roles, *kinds])}: the hosts "
                    f"have the roles {', '.join(roles)}; kinds are {', '.join(kinds)}; or an id, as file:/etc/motd"
                )
        found.append(tags)
    return Selection(only=found[0], skip=found[1])
