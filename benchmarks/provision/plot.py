"""The figures as a picture: for each scenario a bar for each tool."""

from benchmarks import bars
from benchmarks.bars import Bar, Panel
from benchmarks.provision.bench import SCENARIOS, Results, Scenario

#: Tools from the top to the bottom of each scenario.
_ORDER = ("rackhand", "cold", "floor", "pyinfra", "ansible")


def svg(results: Results) -> str:
    """The picture."""
    shown = [scenario for scenario in SCENARIOS if results.turns.get(scenario.name)]
    about = "Seconds for the same job, and how many times Rackhand's. Each scenario has a scale of its own, from zero"
    panels = [_panel(results, scenario) for scenario in shown]
    return bars.svg(about, "Shorter is better.", panels, names=62, texts=112)


def _panel(results: Results, scenario: Scenario) -> Panel:
    seconds = {tool: median for tool in _ORDER if (median := results.seconds(scenario.name, tool)) is not None}
    own = seconds.get("rackhand")

    def bar(tool: str, median: float) -> Bar:
        ratio = f" · {median / own:.2g} times" if own and tool != "rackhand" else ""
        text = f"{_seconds(median)}{ratio}"
        return Bar(name=tool, value=median, text=text, hint=f"{tool}: {median:.2f} s", marked=tool == "rackhand")

    return Panel(title=scenario.title, bars=[bar(tool, median) for tool, median in seconds.items()])


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"
