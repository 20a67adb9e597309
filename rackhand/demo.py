"""The demonstration: a lab host, provisioned, with both example applications, asked from outside."""

import shlex
import urllib.request

from rackhand import commands
from rackhand.commands import Options
from rackhand.lab import Lab
from rackhand.lab.commands import DEFAULT, start
from rackhand.rollout import Pace

HOST = "lab1"


def demo(name: str) -> int:
    """Returns the exit code."""

    lab = Lab(name)
    if not lab.hosts():
        print("starting a lab host: a Debian with systemd and sshd (the first time its image is made, about a minute)")
    (host, *_) = start(lab, [HOST])
    options = Options(host=HOST, inventory=(str(lab.inventory),))
    code = commands.converge(options, command="deploy", check=False, diff=False, pace=Pace())
    if code:
        return code
    base = f"http://{host.address}"
    print("\nasked from outside the host:")
    for path in ("/async-api/health", "/sync-api/health"):
        with urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:  # noqa: S310  # an address of the lab
            print(f"  {answer.status} {base}{path}  {answer.read(200).decode().strip()}")
    inventory = shlex.quote(str(lab.inventory))
    which = "" if name == DEFAULT else f" --name {name}"
    print(f"""
Look:
  {base}/async-api/            live metrics of the host (FastAPI)
  {base}/async-api/docs        its API
  {base}/sync-api/report.html  what nginx has served (Flask)

Try next:
  export RACKHAND_INVENTORY={inventory}
  ./invoke status --host {HOST}
  edit apps/sync_api/app.py, then: ./invoke plan --host {HOST}; ./invoke deploy --host {HOST}
  ./invoke rollback --host {HOST} --app sync_api
  ./invoke lab.ssh --host {HOST}{which}
  ./invoke lab.down{which}            removes the host and all that it used""")
    return 0
