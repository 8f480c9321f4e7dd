"""What operators see: log lines and metrics. The only home of prometheus_client and of logging's set-up.

Laws: a log line is one line whatever a client sends; it never holds a token, input, output or an environment.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

AUDIT_LOGGER = "ws_subprocess.audit"
_COMPLAINT_PAUSE_S = 60.0
_ECHO_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_START_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_LAG_PROBE_S = 0.5
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

log = logging.getLogger(__name__)

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request on whose account something happens, "" for none: what its tasks and callbacks log tells it."""


class Metrics:
    """The daemon's figures, in a registry of their own.

    Attributes:
        count_live: Set by the composition root; returns (sessions, input bytes, output bytes) of the live sessions, so
            that counting costs nothing on the way of a keystroke.
        count_jobs: Set by `Jobs`; returns (running, waiting).
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.count_live: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0)
        self.count_jobs: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._ended_input_bytes = 0
        self._ended_output_bytes = 0
        self.starts = self._counter("sessions_started", "Sessions started.", "door")
        self.ends = self._counter(
            "sessions_ended", "Sessions ended, by cause: exit, signal, or an error code.", "cause"
        )
        self.jobs_ended = self._counter("jobs_ended", "Jobs ended, by state.", "state")
        self.refusals = self._counter("refusals", "Requests refused, by reason.", "code")
        self.client_errors = self._counter(
            "client_errors", "Messages of clients without effect, by error code.", "code"
        )
        self.unknown_keys = self._counter("grant_unknown_keys", "Keys of grants that were ignored.")
        self.echo_s = self._histogram(
            "echo_seconds", "From input to the next output of the same session.", _ECHO_BUCKETS_S
        )
        self.start_s = self._histogram(
            "start_seconds",
            "From request to running command, the controller included: terminals and /process.",
            _START_BUCKETS_S,
        )
        self.loop_lag_s = self._histogram("loop_lag_seconds", "How late the event loop runs a timer.", _LAG_BUCKETS_S)
        self.registry.register(_LiveCollector(self))

    def add_ended(self, input_bytes: int, output_bytes: int) -> None:
        """Keep the byte counts of a session that is no longer live."""
        self._ended_input_bytes += input_bytes
        self._ended_output_bytes += output_bytes

    def render(self) -> tuple[bytes, str]:
        """Return the exposition text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    async def watch_loop(self) -> None:
        """Measure the loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            self.loop_lag_s.observe(max(0.0, loop.time() - due))

    def collect_live(self) -> Iterator[Metric]:
        """Return what is computed when somebody asks."""
        sessions, input_bytes, output_bytes = self.count_live()
        yield GaugeMetricFamily("ws_subprocess_sessions", "Sessions that live now.", value=sessions)
        running, waiting = self.count_jobs()
        yield GaugeMetricFamily("ws_subprocess_jobs_running", "Jobs that run now.", value=running)
        yield GaugeMetricFamily("ws_subprocess_jobs_waiting", "Jobs that wait for their turn.", value=waiting)
        count = CounterMetricFamily("ws_subprocess_bytes", "Bytes of sessions, by direction.", labels=["direction"])
        count.add_metric(["in"], self._ended_input_bytes + input_bytes)
        count.add_metric(["out"], self._ended_output_bytes + output_bytes)
        yield count

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"ws_subprocess_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"ws_subprocess_{name}", text, buckets=buckets, registry=self.registry)


class _LiveCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.collect_live()


class AuditFile(logging.Handler):
    """Appends JSON lines to a file that only we may read; one that was moved away is made anew.

    Laws: who cannot be written to keeps nobody waiting and stops nothing, and the log says so; a line that a full disk
    cut off spoils none after it.

    Raises:
        OSError: It cannot be written to.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._path = os.path.abspath(path)
        self._descriptor = self._open()
        self._is_torn = False
        self._complained_at = -_COMPLAINT_PAUSE_S

    def emit(self, record: logging.LogRecord) -> None:
        """Append the line, past every buffer: what could not be written must not come later, or at exit."""
        try:
            self._follow()
            self._write(f"{self.format(record)}\n".encode("ascii"))
        except OSError as exc:
            self._complain(exc)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _open(self) -> int:
        # Of a FIFO that nobody reads, or not fast enough, we hear so instead of waiting for its reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(self._path, flags, 0o600)

    def _follow(self) -> None:
        """Open the path anew when it has become another file; while that fails, the one that was moved away will do."""
        try:
            if _is_open_at(self._descriptor, self._path):
                return
            descriptor = self._open()
        except OSError as exc:
            self._complain(exc)
            return
        os.close(self._descriptor)
        self._descriptor, self._is_torn = descriptor, False

    def _write(self, line: bytes) -> None:
        rest = b"\n" + line if self._is_torn else line
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
            self._is_torn = bool(rest)

    def _complain(self, reason: OSError) -> None:
        """Say so in the log, now and then: clients must not wait for an operator."""
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAINT_PAUSE_S:
            self._complained_at = now
            log.error("audit cannot be written", extra={"file": self._path, "reason": str(reason)})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_get_facts(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, message, facts as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it when there is one."""
        facts = "".join(f" {key}={_show(value)}" for key, value in _get_facts(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():<7} {_escape(record.getMessage())}{facts}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(form: str, level: str, audit_path: str = "") -> None:
    """Send all logging to stderr, the audit's lines to a file instead if `audit_path` names one.

    Args:
        form: auto, console or json; auto means console on a terminal.

    Raises:
        OSError: The audit's file cannot be written to.
    """
    is_console = form == "console" or (form == "auto" and sys.stderr is not None and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(ConsoleFormatter() if is_console else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx logs every URL it asks, and ours holds a token; alembic tells at every start what it has not to do.
    for name in ("httpx", "httpcore", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    audit = logging.getLogger(AUDIT_LOGGER)
    audit.handlers = [AuditFile(audit_path)] if audit_path else []
    audit.propagate = not audit_path
    # What is asked for by name is written whatever the log's level.
    audit.setLevel(logging.INFO if audit_path else logging.NOTSET)


def _is_open_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _get_facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = {
        key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES and key != "color_message"
    }
    # A line is formatted by whoever logs it, so that this is its request.
    if cause := request_id.get():
        facts["request_id"] = cause
    return facts


def _format_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _show(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else json.dumps(text)


def _escape(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
