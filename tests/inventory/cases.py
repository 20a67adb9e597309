"""Reads the corpus: each file of tests/inventories/ is one case, that is a folder in one text.

It begins with what the case is about. Then come lines of `word: value`, each optional: `sources` (the inventories, one
or several, default the first file), `project` (the folder of the project), `extra_vars` (may be repeated) and `hosts`
(a pattern; may be repeated). Each file of the folder stands below its name, as `head` prints it; one that begins with
`#!` is executable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "inventories"

_FILE = re.compile(r"^==> (.+) <==\n", re.MULTILINE)
_OPTION = re.compile(r"^(sources|project|extra_vars|hosts): (.*)\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    about: str
    files: dict[str, str]
    sources: tuple[str, ...]
    project: str | None
    extra_vars: tuple[str, ...]
    patterns: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Makes the folder of the case."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                path.chmod(0o755)


def read(path: Path) -> Case:
    head, *rest = _FILE.split(path.read_text(encoding="utf-8"))
    files = dict(zip(rest[::2], rest[1::2], strict=True))
    options: dict[str, list[str]] = {"sources": [], "project": [], "extra_vars": [], "hosts": []}
    for word, value in _OPTION.findall(head):
        options[word].append(value)
    return Case(
        name=path.stem,
        about=_OPTION.sub("", head).strip(),
        files=files,
        sources=tuple(options["sources"][0].split()) if options["sources"] else (next(iter(files)),),
        project=options["project"][0] if options["project"] else None,
        extra_vars=tuple(options["extra_vars"]),
        patterns=tuple(options["hosts"]),
    )


CASES = [read(path) for path in sorted(FOLDER.glob("*.txt"))]
