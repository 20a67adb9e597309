"""Faults that hit at a boundary. Each strikes while the agent is held there, and lets go what is left."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rackhand.lab import LabHost
from tests.faults import boundary
from tests.faults.case import Case

#: Seconds within which an agent gets to its point, a controller ends that has lost its host, an agent that is cut off
#: goes on to its end, and a host serves again that had its power cut.
REACHES, ENDS, CUT_OFF, BOOTS = 240, 60, 20, 60

Controller = subprocess.Popen[str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`strike` is called while the agent waits at its point."""

    name: str
    strike: Callable[[Case, Controller], None]


def hit(case: Case, fault: Fault, point: str) -> str:
    """Runs the trial's command up to the point and strikes; what serves then, in a word."""
    host = case.subject.host
    boundary.clear(host)
    controller = case.subject.controller(point, *case.trial.command)
    try:
        deadline = time.monotonic() + REACHES
        while not boundary.reached(host):
            if controller.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"never got to {point}: {'; '.join(controller.communicate())[-400:]}")
            time.sleep(boundary.POLL)
        case.note(f"the agent waits at: {point}")
        fault.strike(case, controller)
        word = case.settle()
        _end(case, controller)
        return word
    finally:
        controller.kill()
        controller.communicate()


def _end(case: Case, controller: Controller) -> None:
    """The controller must notice by itself that there is nothing to wait for."""
    try:
        controller.communicate(timeout=ENDS)
        case.note(f"the controller ended with {controller.returncode}")
    except subprocess.TimeoutExpired:
        case.violate(f"the controller still waits after {ENDS} s")


def _kill_controller(case: Case, controller: Controller) -> None:
    controller.kill()
    controller.communicate()
    boundary.release(case.subject.host)


def _interrupt(case: Case, controller: Controller) -> None:
    controller.send_signal(signal.SIGINT)
    # Its request to stop is on its way: whether the agent hears of it before this point or the next, both are right.
    time.sleep(0.2)
    boundary.release(case.subject.host)


def _cut_network(case: Case, controller: Controller) -> None:
    host = case.subject.host
    with silenced(host, "tcp", "22"):
        boundary.release(host)
        alone = case.agents.gone(CUT_OFF)
        case.note("the agent came to its end while cut off" if alone else "the agent waits while cut off")
        with contextlib.suppress(subprocess.TimeoutExpired):
            controller.wait(CUT_OFF)
    case.note("the network is back")


def _kill_agent(case: Case, controller: Controller) -> None:
    case.agents.kill()


def _cut_power(case: Case, controller: Controller) -> None:
    host, witness = case.subject.host, case.witness
    served = witness.answered()
    witness.excuse()
    host.power_cut()
    host.boot()
    host.wait_ssh()
    if served:
        if not _serves(case):
            case.violate(f"{BOOTS} s after the boot it does not serve by itself: {witness.look()}")
    else:
        host.run(["systemctl", "is-system-running", "--wait"], check=False)
    witness.excused()
    case.note("booted again")


def _serves(case: Case) -> bool:
    deadline = time.monotonic() + BOOTS
    while not all(case.witness.look().values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def silenced(host: LabHost, protocol: str, port: str) -> AbstractContextManager[None]:
    """Packets between this machine and a port of the host are dropped, in both directions."""
    rules = f"""
        chain input {{ type filter hook input priority -10; ip saddr {host.address} {protocol} sport {port} drop; }}
        chain output {{ type filter hook output priority -10; ip daddr {host.address} {protocol} dport {port} drop; }}
    """
    return host.network.disturbed(host.name, rules)


CONTROLLER = Fault(name="controller killed", strike=_kill_controller)
INTERRUPT = Fault(name="Ctrl-C", strike=_interrupt)
NETWORK = Fault(name="network cut", strike=_cut_network)
AGENT = Fault(name="agent killed", strike=_kill_agent)
POWER = Fault(name="power cut", strike=_cut_power)

FAULTS = (CONTROLLER, INTERRUPT, NETWORK, AGENT, POWER)
