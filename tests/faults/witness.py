"""The witness: asks the applications through port 80 all the time, from outside, and knows nothing of Rackhand."""

import http.client
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

#: Seconds between two requests to one application, and for which it waits for an answer.
PACE, PATIENCE = 0.05, 15.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one request got: what the application says it is, or why there is none. Times in seconds of the monotonic
    clock."""

    app: str
    began: float
    ended: float
    says: str | None
    error: str | None


def ask(address: str, app: str) -> Answer:
    """One request on a connection of its own."""
    began = time.monotonic()
    says = error = None
    connection = http.client.HTTPConnection(address, 80, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{app}/")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        says, error = (body, None) if answer.status == 200 else (None, f"status {answer.status}")
    except (OSError, http.client.HTTPException) as failure:
        error = f"{type(failure).__name__}: {failure}"
    finally:
        connection.close()
    return Answer(app=app, began=began, ended=time.monotonic(), says=says, error=error)


class Witness:
    """Asks from `with` on until its end. Between `excuse` and `excused` no answer is no failure."""

    def __init__(self, address: str, apps: Sequence[str]) -> None:
        self._address = address
        self._apps = apps
        self._answers: dict[str, list[Answer]] = {app: [] for app in apps}
        self._excuses: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(app,), daemon=True) for app in apps]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, app: str) -> None:
        while not self._stop.is_set():
            self._answers[app].append(ask(self._address, app))
            self._stop.wait(PACE)

    def excuse(self) -> None:
        """From now on nobody can answer."""
        self._excuses.append((time.monotonic(), float("inf")))

    def excused(self) -> None:
        """From now on they must again. A request may have been waiting for the host until just now."""
        began, _ = self._excuses.pop()
        self._excuses.append((began, time.monotonic()))

    def look(self) -> dict[str, str | None]:
        """What each application says at this moment."""
        return {app: ask(self._address, app).says for app in self._apps}

    def answered(self) -> bool:
        """Whether every application has answered before."""
        return all(any(answer.says for answer in list(answers)) for answers in self._answers.values())

    def counts(self) -> str:
        """How many were asked for, in words."""
        every = [answer for answers in self._answers.values() for answer in list(answers)]
        return f"{len(every)} requests, {sum(answer.error is not None for answer in every)} without an answer"

    def violations(self, expected: Sequence[str], *, fresh: bool, undone: bool) -> list[str]:
        """What is against the rules: an answer of nobody expected, none at all, or a way back that was not undoing.
        `expected` are the releases in the order in which they may serve. Before the first release there is nothing that
        could answer."""
        found: list[str] = []
        for app, answers in self._answers.items():
            counted = [answer for answer in answers if not self._is_excused(answer)]
            if fresh:
                first = next((n for n, answer in enumerate(counted) if answer.says), len(counted))
                counted = counted[first:]
            found += _lost(app, counted)
            found += _order(app, [answer.says for answer in counted if answer.says], expected, undone=undone)
        return found

    def _is_excused(self, answer: Answer) -> bool:
        return any(answer.began <= end and answer.ended >= began for began, end in self._excuses)


def _lost(app: str, answers: Sequence[Answer]) -> list[str]:
    """Each stretch without an answer, with how long it was."""
    found = []
    for failed, stretch in groupby(answers, key=lambda answer: answer.error is not None):
        if failed:
            lost = list(stretch)
            seconds = lost[-1].ended - lost[0].began
            found.append(f"{app}: {len(lost)} requests lost in {seconds:.1f} s ({lost[0].error})")
    return found


def _order(app: str, says: Iterable[str], expected: Sequence[str], *, undone: bool) -> list[str]:
    served = [word for word, _ in groupby(says)]
    strangers = sorted(set(served) - set(expected))
    if strangers:
        return [f"{app} answered with {', '.join(strangers)}; expected was {' or '.join(expected)}"]
    # Undoing is the one way back; what was undone may come again with the next run.
    ways = [*expected, *expected] if undone else list(expected)
    rest = iter(ways)
    if not all(word in rest for word in served):
        return [f"{app} alternated: {' → '.join(served)}"]
    return []
