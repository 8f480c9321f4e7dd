"""Echo: the time from a typed key to its echo, through a raw terminal, alone and among 50 sessions that type."""

import random
import select
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.client import SMALL_BUFFER_BYTES, Session
from benchmarks.cpus import CHILD_CPU, reader_cpu
from benchmarks.figures import FLOOR, Samples, Scale
from benchmarks.programs import CHILD, run_floor
from benchmarks.servers import Server, System, running

TYPING_PERIOD_S = 0.025


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `echo_p50`, `echo_p99`, `echo_many_p50` and `echo_many_p99`."""
    command = [CHILD, "echo", str(CHILD_CPU)]
    alone = ("1", "0", str(scale.keys), *command)
    many = (str(scale.many_sessions), str(TYPING_PERIOD_S), str(scale.many_keys), *command)
    with running(systems, command, placed=True) as servers:
        for _ in range(scale.rounds):
            _record(samples, "echo", FLOOR, _floor(*alone))
            for server in servers:
                _record(samples, "echo", server.system.name, _percentiles(_type_in_turn(server, scale.keys)))
        for _ in range(scale.rounds):
            _record(samples, "echo_many", FLOOR, _floor(*many))
            for server in servers:
                latencies = _type_at_leisure(server, scale.many_sessions, scale.many_keys)
                _record(samples, "echo_many", server.system.name, _percentiles(latencies))


def _floor(*args: str) -> dict[str, float]:
    with reader_cpu():
        return run_floor("echo_floor", *args)


def _record(samples: Samples, key: str, system: str, percentiles: dict[str, float]) -> None:
    samples.add(f"{key}_p50", system, percentiles["p50_s"] * 1e6)
    samples.add(f"{key}_p99", system, percentiles["p99_s"] * 1e6)


def _percentiles(latencies_s: list[float]) -> dict[str, float]:
    latencies_s.sort()
    count = len(latencies_s)
    return {"p50_s": latencies_s[int(count * 0.5)], "p99_s": latencies_s[int(count * 0.99)]}


def _open(server: Server) -> Session:
    """Open a session whose child has said that its terminal is raw."""
    session = server.connect(SMALL_BUFFER_BYTES)
    session.expect_output()
    return session


def _type_in_turn(server: Server, keys: int) -> list[float]:
    """The next key follows the answer to the last. Return each echo's seconds."""
    latencies_s: list[float] = []
    with _open(server) as session:
        for _ in range(keys):
            started = time.perf_counter()
            session.press_key()
            session.expect_output()
            latencies_s.append(time.perf_counter() - started)
        session.finish()
    return latencies_s


def _type_at_leisure(server: Server, count: int, keys: int) -> list[float]:
    """Each of `count` sessions types on its own, as floors/echo_floor.c does. Return each echo's seconds."""
    think_times = random.Random(1)
    latencies_s: list[float] = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(_open(server)) for _ in range(count)]
        sent: dict[Session, float] = {}
        due = {session: time.perf_counter() + _think_time(think_times) for session in sessions}
        while len(latencies_s) < keys:
            for session in [session for session, when in due.items() if when <= time.perf_counter()]:
                del due[session]
                sent[session] = time.perf_counter()
                session.press_key()
            for session in _readable(sent, min(due.values(), default=None)):
                session.expect_output()
                now = time.perf_counter()
                latencies_s.append(now - sent.pop(session))
                due[session] = now + _think_time(think_times)
        for session in sessions:
            session.finish()
    return latencies_s


def _think_time(source: random.Random) -> float:
    return TYPING_PERIOD_S * (0.5 + source.random())


def _readable(sent: dict[Session, float], until: float | None) -> list[Session]:
    """Wait for an echo, at most until the next key is due. select: its timeout is finer than epoll's millisecond."""
    timeout_s = 1.0 if until is None else max(until - time.perf_counter(), 0)
    by_socket = {session.socket: session for session in sent}
    return [by_socket[ready] for ready in select.select(by_socket, [], [], timeout_s)[0]]
