"""`python -m example_controller.demo`: the controller and the daemon together; what `make demo` runs.

Law: both are children of this process and both end with it, however it is asked to end.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass

from example_controller.__main__ import daemon_options
from example_controller.listening import Address, address, listen

READY_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 2
END_TIMEOUT_S = DRAIN_TIMEOUT_S + 3.0
LAST_LINES_TIMEOUT_S = 1.0
LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Ready:
    """A part serves now."""

    part: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A part has closed its output, so it ended."""

    part: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody pressed Ctrl-C, sent SIGTERM or closed the window."""


News = asyncio.Queue[Ready | Ended | Stop]


def main() -> int:
    """Run both until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m example_controller.demo", description=__doc__)
    parser.add_argument("--listen", type=address, default="127.0.0.1:8867", metavar="HOST:PORT")
    parser.add_argument("--daemon-listen", type=address, default="127.0.0.1:8866", metavar="HOST:PORT")
    options = parser.parse_args()
    try:
        pages, daemon = _settle(options.listen, options.daemon_listen)
    except OSError as exc:
        print(exc, file=sys.stderr)
        return 1
    return asyncio.run(_run(pages, daemon))


def _settle(*wanted: Address) -> list[Address]:
    # Each part must know the other's address before it starts, so a port 0 is settled here; all are held until all are
    # known, because the system may hand out a port again as soon as it is free.
    with contextlib.ExitStack() as listeners:
        return [_hold(each, listeners) for each in wanted]


def _hold(wanted: Address, listeners: contextlib.ExitStack) -> Address:
    try:
        listener = listeners.enter_context(listen(wanted))
    except OSError as exc:
        raise OSError(f"{wanted}: {exc.strerror}. Choose other ports: make demo PORT=8877 DAEMON_PORT=8876") from exc
    return Address(wanted.host, listener.getsockname()[1])


def _modules(pages: Address, daemon: Address) -> dict[str, list[str]]:
    manner = ["--drain-timeout", str(DRAIN_TIMEOUT_S), "--log-format", "console"]
    return {
        "controller": ["example_controller", "--listen", str(pages), "--daemon", f"http://{daemon}"],
        "daemon": ["ws_subprocess", "serve", "--listen", str(daemon), *daemon_options(f"http://{pages}"), *manner],
    }


async def _run(pages: Address, daemon: Address) -> int:
    modules = _modules(pages, daemon)
    news = News()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, news.put_nowait, Stop())
    async with asyncio.TaskGroup() as tasks:
        shown: dict[asyncio.Task[None], asyncio.subprocess.Process] = {}
        try:
            for part, arguments in modules.items():
                process = await _start(arguments)
                shown[tasks.create_task(_show(part, process, news))] = process
            return await _watch(news, set(modules), f"http://{pages}/")
        finally:
            await asyncio.gather(*(_end(process, lines) for lines, process in shown.items()))


async def _start(arguments: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LINE_BYTES,
        # A group of its own: Ctrl-C reaches this process alone, which then ends both in order.
        process_group=0,
    )


async def _show(part: str, process: asyncio.subprocess.Process, news: News) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        if text.startswith("ready "):
            news.put_nowait(Ready(part))
        else:
            print(f"{part:10} | {text}", flush=True)
    news.put_nowait(Ended(part))


async def _watch(news: News, starting: set[str], address_to_open: str) -> int:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S) as deadline:
            while True:
                match await news.get():
                    case Ready(part):
                        starting.discard(part)
                        if not starting:
                            deadline.reschedule(None)
                            print(f"\nOpen {address_to_open} (Ctrl-C ends the demo)\n", flush=True)
                    case Ended(part):
                        print(f"The {part} has ended; its last lines say why.", file=sys.stderr)
                        return 1
                    case Stop():
                        return 0
    except TimeoutError:
        print(f"Not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(sorted(starting))}", file=sys.stderr)
        return 1


async def _end(process: asyncio.subprocess.Process, lines: asyncio.Task[None]) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    await asyncio.wait([lines], timeout=LAST_LINES_TIMEOUT_S)
    lines.cancel()


if __name__ == "__main__":
    sys.exit(main())
