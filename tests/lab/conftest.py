"""Real hosts for tests. They live as long as the test run, and die with it however it ends."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host as Eye

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of this test run."""
    Lab.sweep()  # of what a run that was killed has left
    lab = Lab(f"test-{os.getpid()}", owned=True)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def eye(lab: Lab) -> Callable[[LabHost], Eye]:
    """An independent look into a host: testinfra over OpenSSH."""

    def look(host: LabHost) -> Eye:
        options = f"-o UserKnownHostsFile={lab.known_hosts}"
        found: Eye = testinfra.get_host(
            f"ssh://root@{host.address}", ssh_identity_file=str(lab.private_key), ssh_extra_args=options
        )
        return found

    return look


@pytest.fixture(scope="session")
def deployed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[LabHost, Path]:
    """A Debian 12 host to which both example applications were deployed, and the site's folder. Shared: a test leaves
    it as it found it, or deploys again."""
    (host,) = lab.up(["web1"])
    folder = tmp_path_factory.mktemp("site")
    Site(folder, lab, [host]).deploy("web1")
    return host, folder


@pytest.fixture
def host(deployed: tuple[LabHost, Path]) -> LabHost:
    """The shared host."""
    return deployed[0]


@pytest.fixture
def site(lab: Lab, deployed: tuple[LabHost, Path], tmp_path: Path) -> Site:
    """A site of the test's own for the shared host, with everything on the host as the example says."""
    site = Site(tmp_path, lab, [deployed[0]])
    site.deploy("web1")
    return site
