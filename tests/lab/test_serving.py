"""The benchmark of what is served measures every row, and believes no row that is answered with errors."""

import shutil
from pathlib import Path

from benchmarks import serving
from benchmarks.serving import OURS, ROWS
from rackhand.lab import Lab

_BROKEN = """
from itertools import count

_asked = count()


@app.before_request
def sometimes():
    if request.path == "/json" and next(_asked) % 10 == 9:
        return "not today", 503
"""


def test_rows_and_errors(lab: Lab, tmp_path: Path) -> None:
    """One answer in ten that is no success makes a row invalid, and only that row."""
    apps = tmp_path / "apps"
    shutil.copytree(serving.APPS, apps)
    with (apps / "slow/app.py").open("a") as file:
        file.write(_BROKEN)
    bench = serving.Bench(lab, tmp_path / "site", apps)
    results = serving.measure(bench, rounds=1, seconds=2)
    why = {row.name: results.invalid(row) or "" for row in ROWS}
    assert [name for name in why if "errors" in why[name]] == ["JSON GET, Flask"], why
    for row in ROWS:
        (sample,) = results.samples[row.name][OURS]
        assert sample.requests > 0, row.name
        assert 0 < sample.p50 <= sample.p99
        assert sample.cpu > 0
        assert sample.memory > 10e6
    assert f"| JSON GET, Flask | tutorial | {why['JSON GET, Flask']} |" in serving.report(bench, results, 2)
    assert all(min(values) > 10e6 for sides in results.memory.values() for values in sides.values())
