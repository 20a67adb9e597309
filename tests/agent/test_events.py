"""Events: one line each, and no secret in any of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rackhand.agent.events import Emitter
from rackhand.agent.redaction import MASK

SENTINEL = "s3nt1nel"


def told(tmp_path: Path, secrets: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    """One event as it comes out of the channel; the journal must have the same."""
    journal = tmp_path / "journal"
    with (tmp_path / "channel").open("w+b") as channel:
        emit = Emitter(channel.fileno())
        emit.hide(secrets)
        emit.journal(str(journal))
        emit("some", **fields)
        channel.seek(0)
        text = channel.read()
    assert journal.read_bytes() == text
    assert text.count(b"\n") == 1
    event: dict[str, Any] = json.loads(text)
    del event["t"]
    return event


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SENTINEL, MASK),
        (f"before {SENTINEL}{SENTINEL} after", f"before {MASK}{MASK} after"),
        ({"password": SENTINEL}, {"password": MASK}),
        ({"deep": [{"er": (f"-{SENTINEL}-", 1)}]}, {"deep": [{"er": [f"-{MASK}-", 1]}]}),
        (f"--- a\n+++ b\n+KEY={SENTINEL}\n", f"--- a\n+++ b\n+KEY={MASK}\n"),
        ([1, True, None, 2.5], [1, True, None, 2.5]),
    ],
    ids=["alone", "within", "in a mapping", "deep", "in a diff", "what is no text"],
)
def test_no_secret_is_told(tmp_path: Path, value: object, shown: object) -> None:
    """Neither the channel nor the journal has a secret, wherever in an event it was."""
    assert told(tmp_path, (SENTINEL,), value=value) == {"event": "some", "value": shown}
    assert SENTINEL not in (tmp_path / "journal").read_text()


@pytest.mark.parametrize("secret", ['quote"s', "back\\slash", "ünï\u2028", "line\nend", "  ", "%s{}"])
def test_secrets_that_json_writes_otherwise(tmp_path: Path, secret: str) -> None:
    """A secret is taken out before JSON escapes it."""
    assert told(tmp_path, (secret,), value=f"<{secret}>") == {"event": "some", "value": f"<{MASK}>"}


def test_a_secret_within_another(tmp_path: Path) -> None:
    """The longer one goes as a whole: what is left of it after taking out the shorter one would be a part of it."""
    for secrets in (("hunter", "hunter2hunter"), ("hunter2hunter", "hunter")):
        assert told(tmp_path, secrets, value="hunter2hunter hunter")["value"] == f"{MASK} {MASK}"
        (tmp_path / "journal").unlink()


@pytest.mark.parametrize(
    ("secrets", "value"), [(("abcdef", "defghi"), "abcdefghi"), (("abab",), "ababab"), (("bc", "abcd"), "abcd")]
)
def test_secrets_that_overlap(tmp_path: Path, secrets: tuple[str, ...], value: str) -> None:
    """Of secrets that share letters, also with themselves, no part is left."""
    assert told(tmp_path, secrets, value=f"<{value}>")["value"] == f"<{MASK}>"


def test_an_empty_secret_hides_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, ("",), value="text")["value"] == "text"


def test_only_root_reads_the_journal(tmp_path: Path) -> None:
    emit = Emitter(os.open(os.devnull, os.O_WRONLY))
    emit.journal(str(tmp_path / "journal"))
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
