"""Which ways to serve are tried, which one is the best, and how it comes into the inventory."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rackhand.candidates import COUNTS, Measured, Setting, best, settings
from rackhand.errors import UserError
from rackhand.inventory import load_inventory
from rackhand.output.curve import Found, curve
from rackhand.tuning_file import edited, place, write

ASYNC = Setting(worker="uvicorn", workers=3)
SYNC = Setting(worker="sync", workers=3)


def test_all_workers_of_the_protocol_are_tried() -> None:
    """From one to twice the cores and one; with threads, in several numbers."""
    tried = settings(ASYNC, 2, server="gunicorn", asgi=True)
    assert [(each.worker, each.workers) for each in tried] == [
        (kind, count) for kind in ("uvicorn", "asgi") for count in range(1, 6)
    ]
    tried = settings(SYNC, 1, server="gunicorn", asgi=False)
    assert {each.worker for each in tried} == {"sync", "gthread"}
    assert {each.threads for each in tried if each.worker == "gthread"} == {2, 4, 8}
    assert {each.worker for each in settings(ASYNC, 2, server="uvicorn", asgi=True)} == {"uvicorn"}


def test_of_many_cores_some_numbers_are_tried() -> None:
    """One, the greatest, and what it is now."""
    now = Setting(worker="uvicorn", workers=200)
    counts = [each.workers for each in settings(now, 32, server="gunicorn", asgi=True) if each.worker == "uvicorn"]
    assert len(counts) == COUNTS + 1
    assert (counts[0], counts[-2:]) == (1, [65, 200])


def measured(*rows: tuple[int, int, float, int]) -> list[Measured]:
    return [
        Measured(setting=Setting(worker="gthread", workers=workers, threads=threads), rate=rate, memory=memory)
        for workers, threads, rate, memory in rows
    ]


def test_the_smallest_of_the_best() -> None:
    """Within five per cent, the fewest workers, then threads, then memory."""
    found = measured((1, 8, 94, 1), (2, 8, 96, 9), (2, 4, 95, 9), (5, 2, 100, 5))
    assert best(found) is found[2]
    found = measured((2, 4, 100, 9), (2, 4, 96, 8))
    assert best(found) is found[1]


def test_what_failed_is_not_the_best() -> None:
    bad = Measured(setting=SYNC, rate=500, failed="3 requests failed")
    assert best([bad]) is None
    assert best([]) is None
    assert best([bad, *measured((3, 2, 100, 1))]) == measured((3, 2, 100, 1))[0]


def test_the_curve() -> None:
    """What failed has no bar, and no figures; what serves is not among the candidates."""
    tried = [{"worker": kind, "workers": 2, "threads": 0} for kind in ("uvicorn", "asgi")]
    load = {"app": "shop", "path": "/x", "seconds": 1, "concurrency": 8}
    answered = {"requests": 400, "seconds": 2.0, "p99": 0.02, "errors": 0, "memory": 2**26}
    found = Found()
    for event in (
        {"event": "tuning", "settings": tried, "now": tried[1], **load},
        {"event": "candidate", "number": 0, **answered},
        {"event": "candidate", "number": 1, **answered, "requests": 9000, "errors": 3, "error": "status 500"},
        {"event": "live", **answered, "requests": 200},
        {"event": "tuned", "stopped": None},
    ):
        found.note({"host": "web1", **event})
    chosen = best(found.measured["web1"])
    assert (
        curve("web1", found, chosen)
        == """\
web1: shop, GET /x, 8 at once, 1 s each
WORKER   WORKERS  THREADS  REQUESTS/S  P99    MEMORY
uvicorn  2        -        200         20 ms  64 MiB  ############################## best
asgi     2        -        -           -      -       3 requests failed: status 500 now
-        -        -        100         20 ms  64 MiB  ############### what serves, through nginx
web1: worker: uvicorn, workers: 2 (200 requests/s, the best); now: worker: asgi, workers: 2"""
    )


TUNED = """\
# What this host has of its own.
rackhand_keep_releases: 3   # small disk

rackhand_tuning:
  # measured in March
  shop:
    worker: gthread
    workers: 2  # was 4
    threads: 8
  other: {workers: 1}
last: "x"
"""


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        ("", {"workers": 3}, "rackhand_tuning:\n  shop:\n    workers: 3\n"),
        ("# mine\na: 1", {"workers": 3}, "# mine\na: 1\nrackhand_tuning:\n  shop:\n    workers: 3\n"),
        (
            TUNED,
            {"worker": "gthread", "workers": 3, "threads": 4},
            TUNED.replace("workers: 2 ", "workers: 3 ").replace("threads: 8", "threads: 4"),
        ),
        (
            TUNED,
            {"worker": "sync", "workers": 5},
            TUNED.replace("gthread", "sync").replace("workers: 2 ", "workers: 5 ").replace("    threads: 8\n", ""),
        ),
        (
            TUNED.replace("    threads: 8\n", ""),
            {"worker": "gthread", "workers": 2, "threads": 8},
            TUNED.replace("    threads: 8\n", "").replace("  shop:\n", "  shop:\n    threads: 8\n"),
        ),
        (
            TUNED.replace("shop", "third"),
            {"workers": 2},
            TUNED.replace("shop", "third").replace("tuning:\n", "tuning:\n  shop:\n    workers: 2\n"),
        ),
        (
            "secret: !vault |\n  66\n",
            {"workers": 1},
            "secret: !vault |\n  66\nrackhand_tuning:\n  shop:\n    workers: 1\n",
        ),
    ],
    ids=["new", "no newline at the end", "values", "no threads", "threads", "another application", "beside a secret"],
)
def test_a_file_is_changed_where_it_must_be(before: str, values: dict[str, Any], after: str) -> None:
    assert edited(before, "shop", values) == after


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1}\n",
        "- a\n",
        "a: 1\n...\n",
        "rackhand_tuning: {shop: {workers: 1}}\n",
        "rackhand_tuning:\n  shop: {workers: 1}\n",
        "rackhand_tuning:\n  shop: &a\n    workers: 1\n  other: *a\n",
        "$ANSIBLE_VAULT;1.1;AES256\n66\n",
        "a: [\n",
    ],
)
def test_a_file_that_would_not_say_what_it_should_is_left_alone(text: str) -> None:
    assert edited(text, "shop", {"workers": 2}) is None


def inventory(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"hosts.yml": "web: {hosts: {web1: , web2: }}\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "web1.yml"),
        ({"host_vars/web1.yaml": "a: 1\n"}, "web1.yaml"),
        ({"host_vars/web1": "a: 1\n"}, "web1"),
        ({"host_vars/web1/a.yml": "a: 1\n"}, "web1/rackhand_tuning.yml"),
        ({"host_vars/web1/a.yml": "rackhand_tuning: {}\n"}, "web1/a.yml"),
    ],
    ids=["none", "another suffix", "no suffix", "a folder", "a file of a folder"],
)
def test_the_host_has_its_own_file(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """What is written there is what the inventory then says."""
    found = inventory(tmp_path, files)
    file = place(found, load_inventory(found).host("web1"))
    assert file == tmp_path.resolve() / "host_vars" / expected
    if "{}" not in "".join(files.values()):
        write(file, "shop", {"workers": 3})
        assert load_inventory(found).host("web1").vars["rackhand_tuning"] == {"shop": {"workers": 3}}
        assert "rackhand_tuning" not in load_inventory(found).host("web2").vars
        assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"group_vars/web.yml": "a: 1\nrackhand_tuning: {}\n"}, "group_vars/web.yml:2"),
        ({"hosts.yml": "web: {hosts: {web1: {rackhand_tuning: {}}}}\n"}, "hosts.yml:1"),
    ],
)
def test_what_is_set_for_others_too_is_not_hidden(tmp_path: Path, files: dict[str, str], line: str) -> None:
    found = inventory(tmp_path, files)
    with pytest.raises(UserError, match=f"{line}: rackhand_tuning is set here"):
        place(found, load_inventory(found).host("web1"))


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "host_vars/web1.yml", "shop", {"workers": 3}, check=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "web1.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"web1\.json: is not written in a way that Rackhand can change"):
        write(tmp_path / "web1.json", "shop", {"workers": 3}, check=True)


def test_the_rest_means_the_same(tmp_path: Path) -> None:
    """Whatever the file was."""
    after = edited(TUNED, "shop", {"workers": 9})
    assert after is not None
    assert yaml.safe_load(after) == {
        "rackhand_keep_releases": 3,
        "rackhand_tuning": {"shop": {"workers": 9}, "other": {"workers": 1}},
        "last": "x",
    }
