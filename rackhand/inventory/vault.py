"""Ansible Vault: decrypts what `ansible-vault` has encrypted, and encrypts what it will decrypt.

The format: https://docs.ansible.com/ansible/latest/vault_guide/vault_using_encrypted_content.html, of which 1.2 has a
vault id in its first line. Keys are made of the password with PBKDF2; the text is encrypted with AES in counter mode,
and signed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rackhand.agent.redaction import Redaction
from rackhand.errors import UserError

#: How each encrypted text begins.
HEADER = "$ANSIBLE_VAULT;"
#: The vault id of a text that names none.
DEFAULT = "default"

_ROUNDS = 10_000
_WIDTH = 80
#: Texts in encrypted files shorter than this are words that stand anywhere.
_LEAST = 4


class UndecryptableError(UserError):
    """What is encrypted and cannot be read: unlike what is undefined, no default can stand in for it."""


@dataclass(frozen=True)
class Vaulted:
    """A value that is encrypted by itself (`!vault`), as it is written."""

    envelope: str

    def __repr__(self) -> str:
        return "an encrypted value"


@dataclass(frozen=True, kw_only=True)
class Password:
    """A way to a password, for the vault id `label`. `where` is what messages call it."""

    label: str
    where: str
    read: Callable[[], str] = field(repr=False)


class Vault:
    """Decrypts with the passwords that it is given, each of which is read when it is first needed, and remembers what
    was decrypted."""

    def __init__(self, passwords: Sequence[Password] = ()) -> None:
        self._passwords = tuple(passwords)
        self._known: dict[Password, bytes] = {}
        self._opened: dict[str, str] = {}
        #: The texts of all `!vault` values that have been read.
        self.values: set[str] = set()
        #: The texts in the encrypted files that have been read.
        self.texts: set[str] = set()

    def reveal(self, value: Vaulted) -> str:
        """The text of a `!vault` value. Raises UndecryptableError."""
        text = self.open(value.envelope)
        self.values.update(filter(None, (text, text.strip())))
        return text

    def closed(self) -> Vault:
        """One that knows what has been decrypted, and decrypts nothing else."""
        closed = Vault()
        closed._opened, closed.values, closed.texts = self._opened, self.values, self.texts
        return closed

    def note(self, texts: Iterable[str]) -> None:
        """Texts that stand in an encrypted file."""
        self.texts.update(text for text in texts if len(text) >= _LEAST)

    def hide(self, text: str) -> str:
        """The text without anything that was decrypted."""
        return Redaction((*self.values, *self.texts)).text(text)

    def open(self, envelope: str) -> str:
        """What is in an encrypted text. Raises UndecryptableError, which says why, but not where."""
        if envelope not in self._opened:
            self._opened[envelope] = self._open(envelope)
        return self._opened[envelope]

    def _open(self, envelope: str) -> str:
        label, salt, signature, data = _parsed(envelope)
        if not self._passwords:
            source = "" if label == DEFAULT else f"{label}@"
            raise UndecryptableError(
                f"is encrypted (vault id {label}), and no password was given: --vault-id {source}FILE, "
                "--vault-password-file FILE or --ask-vault-pass"
            )
        # As with Ansible, that of the same id comes first, and any other will do.
        for password in sorted(self._passwords, key=lambda password: password.label != label):
            if password not in self._known:
                try:
                    self._known[password] = password.read().strip().encode()
                except UserError as error:
                    raise UndecryptableError(f"is encrypted (vault id {label}): {error}") from None
            decrypted = _decrypt(self._known[password], salt, signature, data)
            if decrypted is not None:
                try:
                    return decrypted.decode()
                except UnicodeDecodeError:
                    raise UndecryptableError("is encrypted, and no UTF-8 text") from None
        tried = ", ".join(f"{password.label} ({password.where})" for password in self._passwords)
        raise UndecryptableError(f"is encrypted (vault id {label}) with another password than that of {tried}")


def is_encrypted(text: str) -> bool:
    return text.startswith(HEADER)


def problem(envelope: str) -> str | None:
    """What is wrong with an encrypted text, without a password, or None."""
    try:
        _parsed(envelope)
    except UndecryptableError as error:
        return str(error)
    return None


def encrypt(text: str, password: str, label: str = DEFAULT, salt: bytes | None = None) -> str:
    """The text encrypted, as lines that end with a line break."""
    salt = salt or os.urandom(32)
    cipher_key, sign_key, nonce = _keys(password.strip().encode(), salt)
    data = text.encode()
    pad = 16 - len(data) % 16  # which counter mode has no need of, and Ansible takes off again
    data = _aes(cipher_key, nonce, data + bytes([pad]) * pad)
    signature = hmac.new(sign_key, data, hashlib.sha256).hexdigest().encode()
    body = hexlify(b"\n".join((hexlify(salt), signature, hexlify(data)))).decode()
    header = f"{HEADER}1.1;AES256" if label == DEFAULT else f"{HEADER}1.2;AES256;{label}"
    return "".join(f"{line}\n" for line in (header, *(body[at : at + _WIDTH] for at in range(0, len(body), _WIDTH))))


def _parsed(envelope: str) -> tuple[str, bytes, bytes, bytes]:
    """Vault id, salt, signature, encrypted data. Raises UndecryptableError."""
    header, *lines = envelope.split("\n")
    parts = [part.strip() for part in header.strip().split(";")]
    if not is_encrypted(envelope) or len(parts) < 3:
        raise UndecryptableError("is not encrypted with Ansible Vault: ansible-vault encrypt_string does it")
    if parts[1] not in ("1.1", "1.2") or parts[2] != "AES256":
        raise UndecryptableError(f"is encrypted as {parts[1]} with {parts[2]}: only 1.1 and 1.2 with AES256 are known")
    try:
        salt, signature, data = unhexlify("".join(map(str.strip, lines))).split(b"\n", 2)
        return parts[3] if len(parts) > 3 else DEFAULT, unhexlify(salt), unhexlify(signature), unhexlify(data)
    except ValueError:
        raise UndecryptableError("is encrypted, and damaged: is a line of it missing?") from None


def _decrypt(password: bytes, salt: bytes, signature: bytes, data: bytes) -> bytes | None:
    """The data decrypted, or None with a wrong password."""
    cipher_key, sign_key, nonce = _keys(password, salt)
    if not hmac.compare_digest(hmac.new(sign_key, data, hashlib.sha256).digest(), signature):
        return None
    padded = _aes(cipher_key, nonce, data)
    return padded[: -padded[-1]] if padded else padded


def _keys(password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    """To encrypt with, to sign with, and where the counter begins."""
    made = hashlib.pbkdf2_hmac("sha256", password, salt, _ROUNDS, 80)
    return made[:32], made[32:64], made[64:]


def _aes(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Encrypts, and decrypts."""
    # Few inventories have anything encrypted, and this takes longer to load than most of them to read.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor()
    return cipher.update(data) + cipher.finalize()
