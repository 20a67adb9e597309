"""Which texts of a host are secret: what must be shown nowhere, in each way in which it may be written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote

from rackhand.inventory import Vault


class SecretValues:
    """Collects the secret texts of one host while its settings are read."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._texts: set[str] = set()
        self._words: set[str] = set()

    def add(self, text: str, least: int) -> None:
        """A text shorter than `least` is a word like any other, unless it was encrypted."""
        (self._texts if len(text) >= least else self._words).add(text)

    def all(self, connecting: Iterable[str]) -> tuple[str, ...]:
        """Those that were added, and what was encrypted and is a part of them, or of how to connect; each as it stands,
        as JSON and Python quote it, and as it stands in a URL."""
        secret = self._texts | self._words
        used = {value for value in self._vault.values if any(value in text for text in (*secret, *connecting))}
        used |= {value for value in self._vault.texts if any(value in text for text in secret)}
        ways = (str, _in_json, _in_python, partial(quote, safe=""))
        return tuple(sorted({way(text) for text in self._texts | used if text for way in ways}))


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_python(text: str) -> str:
    return repr(text)[1:-1]
