"""Tables of results in the documentation: each is there once, below its header, and the latest run replaces it."""

from pathlib import Path


def put(page: Path, table: str) -> None:
    """Replaces the table that has the same header."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace(found(text, table.partition("\n")[0]), table), encoding="utf-8")


def found(text: str, header: str) -> str:
    """The table below a header, in Markdown, without an end of line. Raises ValueError."""
    start = text.index(f"{header}\n")
    table, _, _ = text[start:].partition("\n\n")
    return table.rstrip()
