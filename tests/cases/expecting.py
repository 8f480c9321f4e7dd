"""Holds what a daemon did against what its entry of the catalogue wants, and against what must also hold."""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from catalogue import Entry
from cli_program import Result
from daemon import Daemon, Reply
from observing import list_children

from ws_subprocess.service.audit import AUDIT_LOGGER

PROBLEM = ("Accept", "application/problem+json")
# Answers that are to be the same byte for byte name the same request.
SAME_ID = ("X-Request-Id", "one-and-the-same")


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit's lines of the daemon in this process."""

    caplog: pytest.LogCaptureFixture

    def list_refusals(self) -> list[dict[str, Any]]:
        """Return the facts of all refusals so far."""
        return [facts for facts in self._list() if facts["decision"] == "refused"]

    def list_grants(self) -> list[dict[str, Any]]:
        """Return the facts of all sessions that were started so far."""
        return [facts for facts in self._list() if facts["decision"] == "granted"]

    def _list(self) -> list[dict[str, Any]]:
        return [vars(record) for record in self.caplog.records if record.name == AUDIT_LOGGER]


def listen_to_audit(caplog: pytest.LogCaptureFixture) -> Audit:
    """Return the audit from now on."""
    caplog.set_level(logging.INFO, AUDIT_LOGGER)
    return Audit(caplog)


def expect_http(entry: Entry, reply: Reply, audit: Audit | None = None, variant: str = "") -> None:
    """Fail unless the answer has the entry's status, text and code; the audit, if given, the reason."""
    wanted = entry.wants("http", variant)
    assert reply.status == wanted.status, (reply.status, reply.body[:200])
    if wanted.is_plain:
        assert reply.get("content-type") == "text/plain; charset=utf-8"
        assert reply.body.decode() == wanted.message
    else:
        assert reply.get("content-type") == "application/problem+json"
        problem = reply.json()
        assert (problem["status"], problem["code"]) == (wanted.status, wanted.code), problem
        assert not wanted.message or problem["title"] == wanted.message
    if audit is not None:
        assert audit.list_refusals()[-1]["reason"] == (wanted.reason or wanted.code)
    else:
        assert not wanted.reason, f"{entry.id}: the code {wanted.reason} stands in the audit; look there"


def expect_close(entry: Entry, code: int | None, reason: str | None, variant: str = "") -> None:
    """Fail unless a websocket was closed with the entry's number, and its text where the catalogue has one.

    A Close has no room for the catalogue's word for it.
    """
    wanted = entry.wants("close", variant)
    assert code == wanted.close, (code, reason)
    assert wanted.message.lower() in (reason or "").lower(), reason


def expect_error(entry: Entry, message: dict[str, Any], variant: str = "") -> None:
    """Fail unless a control message is an error with the entry's code."""
    assert (message["type"], message["code"]) == ("error", entry.wants("ctrl_error", variant).code)


def expect_cli(entry: Entry, result: Result, variant: str = "") -> None:
    """Fail unless the program ended with the entry's status, each of its complaints naming the entry's code."""
    wanted = entry.wants("cli", variant)
    assert result.status == wanted.exit, result
    assert "Traceback" not in result.stderr, result.stderr
    if wanted.code != "ok":
        assert result.stdout == ""
        # What is wrong is told as it is; the log's lines are JSON.
        lines = [line for line in result.stderr.splitlines() if not line.startswith("{")]
        assert lines
        assert all(line.endswith(f" [{wanted.code}]") for line in lines), result.stderr
        assert not wanted.message or wanted.message in result.stderr


@contextlib.contextmanager
def variants() -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Give a function that opens a block for one variant of the input; all run, then all failures are told."""
    failures: list[BaseException] = []

    @contextlib.contextmanager
    def variant(name: object) -> Iterator[None]:
        try:
            yield
        except (Exception, pytest.fail.Exception) as exc:  # noqa: BLE001 - told below
            exc.add_note(f"variant: {name}")
            failures.append(exc)

    yield variant
    if failures:
        raise BaseExceptionGroup("variants of the input", failures)


# What must also hold.


def assert_nobody_was_asked(daemon: Daemon) -> None:
    """Fail when the controller heard of anything: its token would be used up."""
    assert daemon.controller.requests == []
    assert daemon.controller.connections == 0


def assert_nothing_ran(daemon: Daemon) -> None:
    """Fail when a command runs, or any was ever started."""
    assert len(daemon.app.registry) == 0
    assert not [pid for pid in list_children() if not _is_fork_server(pid)]
    assert count_starts(daemon) == 0


def _is_fork_server(pid: int) -> bool:
    """Tell whether a process is the one that forks for the daemon, and stays."""
    return b"process.fork_server" in Path(f"/proc/{pid}/cmdline").read_bytes()


def count_starts(daemon: Daemon) -> int:
    """Return how many sessions were ever started."""
    (family,) = daemon.app.metrics.starts.collect()
    return int(sum(sample.value for sample in family.samples if sample.name.endswith("_total")))


@contextlib.contextmanager
def memory_stays_flat(growth_max_bytes: int, pid: int | str = "self") -> Iterator[None]:
    """Fail when the memory of a process has grown, at any time meanwhile, by more than this."""
    # 5 makes the peak what is resident now: proc(5), clear_refs.
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _read_memory(pid, "VmRSS")
    yield
    grown = _read_memory(pid, "VmHWM") - before
    assert grown <= growth_max_bytes, f"grown by {grown} bytes"


def _read_memory(pid: int | str, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.M)
    assert found is not None
    return int(found[1]) * 1024


def dump(value: Any) -> bytes:
    """Return JSON as most programs write it."""
    return json.dumps(value).encode()
