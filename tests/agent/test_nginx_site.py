"""A site fits the nginx of the host."""

import pytest

from rackhand.agent.resources.nginx_site import fitting

SITE = "a;\n    new on;  # since nginx 1.27.4\nb;  # since ever\n"


@pytest.mark.parametrize("version", ["1.27.4", "1.27.10", "1.28.0 (Ubuntu)", "2.0"])
def test_what_a_version_knows_stays(version: str) -> None:
    assert fitting(SITE, f"nginx version: nginx/{version}\n") == SITE


@pytest.mark.parametrize("version", ["nginx/1.22.1", "nginx/1.27.3", "nginx/1.9.99", "something else"])
def test_what_a_version_does_not_know_is_left_out(version: str) -> None:
    assert fitting(SITE, f"nginx version: {version}\n") == "a;\nb;  # since ever\n"
