"""Renders the templates of units and configuration files."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rackhand import PROJECT

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = PROJECT / "templates"

#: Where templates are looked for: Rackhand's own, then those beside the folders of users' own roles.
FOLDERS = [TEMPLATES]


@cache
def _environment(folders: tuple[Path, ...]) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # not HTML; what goes into them is validated or quoted
    )
    environment.filters["python"] = repr
    return environment


def load() -> None:
    """Compiles all templates."""
    for path in TEMPLATES.iterdir():
        _environment(tuple(FOLDERS)).get_template(path.name)


def render(template: str, **values: object) -> str:
    """The text of templates/`template`. An undefined value is an error."""
    return _environment(tuple(FOLDERS)).get_template(template).render(**values)
