"""Where the passwords of Ansible Vault come from: files, scripts, and the person at the terminal."""

import getpass
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from rackhand.errors import UserError
from rackhand.inventory.vault import DEFAULT, Password

#: The source that is the person at the terminal.
PROMPT = "prompt"
#: A script whose name ends so is told which vault id is meant.
_CLIENT = "-client"
#: Seconds that a script may take: it may ask somebody.
_PATIENCE = 120


def passwords(
    *,
    ids: Sequence[str] = (),
    files: Sequence[str] = (),
    ask: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Password, ...]:
    """What the options name, and the environment; `ids` are `label@source` or a source. Nothing is read or asked
    before it is needed. Raises UserError for a file that is not there."""
    return tuple(
        _password(label, source) for label, source in _sources(ids=ids, files=files, ask=ask, environment=environment)
    )


def _sources(
    *, ids: Iterable[str], files: Iterable[str], ask: bool, environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for given in (*filter(None, environment.get("ANSIBLE_VAULT_IDENTITY_LIST", "").split(",")), *ids):
        label, at, source = given.strip().partition("@")
        yield (label or DEFAULT, source) if at else (DEFAULT, label)
    named = [environment.get(f"{prefix}_VAULT_PASSWORD_FILE") for prefix in ("RACKHAND", "ANSIBLE")]
    for file in (*files, *filter(None, named)):
        yield DEFAULT, file
    if ask:
        yield DEFAULT, PROMPT


def _password(label: str, source: str) -> Password:
    if source in (PROMPT, "prompt_ask_vault_pass"):
        return Password(label=label, where=PROMPT, read=partial(_ask, label))
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"{source or label}: should be a file with the password of the vault id {label}: is not one")
    read = _run if os.access(path, os.X_OK) else _read
    return Password(label=label, where=source, read=partial(read, path.absolute(), label))


def _ask(label: str) -> str:
    try:
        # Without a terminal, getpass would read, and show, what stands in the standard input.
        with open("/dev/tty", "rb", buffering=0):
            pass
    except OSError:
        raise UserError(
            f"the password of the vault id {label} cannot be asked for without a terminal: --vault-id {label}@FILE"
        ) from None
    word = "Vault password: " if label == DEFAULT else f"Vault password ({label}): "
    return _given(getpass.getpass(word), f"the vault id {label}")


def _read(path: Path, label: str) -> str:
    try:
        return _given(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the password of the vault id {label} cannot be read: {error}") from None


def _run(path: Path, label: str) -> str:
    client = path.stem.endswith(_CLIENT)
    try:
        done = subprocess.run(
            [path, *(("--vault-id", label) if client else ())],
            stdout=subprocess.PIPE,
            timeout=_PATIENCE,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise UserError(f"{path}: ended with {error.returncode} instead of printing a password") from None
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{path}: is executable, and printed no password: {error}") from None
    return _given(done.stdout, str(path))


def _given(password: str, where: str) -> str:
    if not password.strip():
        raise UserError(f"{where}: the password is empty")
    return password
