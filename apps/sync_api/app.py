"""Reports from the host's nginx access log, as JSON, CSV and HTML."""

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from access_report.filters import BadFilter, Filters, parse_filters
from access_report.render import as_csv, as_json
from access_report.report import Report, make_report, moment

# Below the 30 s after which Gunicorn takes a worker for dead.
MOST_SECONDS = 20

app = Flask(__name__)
app.config["ACCESS_LOG"] = os.environ.get("ACCESS_LOG", "/var/log/nginx/access.log")
app.json.sort_keys = False  # type: ignore[attr-defined]


def _report(filters: Filters) -> Report:
    return make_report(Path(app.config["ACCESS_LOG"]), filters, seconds=MOST_SECONDS)


def _filters() -> Filters:
    return parse_filters(request.args, datetime.now(timezone.utc))


@app.get("/")
def index() -> AnyResponse:
    return redirect(url_for("report_html"))


@app.get("/report")
def report_json() -> dict[str, Any]:
    return as_json(_report(_filters()))


@app.get("/report.csv")
def report_csv() -> Response:
    filters = _filters()
    return Response(
        as_csv(_report(filters), filters.table),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filters.table}.csv"'},
    )


@app.get("/report.html")
def report_html() -> str:
    report = _report(_filters())
    return render_template("report.html", report=report, total=report.total(), arguments=request.args, moment=moment)


@app.get("/health")
def health() -> dict[str, Any]:
    return {"status": "ok", "release": os.environ.get("RACKHAND_RELEASE", "development"), "pid": os.getpid()}


@app.after_request
def harden(response: Response) -> Response:
    """The page shows what strangers have sent: should a mark-up of theirs get through, it must not do anything."""
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


@app.errorhandler(BadFilter)
def bad_filter(error: BadFilter) -> tuple[Response, int]:
    return jsonify(error=str(error)), 400


@app.errorhandler(OSError)
def log_unreadable(error: OSError) -> tuple[Response, int]:
    log = app.config["ACCESS_LOG"]
    reason = error.strerror or str(error)
    message = f"The access log {log} cannot be read: {reason}."
    if isinstance(error, PermissionError):
        message += " The user that runs this app must be in the group that may read it, adm on Debian and Ubuntu."
    app.logger.warning(message)
    return jsonify(error=message), 503


@app.errorhandler(HTTPException)
def http_error(error: HTTPException) -> tuple[Response, int]:
    return jsonify(error=error.description), error.code or 500


@app.template_filter()
def size(number: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
