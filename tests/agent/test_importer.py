"""The agent is imported from memory, and compiled only once for each host: what is kept there is a shortcut alone."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rackhand import payload

SOURCES = {
    "kept/__init__.py": "",
    "kept/one.py": "from kept import two\nsaid = two.said\n",
    "kept/two.py": "said = 1\n",
}
DIGEST = "0123"


def agent(
    cache: Path,
    sources: dict[str, str],
    digest: str = DIGEST,
    *,
    module: str = "one",
    keep: bool = True,
    room: int = -1,
) -> tuple[int, list[str]]:
    """What a module of an agent of these sources says, and what had to be compiled for that. `room`: bytes that it may
    write to a file."""
    code = """
import builtins, json, sys
sources, digest, cache, module, keep = json.load(sys.stdin)
namespace = {"__name__": "importer"}
exec(compile(IMPORTER, "importer.py", "exec"), namespace)
compiled, compile_ = [], compile
builtins.compile = lambda source, name, *rest, **more: compiled.append(name) or compile_(source, name, *rest, **more)
namespace["install"](sources, digest, cache)
import importlib
imported = importlib.import_module(f"kept.{module}")
if keep:
    try:
        imported.__spec__.loader.keep()
    except OSError as error:
        print(error, file=sys.stderr)
print(json.dumps([imported.said, [name for name in compiled if name.startswith("kept/")]]))
"""
    importer = payload.sources()["rackhand/agent/importer.py"]
    done = subprocess.run(
        [sys.executable, "-c", f"IMPORTER = {importer!r}\n{code}"],
        input=json.dumps([sources, digest, str(cache), module, keep]),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert done.stderr == ("" if room < 0 else "[Errno 27] File too large\n")
    said, compiled = json.loads(done.stdout)
    return said, compiled


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "agent"


def test_what_was_kept_is_not_compiled_again(cache: Path) -> None:
    """By whoever keeps nothing, it is each time."""
    assert agent(cache, SOURCES, keep=False) == (1, list(SOURCES))
    assert not cache.exists()
    assert agent(cache, SOURCES) == (1, list(SOURCES))
    assert cache.stat().st_mode & 0o777 == 0o600
    assert agent(cache, SOURCES) == (1, [])


def test_what_was_not_needed_before_is_kept_with_the_rest(cache: Path) -> None:
    """Runs differ in what they load."""
    assert agent(cache, SOURCES, module="two") == (1, ["kept/__init__.py", "kept/two.py"])
    assert agent(cache, SOURCES, module="one") == (1, ["kept/one.py"])
    assert agent(cache, SOURCES, module="one") == (1, [])


def test_what_finds_no_room_leaves_nothing(cache: Path) -> None:
    """And the next one tries again."""
    assert agent(cache, SOURCES, room=100) == (1, list(SOURCES))
    assert list(cache.parent.iterdir()) == []
    assert agent(cache, SOURCES) == (1, list(SOURCES))
    assert agent(cache, SOURCES) == (1, [])


def test_another_agent_or_another_python_compiles(cache: Path) -> None:
    """And keeps its own in the place of what was there."""
    agent(cache, SOURCES)
    later = {**SOURCES, "kept/two.py": "said = 2\n"}
    assert agent(cache, later, "4567") == (2, list(SOURCES))
    assert agent(cache, later, "4567") == (2, [])
    text, version = cache.read_bytes(), sys.version.replace("\n", " ").encode()
    assert version in text
    cache.write_bytes(text.replace(version, b"9.9" + version[3:], 1))
    assert agent(cache, later, "4567") == (2, list(SOURCES))


@pytest.mark.parametrize("length", [0, 1, 20, 200, -1])
def test_a_file_that_is_cut_short_counts_as_none(cache: Path, length: int) -> None:
    """As after a power cut; it is written anew."""
    agent(cache, SOURCES)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:length])
    assert agent(cache, SOURCES) == (1, list(SOURCES))
    assert agent(cache, SOURCES) == (1, [])


def test_a_damaged_file_counts_as_none(cache: Path) -> None:
    """Not what it has become is run, whichever byte it is."""
    agent(cache, SOURCES)
    whole = cache.read_bytes()
    start = whole.index(b"\n") + 1
    for place in range(start, len(whole), 37):
        cache.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert agent(cache, SOURCES, keep=False) == (1, list(SOURCES))


@pytest.mark.parametrize("spoil", ["writable by others", "another's", "a link"])
def test_what_somebody_else_may_have_written_is_not_run(cache: Path, spoil: str) -> None:
    """The agent runs as root."""
    agent(cache, SOURCES)
    match spoil:
        case "writable by others":
            cache.chmod(0o622)
        case "another's":
            if os.geteuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(cache, 12345, 12345)
        case "a link":
            cache.rename(cache.with_name("other"))
            cache.symlink_to("other")
    assert agent(cache, SOURCES, keep=False) == (1, list(SOURCES))


def test_what_is_sent_names_its_own_digest() -> None:
    """By which the host tells this agent from others."""
    command = payload.command(install_python=False, interpreter=None)
    assert f'"{payload.digest()}","/var/lib/rackhand/agent"' in command
