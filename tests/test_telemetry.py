"""Log lines: one line each, whatever a client sent."""

import asyncio
import io
import json
import logging
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from observing import until

from ws_subprocess.telemetry import AUDIT_LOGGER, ConsoleFormatter, JsonFormatter, Metrics, configure_logging


def build_record(
    message: str = "session started", error: BaseException | None = None, **facts: Any
) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("ws_subprocess.x", logging.WARNING, __file__, 1, message, (), info)
    record.__dict__.update(facts)
    return record


@given(st.text(st.characters()), st.text(st.characters()))
@example("\x7f", "\n\x1b\x7f\x9b\u2028\ud800")
def test_a_json_line_is_one_line_of_printable_ascii_whatever_it_holds(message: str, fact: str) -> None:
    line = JsonFormatter().format(build_record(message.replace("%", ""), peer=fact))

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["peer"] == fact


@given(st.text(st.characters()), st.text(st.characters()))
@example("\x7f", "\n\x1b\x7f\x9b\u2028\ud800")
def test_a_console_line_is_one_printable_line_whatever_it_holds(message: str, fact: str) -> None:
    assert ConsoleFormatter().format(build_record(message.replace("%", ""), peer=fact)).isprintable()


def test_a_json_line_says_when_how_bad_who_and_what() -> None:
    record = build_record(session="5e55", code=3)
    record.created = 1_700_000_000.25

    assert json.loads(JsonFormatter().format(record)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "ws_subprocess.x",
        "message": "session started",
        "session": "5e55",
        "code": 3,
    }


def test_a_console_line_shows_facts_as_people_read_them() -> None:
    line = ConsoleFormatter().format(build_record(session="5e55", reason="a b", title="", pid=7))

    assert line.split(" ", 1)[1] == 'warning session started session=5e55 reason="a b" title="" pid=7'


def test_an_error_comes_with_its_traceback() -> None:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        record = build_record(error=error)

    assert "ZeroDivisionError: by zero" in json.loads(JsonFormatter().format(record))["exception"]
    assert "ZeroDivisionError: by zero" in ConsoleFormatter().format(record)


def test_a_fact_that_is_no_json_is_shown_as_text() -> None:
    assert json.loads(JsonFormatter().format(build_record(path=ValueError("x"))))["path"] == "x"


@pytest.fixture
def root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("console", False), ("auto", True)])
@pytest.mark.usefixtures("root_as_before")
def test_logging_goes_to_stderr_in_the_form_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch, form: str, is_json: bool
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logging(form, "info")

    logging.getLogger("ws_subprocess").info("hello", extra={"session": "5e55"})
    logging.getLogger("ws_subprocess").debug("too fine")

    (line,) = stderr.getvalue().splitlines()
    assert line.startswith("{") is is_json
    assert "5e55" in line


@pytest.mark.usefixtures("root_as_before")
def test_libraries_that_log_urls_are_kept_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logging("json", "debug")

    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)
    assert not logging.getLogger("httpcore.http11").isEnabledFor(logging.DEBUG)


async def test_how_late_the_loop_is_is_measured() -> None:
    metrics = Metrics()
    task = asyncio.ensure_future(metrics.watch_loop())

    await until(lambda: b"loop_lag_seconds_count 0.0" not in metrics.render()[0], "a measurement")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_bytes_of_live_and_ended_sessions_add_up() -> None:
    metrics = Metrics()
    metrics.count_live = lambda: (2, 10, 100)
    metrics.add_ended(1, 2)

    text = metrics.render()[0].decode()

    assert "ws_subprocess_sessions 2.0" in text
    assert 'ws_subprocess_bytes_total{direction="in"} 11.0' in text
    assert 'ws_subprocess_bytes_total{direction="out"} 102.0' in text


@pytest.fixture
def audit_path(tmp_path: Path) -> Iterator[Path]:
    """A file for the audit, in a folder; logging is as before afterwards."""
    audit, root = logging.getLogger(AUDIT_LOGGER), logging.getLogger()
    before = (audit.handlers, audit.propagate, audit.level, root.handlers, root.level)
    path = tmp_path / "audit.jsonl"
    yield path
    for handler in audit.handlers:
        handler.close()
    audit.handlers, audit.propagate, root.handlers = before[0], before[1], before[3]
    audit.setLevel(before[2])
    root.setLevel(before[4])


def test_the_audit_goes_to_its_file_alone_whatever_the_level_of_the_log(
    audit_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json", "error", str(audit_path))

    logging.getLogger(AUDIT_LOGGER).info("refused", extra={"peer": "\n\x1b[2J"})

    (line,) = audit_path.read_text().splitlines()
    assert json.loads(line)["peer"] == "\n\x1b[2J"
    assert audit_path.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == ""


def test_an_audit_file_that_was_moved_away_is_made_anew(audit_path: Path) -> None:
    configure_logging("json", "info", str(audit_path))
    audit = logging.getLogger(AUDIT_LOGGER)
    audit.info("one")

    audit_path.rename(audit_path.with_suffix(".1"))
    audit.info("two")

    assert json.loads(audit_path.read_text())["message"] == "two"
    assert audit_path.stat().st_mode & 0o777 == 0o600


def test_an_audit_that_cannot_be_written_says_so_in_the_log_once_and_nobody_waits(
    audit_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json", "info", "/dev/full")

    for _ in range(3):
        logging.getLogger(AUDIT_LOGGER).info("refused")

    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["message"] == "audit cannot be written"
    assert "No space left on device" in told["reason"]


def test_an_audit_whose_folder_has_gone_stops_nothing_and_goes_on_when_it_is_back(
    audit_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = audit_path.parent / "audit"
    folder.mkdir()
    configure_logging("json", "info", str(folder / "audit.jsonl"))
    audit = logging.getLogger(AUDIT_LOGGER)
    moved = folder.rename(audit_path.parent / "moved")

    audit.info("one")
    audit.info("two")
    folder.mkdir()
    audit.info("three")

    kept, made = (
        [json.loads(line)["message"] for line in (place / "audit.jsonl").read_text().splitlines()]
        for place in (moved, folder)
    )
    assert kept == ["one", "two"]
    assert made == ["three"]
    assert capsys.readouterr().err.count("No such file or directory") == 1


def test_a_line_of_the_audit_that_a_full_disk_cut_off_spoils_none_after_it(audit_path: Path) -> None:
    configure_logging("json", "info", str(audit_path))
    audit = logging.getLogger(AUDIT_LOGGER)
    audit.info("one")

    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (audit_path.stat().st_size + 10, hard))
    try:
        audit.info("two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    audit.info("three")

    one, two, three = audit_path.read_text().splitlines()
    assert len(two) == 10
    assert [json.loads(line)["message"] for line in (one, three)] == ["one", "three"]


def test_an_audit_that_nobody_reads_keeps_nobody_waiting(audit_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(audit_path)
    with pytest.raises(OSError, match="No such device"):
        configure_logging("json", "info", str(audit_path))

    reader = os.open(audit_path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        configure_logging("json", "info", str(audit_path))
        for _ in range(2000):
            logging.getLogger(AUDIT_LOGGER).info("refused")
    finally:
        os.close(reader)

    assert capsys.readouterr().err.count("audit cannot be written") == 1


def test_an_audit_file_that_cannot_be_opened_is_told_at_once(audit_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        configure_logging("json", "info", "/dev/null/audit")
