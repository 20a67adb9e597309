"""Does something bad to an instance, and tells when it is back to full strength. Runs on lab hosts, as root, with the
standard library alone.

    python3 fault_client.py FAULT APP WORKERS WITHIN

Full strength is that so many workers have answered on the instance's own socket since, all of which live, and that
what was hit is gone. Meanwhile the application is asked through nginx. Prints one line of JSON, times in seconds:
`back` is null when the instance was not back within so many. `memory` is the most that what was hit was seen with, in
bytes.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

#: Seconds for one answer. A request that a hung worker has taken gets none.
PATIENCE = 1.0
#: How many ask through nginx, and the seconds between two requests of one.
CLIENTS, PAUSE = 4, 0.04


class Instance:
    """The current instance of an application, asked on its own socket."""

    def __init__(self, app: str) -> None:
        self.socket = f"/opt/rackhand/current/{app}/app.sock"
        self.unit = os.path.basename(os.readlink(f"/opt/rackhand/current/{app}/unit"))

    def master(self) -> int:
        done = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", self.unit], capture_output=True, check=True
        )
        return int(done.stdout)

    def first_line(self, path: str, timeout: float) -> bytes:
        """Of the body of the answer, which need not end. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(self.socket)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            return answer.readline()

    def answering(self, count: int) -> set[int]:
        """The workers that answer when so many ask at once."""
        found: set[int] = set()

        def ask() -> None:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                found.add(int(self.first_line("/pid", PATIENCE)))

        in_threads([ask] * count)
        return found

    def full(self, workers: int, gone: set[int], within: float) -> "set[int] | None":
        """The workers, once there are so many and the others are gone; None when that takes longer."""
        end = time.monotonic() + within
        answered: set[int] = set()
        while time.monotonic() < end:
            answered = {pid for pid in answered | self.answering(4 * workers) if alive(pid)} - gone
            if len(answered) >= workers and not any(map(alive, gone)):
                return answered
            time.sleep(0.02)
        return None


def in_threads(work: "list[Callable[[], None]]") -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def alive(pid: int) -> bool:
    """Not when it has ended, and only its parent has not heard of that yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def most_memory(pids: "set[int]") -> int:
    """The most that one of them holds, watched until all are gone."""
    most = 0
    while any(map(alive, pids)):
        for pid in pids:
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
                most = max(most, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.002)
    return most


class Clients:
    """Ask the application through nginx until they are told to end."""

    def __init__(self, app: str) -> None:
        self.app = app
        self.good: list[float] = []
        self.failed = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._end.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", timeout=PATIENCE)
            try:
                connection.request("GET", f"/{self.app}/health")
                if connection.getresponse().status == 200:
                    self.good.append(time.monotonic())
                else:
                    self.failed += 1
            except (OSError, http.client.HTTPException):
                self.failed += 1
            finally:
                connection.close()
            self._end.wait(PAUSE)

    def end(self, since: float) -> "dict[str, float]":
        """What they have seen: how many were answered and how many were not, and the longest time without an answer."""
        now = time.monotonic()
        self._end.set()
        for thread in self._threads:
            thread.join()
        times = sorted([since, *(each for each in self.good if since < each < now), now])
        return {
            "answered": len(self.good),
            "failed": self.failed,
            "gap": max(after - before for before, after in itertools.pairwise(times)),
        }


def do(fault: str, instance: Instance, workers: "set[int]") -> "set[int]":
    """Returns what it has hit: the processes that must be gone."""
    victim = min(workers)
    if fault == "kill":
        os.kill(victim, signal.SIGKILL)
    elif fault == "stop":
        os.kill(victim, signal.SIGSTOP)
    elif fault == "master":
        master = instance.master()
        os.kill(master, signal.SIGKILL)
        return {master, *workers}
    else:
        victim = int(instance.first_line(f"/{fault}", 10))
    return {victim}


def main(fault: str, app: str, workers: str, within: str) -> None:
    instance = Instance(app)
    before = instance.full(int(workers), set(), float(within))
    if before is None:
        sys.exit(f"{app} is not at full strength to begin with")
    clients = Clients(app)
    memory: list[int] = []
    started = time.monotonic()
    hit = do(fault, instance, before)
    watching = threading.Thread(target=lambda: memory.append(most_memory(hit)))
    watching.start()
    back = instance.full(int(workers), hit, float(within))
    seconds = time.monotonic() - started
    seen = clients.end(started)
    if back is not None:
        watching.join()
    print(json.dumps({"back": None if back is None else seconds, "memory": max(memory, default=0), **seen}), flush=True)
    os._exit(0)  # the thread may still watch


if __name__ == "__main__":
    main(*sys.argv[1:])
