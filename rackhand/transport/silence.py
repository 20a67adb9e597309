"""When a connection counts as dead whose other end has fallen silent."""

from __future__ import annotations

import socket
import threading
from functools import partial
from typing import Any

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.message import Message
from paramiko.packet import Packetizer

from rackhand.transport import Greeted


class Listener(Packetizer):
    """Whoever waits for a word of the other end waits no longer once there is one. The first one is its greeting."""

    def __init__(self, sock: Any, greeted: Greeted) -> None:
        super().__init__(sock)
        self._greeted = greeted
        self.waiting: threading.Timer | None = None

    def start_handshake(self, timeout: float) -> None:
        """Called once, when the greeting has come."""
        self._greeted()
        super().start_handshake(timeout)

    def read_message(self) -> tuple[int, Message]:
        word = super().read_message()
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        return word


def end_when_silent(transport: paramiko.Transport, every: int, unanswered: int) -> None:
    """From now on there is a sign of life every so many seconds, and the connection ends when so many of them had no
    answer. Its packetizer is a Listener."""
    patience = max(unanswered - 1, 1) * every
    if isinstance(transport.sock, socket.socket) and transport.sock.family != socket.AF_UNIX:
        # Else the kernel gives up only after a quarter of an hour. It counts from when something is sent that nobody
        # confirms; a sign of life is, when nothing else is.
        transport.set_keepalive(every)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience * 1000)
    else:
        # What is sent to a jump host or a program is taken by them, whether or not the host is still behind them. So
        # the host itself has to answer. paramiko's own sign of life asks for no answer.
        transport.packetizer.set_keepalive(every, partial(_ask, transport, patience))


def _ask(transport: paramiko.Transport, patience: int) -> None:
    """Called by the thread that hears the answer. The one that waits is another: where the way is blocked, sending
    does not return."""
    packetizer = transport.packetizer
    assert isinstance(packetizer, Listener)
    if packetizer.waiting is None:
        packetizer.waiting = threading.Timer(patience, transport.close)
        packetizer.waiting.daemon = True
        packetizer.waiting.start()
    request = Message()
    request.add_byte(cMSG_GLOBAL_REQUEST)
    request.add_string("keepalive@openssh.com")
    request.add_boolean(True)  # an answer is wanted: that nobody knows this request is one
    transport._send_user_message(request)  # type: ignore[attr-defined]  # global_request() would wait, in this thread
