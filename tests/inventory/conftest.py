"""One Ansible for all tests of a process."""

from collections.abc import Iterator

import pytest

from tests.inventory.oracle import Ansible


@pytest.fixture(scope="session")
def ansible() -> Iterator[Ansible]:
    started = Ansible()
    yield started
    started.close()
