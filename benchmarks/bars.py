"""Figures as a picture: panels of bars, each with a scale of its own, linear and from zero."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_COLUMNS = 2
_WIDTH, _MARGIN, _GAP = 900, 20, 36
_PANEL = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
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


@dataclass(frozen=True, kw_only=True)
class Bar:
    """`text` stands behind it, `hint` is shown when one points at it."""

    name: str
    value: float
    text: str
    hint: str
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    bars: Sequence[Bar]


def svg(about: str, better: str, panels: Sequence[Panel], *, names: int, texts: int) -> str:
    """The picture. `names` and `texts` are how wide the longest ones before and behind bars are, in pixels."""
    parts: list[str] = []
    top = float(_HEAD)
    for first in range(0, len(panels), _COLUMNS):
        row = panels[first : first + _COLUMNS]
        for column, panel in enumerate(row):
            parts += _panel(panel, _MARGIN + column * (_PANEL + _GAP), top, names, texts)
        top += _TITLE + _BELOW + _STEP * max(len(panel.bars) for panel in row)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" width="{_WIDTH}" '
            f'height="{top:.0f}" role="img" aria-label="{escape(about)}">',
            f"<style>\n{_STYLE}</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{top:.0f}" rx="6"/>',
            _text(_MARGIN, 26, f"{about}. {better}", "small"),
            *parts,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, left: float, top: float, names: int, texts: int) -> Iterator[str]:
    longest = max(bar.value for bar in panel.bars) or 1
    yield _text(left, top + 12, panel.title, "title")
    for number, bar in enumerate(panel.bars):
        y = top + _TITLE + number * _STEP
        length = (_PANEL - names - texts) * bar.value / longest
        kind = "bar rackhand" if bar.marked else "bar"
        yield _text(left, y + _BAR - 2, bar.name, "small")
        yield (
            f'<rect class="{kind}" x="{left + names:.1f}" y="{y:.1f}" width="{max(length, 1):.1f}" '
            f'height="{_BAR}"><title>{escape(bar.hint)}</title></rect>'
        )
        yield _text(left + names + length + 6, y + _BAR - 2, bar.text)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{styled}>{escape(text)}</text>'
