"""Results between runs: a scenario that is measured again replaces what was kept of it, the others stay."""

from dataclasses import asdict
from pathlib import Path

from benchmarks import figures
from benchmarks.provision.bench import Made, Results
from benchmarks.provision.measure import Taken


def read(path: Path) -> Results:
    """What is kept there; nothing where there is no file."""
    if not path.exists():
        return Results()
    kept = figures.read(path)
    turns = figures.rounds(kept["turns"], Taken)
    made = {scenario: Made(**one) for scenario, one in kept["made"].items()}
    # Results that are older than a figure do not have it.
    later = {name: kept.get(name, {}) for name in ("queued", "part")}
    return Results(turns=turns, starving=kept["starving"], made=made, **later)


def write(results: Results, path: Path) -> None:
    """Keeps the figures, without what the tools said."""
    kept = asdict(results)
    for tools in kept["turns"].values():
        for taken in tools.values():
            for turn in taken:
                del turn["output"]
    figures.write(kept, path)
