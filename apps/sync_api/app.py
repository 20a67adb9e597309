"""Reports from the host's nginx access log, as JSON, CSV and HTML."""

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from access_report.filters import BadFilterError, Filters, parse_filters
from access_report.render import as_csv, as_json
from access_report.report import Report, make_report, moment

# Below the 30 s after which Gunicorn takes a worker for dead.
MOST_SECONDS = 20
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'"

app = Flask(__name__)
app.config["ACCESS_LOG"] = os.environ.get("ACCESS_LOG", "/var/log/nginx/access.log")
app.json.sort_keys = False  # type: ignore[attr-defined]


def _filters() -> Filters:
    try:
        return parse_filters(request.args, datetime.now(timezone.utc))
    except BadFilterError as error:
        abort(400, str(error))


def _report(filters: Filters) -> Report:
    log = Path(app.config["ACCESS_LOG"])
    try:
        return make_report(log, filters, seconds=MOST_SECONDS)
    except OSError as error:
        message = f"The access log {log} cannot be read: {error.strerror or error}."
        if isinstance(error, PermissionError):
            message += " The user that runs this app must be in the group that may read it, adm on Debian and Ubuntu."
        app.logger.warning(message)
        abort(503, message)


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
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


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
