"""The one place where secrets are taken out of what is told: by value, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MASK = "********"

#: What in events has words of Rackhand's own, which a secret may happen to be.
OWN_WORDS = frozenset({"event", "level", "stage", "status"})


class Redaction:
    """Replaces secrets in texts, and in all texts within mappings and lists but for those of the keys `keep`."""

    def __init__(self, secrets: Iterable[str] = (), keep: frozenset[str] = frozenset()) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._keep = keep

    def __call__(self, value: Any) -> Any:
        if not self._secrets:  # most hosts have none, and each event comes through here twice
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: item if key in self._keep else self(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value

    def text(self, text: str) -> str:
        """Secrets may overlap: what any of them covers is hidden."""
        parts, shown = [], 0
        for start, end in sorted(span for secret in self._secrets for span in _occurrences(text, secret)):
            if start >= shown:
                parts += [text[shown:start], MASK]
            shown = max(shown, end)
        return "".join([*parts, text[shown:]]) if parts else text


def _occurrences(text: str, secret: str) -> Iterator[tuple[int, int]]:
    start = text.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = text.find(secret, start + 1)
