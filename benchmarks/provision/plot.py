"""The figures as a picture: for each scenario a bar for each tool."""

from collections.abc import Iterator
from html import escape

from benchmarks.provision.bench import SCENARIOS, Results, Scenario

_COLUMNS = 2
_WIDTH, _MARGIN, _GAP = 900, 20, 36
_PANEL = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
_LABEL, _FIGURE = 62, 112  # room for a tool's name before its bar, and for its figure behind the longest
_BAR, _STEP, _TITLE, _BELOW = 12, 17, 22, 16
_HEAD = 46

#: Both of GitHub's themes, by what the reader's system asks for; the ground goes with it, so that all can be read.
_STYLE = """\
text { font: 12px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff }
.title { font-weight: 600 }
.small { fill: #59636e }
.bar { fill: #8c959f }
.rackhand { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .ground { fill: #0d1117 }
  .small { fill: #9198a1 }
  .bar { fill: #6e7681 }
  .rackhand { fill: #4493f8 }
}
"""

#: Tools from the top to the bottom of each scenario.
_ORDER = ("rackhand", "cold", "floor", "pyinfra", "ansible")


def svg(results: Results) -> str:
    """The picture. Each scenario has a scale of its own, linear and from zero."""
    shown = [scenario for scenario in SCENARIOS if results.turns.get(scenario.name)]
    parts: list[str] = []
    top = float(_HEAD)
    for first in range(0, len(shown), _COLUMNS):
        row = shown[first : first + _COLUMNS]
        for column, scenario in enumerate(row):
            parts += _panel(results, scenario, _MARGIN + column * (_PANEL + _GAP), top)
        top += _TITLE + _BELOW + _STEP * max(len(results.turns[scenario.name]) for scenario in row)
    about = "Seconds for the same job, and how many times Rackhand's. Each scenario has a scale of its own, from zero"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" width="{_WIDTH}" '
            f'height="{top:.0f}" role="img" aria-label="{about}">',
            f"<style>\n{_STYLE}</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{top:.0f}" rx="6"/>',
            _text(_MARGIN, 26, f"{about}. Shorter is better.", "small"),
            *parts,
            "</svg>\n",
        ]
    )


def _panel(results: Results, scenario: Scenario, left: float, top: float) -> Iterator[str]:
    seconds = {tool: median for tool in _ORDER if (median := results.seconds(scenario.name, tool)) is not None}
    longest = max(seconds.values())
    own = seconds.get("rackhand")
    yield _text(left, top + 12, scenario.title, "title")
    for number, (tool, median) in enumerate(seconds.items()):
        y = top + _TITLE + number * _STEP
        length = (_PANEL - _LABEL - _FIGURE) * median / longest
        ratio = f" · {median / own:.2g} times" if own and tool != "rackhand" else ""
        kind = "bar rackhand" if tool == "rackhand" else "bar"
        yield _text(left, y + _BAR - 2, tool, "small")
        yield (
            f'<rect class="{kind}" x="{left + _LABEL:.1f}" y="{y:.1f}" width="{max(length, 1):.1f}" '
            f'height="{_BAR}"><title>{escape(tool)}: {median:.2f} s</title></rect>'
        )
        yield _text(left + _LABEL + length + 6, y + _BAR - 2, f"{_seconds(median)}{ratio}")


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{styled}>{escape(text)}</text>'


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"
