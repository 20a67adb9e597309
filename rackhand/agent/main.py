"""The agent's conversation: it says what the host is, takes one question or one plan, and streams events back.

Every message is one line of JSON. Data follows the line that announces it:

    agent       {"event": "facts", …} or {"event": "refused", "reason": …}
    controller  {"ask": "status", …} or {"plan": […], "apply": true, …}, or closes the channel
    agent       {"event": "need", "blobs": [digest, …]}
    controller  {"blob": digest, "size": N} and N bytes, for each
    agent       {"event": "confirm", …}: {"ask": "confirm", "run": RUN} must reach another agent, over a new connection
    controller  {"unconfirmed": reason} when it cannot
    agent       events, the last one {"event": "end", …}
    controller  {"heard": true} when it has got that one
"""

from __future__ import annotations

import os
import signal

from rackhand.agent import status
from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter
from rackhand.agent.facts import facts, refusal
from rackhand.agent.system import System


def main(stdin: int = 0, stdout: int = 1) -> int:
    """Serves one conversation and returns the exit code of the process."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    channel = Channel(stdin)
    # What a program prints goes to the channel's error stream, and none of them reads the plan.
    events = os.dup(stdout)
    os.dup2(2, 1)
    emit = Emitter(events)
    found = facts()
    reason = refusal(found)
    if reason:
        emit("refused", reason=reason)
        return 2
    emit("facts", facts={**found, "apps": status.apps(System())})
    # Most of the agent is loaded while the controller makes a plan of the facts.
    from rackhand.agent import answer

    message = channel.line()
    return 0 if message is None else answer.give(message, channel, emit)
