"""The commands vault.encrypt and vault.view, for those who have no Ansible at hand."""

import getpass
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory.documents import dotted, parse, shown
from rackhand.inventory.vault import Password, UndecryptableError, Vault, Vaulted, encrypt, is_encrypted
from rackhand.vault_passwords import PROMPT, passwords


def encrypt_value(name: str | None, *, ids: Sequence[str], files: Sequence[str], ask: bool) -> int:
    """Prints a value encrypted, as it goes into a file of variables. It is typed twice at a terminal, unseen; else it
    is what stands in the standard input, without a line break at its end. Returns the exit code."""
    given = _passwords(ids, files, ask)
    if len(given) != 1:
        raise UserError("name one password to encrypt with: --vault-id LABEL@FILE, or --vault-password-file FILE")
    password = given[0].read()
    if given[0].where == PROMPT and given[0].read() != password:
        raise UserError("the two passwords differ")
    text = _typed(name or "the value") if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    head = f"{name}: !vault |" if name else "!vault |"
    print(head, indent(encrypt(text, password, given[0].label), "  "), sep="\n", end="")
    return 0


def view(file: str, *, ids: Sequence[str], files: Sequence[str], ask: bool) -> int:
    """Prints what is in a file that is encrypted as a whole; of another one, the values that are encrypted in it.
    Returns the exit code."""
    path = Path(file)
    vault = Vault(_passwords(ids, files, ask))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(path)}: cannot be read: {error}") from None
    if is_encrypted(text):
        print(_open(vault, text, f"{shown(path)}:1"), end="")
        return 0
    document = parse(text, shown(path))
    found = list(_encrypted(document.value))
    if not found:
        raise UserError(f"{shown(path)}: has nothing that is encrypted")
    for place, value in found:
        print(f"{dotted(place)}: {_open(vault, value.envelope, f'{document.origin(*place)}: {dotted(place)}')}")
    return 0


def _passwords(ids: Sequence[str], files: Sequence[str], ask: bool) -> tuple[Password, ...]:
    """Those of the command line; of the environment, when there are none."""
    return passwords(ids=ids, files=files, ask=ask, environment={}) or passwords()


def _typed(what: str) -> str:
    text = getpass.getpass(f"{what} (not shown): ")
    if getpass.getpass("again: ") != text:
        raise UserError("the two differ")
    return text


def _open(vault: Vault, envelope: str, where: str) -> str:
    try:
        return vault.open(envelope)
    except UndecryptableError as error:
        raise UserError(f"{where}: {error}") from None


def _encrypted(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Vaulted]]:
    if isinstance(value, Vaulted):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _encrypted(item, (*path, key))
