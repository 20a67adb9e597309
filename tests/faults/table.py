"""The table: each fault at each boundary, with counts, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.faults.case import Outcome

#: What is not quite the real thing.
STAND_INS = """Stood in for:

- A power cut kills the host's init. What was written and not synced survives, unlike on a disk: it shows what a boot
  makes of a half-done deploy, not that everything is synced in time.
- The small disk is a tmpfs over Rackhand's folders, with a limit of bytes and inodes.
- A container has its machine's clock, which is not touched: the agent is given one that is a year ahead, and the
  journals of earlier runs the times that it would have given them.
- What dies after 5 s is refused because its `settle` is 8. Without one it would serve, and systemd would start it again
  each time: a release that starts and answers counts as good after a moment.
- The controller takes a silent host for gone after seconds instead of half a minute."""

#: In the history of a violation, how many lines are kept.
LINES = 30


def markdown(outcomes: Sequence[Outcome], command: str) -> str:
    """All outcomes, with the command that made them."""
    bad = [outcome for outcome in outcomes if outcome.violations]
    parts = [
        "# Faults, and what becomes of them",
        f"Made by `{command}`. What is done, and what is checked after each: `tests/faults/`.",
        _counts(outcomes),
        STAND_INS,
        *(_grid(name, [o for o in outcomes if o.scenario == name and o.boundary]) for name in _names(outcomes)),
        _list([outcome for outcome in outcomes if not outcome.boundary]),
        *(["## Violations", *map(_violation, bad)] if bad else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _names(outcomes: Iterable[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.scenario for outcome in outcomes if outcome.boundary))


def _counts(outcomes: Sequence[Outcome]) -> str:
    bad = sum(bool(outcome.violations) for outcome in outcomes)
    words = Counter(_verdict(outcome) for outcome in outcomes)
    rows = "\n".join(f"| {word} | {count} |" for word, count in words.most_common())
    return f"{len(outcomes)} cases, {bad} with a violation.\n\n| after the fault | cases |\n|---|---|\n{rows}"


def _verdict(outcome: Outcome) -> str:
    return "VIOLATION" if outcome.violations else f"{outcome.word}; the next run converged"


def _cell(outcome: Outcome) -> str:
    return f"**VIOLATION** ({outcome.word})" if outcome.violations else outcome.word


def _grid(scenario: str, outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    faults = list(dict.fromkeys(outcome.fault for outcome in outcomes))
    cells = {(outcome.boundary, outcome.fault): _cell(outcome) for outcome in outcomes}
    rows = [
        f"| {boundary} | " + " | ".join(cells.get((boundary, fault), "") for fault in faults) + " |"
        for boundary in dict.fromkeys(outcome.boundary for outcome in outcomes)
    ]
    head = f"| {scenario} deploy, stopped | {' | '.join(faults)} |\n|{'---|' * (len(faults) + 1)}"
    text = (
        "A row is a state of the host that differs from the row above: a boundary behind a step that has changed "
        "nothing is left out. `X > operation` is inside of step X, before that operation."
    )
    return f"## {scenario.capitalize()}\n\n{text}\n\n" + "\n".join([head, *rows])


def _list(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    rows = [f"| {outcome.fault} | {outcome.scenario} | {_cell(outcome)} |" for outcome in outcomes]
    return "## Without a boundary\n\n| fault | on | outcome |\n|---|---|---|\n" + "\n".join(rows)


def _violation(outcome: Outcome) -> str:
    where = f" at `{outcome.boundary}`" if outcome.boundary else ""
    told = "\n".join(f"- {violation}" for violation in outcome.violations)
    return f"### {outcome.scenario}: {outcome.fault}{where}\n\n{told}\n\n```text\n{history(outcome)}\n```"


def history(outcome: Outcome) -> str:
    """What happened in a case, line by line."""
    return "\n".join(outcome.history[-LINES:])
