"""What a web server consists of: pure functions from a target to resources."""

from roles.baseline import baseline
from roles.edge import edge
from roles.gunicorn import gunicorn
from roles.hardening import hardening
from roles.nginx import nginx, nginx_site
from roles.python_app import python_app

#: Bring a new host to where applications can be deployed to it.
PROVISION = (baseline, nginx, hardening)
#: And deploy them.
DEPLOY = (*PROVISION, edge, python_app, gunicorn, nginx_site)

__all__ = ["DEPLOY", "PROVISION", "baseline", "edge", "gunicorn", "hardening", "nginx", "nginx_site", "python_app"]
