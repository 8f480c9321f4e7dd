"""The daemon as an operator meets it: where it listens, whom it refuses, what it logs, how it was started."""

import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from daemon_process import NATIVE, PROGRAM, DaemonProcess, StartDaemon, daemon_environ, get
from observing import until
from programs import run_program
from scripted_controller import ScriptedController
from terminal_client import Heard, hear_all, hear_until
from websockets.asyncio.client import connect, unix_connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

HELLO = ("/bin/sh", "-c", "echo hello; exit 7")
SAID_HELLO = (b"hello\r\n", (7, None), 1000)
WAITING = ("/bin/sh", "-c", "echo ready; exec cat")


def outcome(heard: Heard) -> tuple[bytes, tuple[int | None, str | None], int]:
    """Return output, ending and close code."""
    return heard.output, heard.ending, heard.close_code


async def hear(connecting: connect) -> Heard:
    """Connect and note what comes to the end."""
    async with connecting as websocket:
        return await hear_all(websocket)


async def refusal(connecting: connect) -> tuple[int, str, Headers]:
    """Connect in vain; return status, text and headers of the refusal."""
    with pytest.raises(InvalidStatus) as refused:
        await connecting
    response = refused.value.response
    return response.status_code, (response.body or b"").decode(), response.headers


def over_unix(path: Path, token: str) -> unix_connect:
    """Return a connection to the terminal of `token` through a unix socket."""
    headers = {"Authorization": f"Bearer {token}"}
    return unix_connect(str(path), "ws://localhost/ws", subprotocols=[NATIVE], additional_headers=headers)


# Where it listens.


async def test_a_unix_socket_is_its_owners_alone(
    start_daemon: StartDaemon, controller: ScriptedController, tmp_path: Path
) -> None:
    path = tmp_path / "daemon.sock"
    daemon = await start_daemon(listen=("--listen", f"unix:{path}"))

    heard = await hear(over_unix(path, controller.allow(*HELLO)))

    assert daemon.addresses == (f"unix:{path}",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert outcome(heard) == SAID_HELLO


async def test_a_unix_socket_has_the_mode_that_was_asked_for(start_daemon: StartDaemon, tmp_path: Path) -> None:
    path = tmp_path / "daemon.sock"
    await start_daemon("--unix-mode", "0660", listen=("--listen", f"unix:{path}"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_systemd_hands_its_socket_over(start_daemon: StartDaemon, controller: ScriptedController) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As systemd does it: the socket is descriptor 3, and LISTEN_PID the process that shall have it.
        activate = 'exec 3<&$0; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        program = ("/bin/bash", "-c", activate, str(listener.fileno()), *PROGRAM)
        daemon = await start_daemon(listen=("--listen", "systemd"), program=program, pass_fds=[listener.fileno()])

        heard = await hear(daemon.open(controller.allow(*HELLO)))

        assert daemon.port == listener.getsockname()[1]
        assert outcome(heard) == SAID_HELLO


async def test_with_a_certificate_it_speaks_tls_only(
    start_daemon: StartDaemon, controller: ScriptedController, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    made = await run_program(["openssl", "req", "-x509", *new_key, "-keyout", key, "-out", cert, *subject])
    assert made.status == 0, made.stderr
    daemon = await start_daemon("--tls-cert", str(cert), "--tls-key", str(key))
    context = ssl.create_default_context(cafile=cert)

    heard = await hear(daemon.open(controller.allow(*HELLO), ssl=context))

    assert daemon.url.startswith("https://127.0.0.1:")
    assert outcome(heard) == SAID_HELLO
    with pytest.raises(httpx.TransportError):
        await get(f"http://127.0.0.1:{daemon.port}/healthz")


async def test_below_a_base_path_everything_stands_and_above_it_nothing(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--base-path", "/tools/terminal")

    heard = await hear(daemon.open(controller.allow(*HELLO)))

    assert outcome(heard) == SAID_HELLO
    for path in ("/", "/static/ws-terminal.js", "/healthz", "/readyz", "/metrics"):
        assert (await daemon.get(path)).status_code == 200, path
        assert (await get(f"http://127.0.0.1:{daemon.port}{path}")).status_code == 404, path


# Whom it refuses.


async def test_more_sessions_than_allowed_are_refused_until_one_has_ended(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--max-sessions", "2")
    second_chance = controller.allow(*HELLO)
    async with daemon.open(controller.allow(*WAITING)) as first, daemon.open(controller.allow(*WAITING)) as second:
        await hear_until(first, b"ready")
        await hear_until(second, b"ready")

        status, text, headers = await refusal(daemon.open(second_chance))
        await first.close()
        await daemon.sessions_reach(1)

        assert (status, text, headers["Retry-After"]) == (503, "Too many sessions", "5")
        # It was not asked about, so a single-use token is still good.
        assert outcome(await hear(daemon.open(second_chance))) == SAID_HELLO


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_another_origin_is_refused_and_nobody_asked(
    daemon: DaemonProcess, controller: ScriptedController, origin: str
) -> None:
    status, text, _ = await refusal(daemon.open(controller.allow(*HELLO), origin=origin))

    assert (status, text) == (403, "Origin not allowed")
    assert controller.asked == []


async def test_its_own_pages_and_those_it_was_told_of_are_let_in(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--allow-origin", "https://lab.example")

    for origin in (daemon.url, "https://lab.example"):
        assert outcome(await hear(daemon.open(controller.allow(*HELLO), origin=origin))) == SAID_HELLO


async def test_a_name_that_somebody_else_points_at_us_is_refused(daemon: DaemonProcess) -> None:
    response = await daemon.get("/", Host="rebound.example")

    assert (response.status_code, response.text) == (403, "Host not allowed")


async def test_an_unknown_token_is_refused_and_starts_nothing(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    status, text, _ = await refusal(daemon.open("unknown"))

    assert (status, text) == (403, "Invalid token")
    assert controller.asked == ["unknown"]
    assert daemon.children() == set()


async def test_no_token_is_refused_without_asking(daemon: DaemonProcess, controller: ScriptedController) -> None:
    status, text, _ = await refusal(connect(f"ws://127.0.0.1:{daemon.port}/ws", proxy=None))

    assert (status, text) == (400, "Token missing")
    assert controller.asked == []


async def test_a_page_learns_afterwards_why_it_was_refused_and_the_controller_is_asked_once(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    await refusal(daemon.open("unknown"))

    response = await daemon.get("/ws", Authorization="Bearer unknown", Accept="application/problem+json")

    assert response.status_code == 403
    problem = response.json()
    assert problem.pop("request_id") == response.headers["x-request-id"]
    assert problem == {"type": "about:blank", "title": "Invalid token", "status": 403, "code": "denied"}
    assert controller.asked == ["unknown"]


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ({"command": "/no/such/program"}, "spawn_failed"),
        ({"command": "/etc/hostname"}, "spawn_failed"),
        ({"command": "/bin/true", "cwd": "/no/such/directory"}, "spawn_cwd"),
    ],
)
async def test_a_command_that_cannot_be_started_is_refused_before_the_upgrade_and_the_log_says_why(
    daemon: DaemonProcess, controller: ScriptedController, grant: dict[str, str], code: str
) -> None:
    status, text, _ = await refusal(daemon.open(controller.allow(**grant)))

    assert (status, text) == (502, "Cannot start command")
    line = next(line for line in daemon.log_lines() if line["message"] == "refused")
    assert line["code"] == code
    assert grant.get("cwd", grant["command"]) in line["detail"]


async def test_without_a_controller_a_client_hears_so(launch_daemon: Callable[..., DaemonProcess]) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # Nobody else gets the port meanwhile; and without listening it refuses.
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        daemon = launch_daemon("--listen", "127.0.0.1:0", "--controller-url", url)
        await daemon.ready()

        status, text, _ = await refusal(daemon.open("any"))

    assert (status, text) == (503, "Controller unreachable")


async def test_a_controller_that_thinks_too_long_is_given_up(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--controller-timeout", "0.2s")
    controller.delay_s = 1

    status, text, _ = await refusal(daemon.open(controller.allow(*HELLO)))

    assert (status, text) == (504, "Controller timeout")


# What it says of itself.


async def test_health_readiness_and_figures_are_told(daemon: DaemonProcess, controller: ScriptedController) -> None:
    await hear(daemon.open(controller.allow(*HELLO)))
    await refusal(daemon.open("unknown"))

    assert (await daemon.get("/healthz")).text == "ok\n"
    assert (await daemon.get("/readyz")).text == "ready\n"
    assert await daemon.read_metric('ws_subprocess_sessions_started_total{door="terminal"}') == 1
    assert await daemon.read_metric('ws_subprocess_sessions_ended_total{cause="exit"}') == 1
    assert await daemon.read_metric('ws_subprocess_refusals_total{code="denied"}') == 1
    assert await daemon.read_metric('ws_subprocess_bytes_total{direction="out"}') == len(b"hello\r\n")
    assert await daemon.read_metric("ws_subprocess_start_seconds_count") == 1


# How it was started.


@pytest.fixture
async def careless_socket(
    launch_daemon: Callable[..., DaemonProcess], controller: ScriptedController, tmp_path: Path
) -> AsyncIterator[Path]:
    """A daemon started with neither stdin, stdout nor stderr, and with signals ignored that matter; its socket."""
    path = tmp_path / "daemon.sock"
    program = ("/bin/bash", "-c", """trap '' CHLD PIPE HUP INT; exec "$@" <&- >&- 2>&-""", "bash", *PROGRAM)
    launch_daemon("--listen", f"unix:{path}", "--controller-url", controller.url, program=program)
    await until(lambda: can_connect(path), "somebody who listens")
    return path


def can_connect(path: Path) -> bool:
    """Tell whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def test_a_careless_parent_costs_neither_output_nor_status(
    careless_socket: Path, controller: ScriptedController
) -> None:
    heard = await hear(over_unix(careless_socket, controller.allow(*HELLO)))

    assert outcome(heard) == SAID_HELLO


@pytest.mark.parametrize("name", ["PIPE", "HUP", "INT"])
async def test_commands_do_not_inherit_what_the_daemons_parent_ignored(
    careless_socket: Path, controller: ScriptedController, name: str
) -> None:
    heard = await hear(over_unix(careless_socket, controller.allow("/bin/sh", "-c", f"kill -{name} $$", tty=False)))

    assert heard.ending == (None, name)


async def test_commands_do_not_inherit_the_daemons_environment_or_descriptors(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon(environ=daemon_environ(CANARY="bird"))
    token = controller.allow("/bin/sh", "-c", "env; echo; ls /proc/self/fd", tty=False, env={"LAB": "7"})

    environ, _, descriptors = (await hear(daemon.open(token))).output.decode().partition("\n\n")

    names = {line.partition("=")[0] for line in environ.splitlines()} - {"PWD", "OLDPWD", "_", "SHLVL"}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "WS_SUBPROCESS_SESSION", "LAB"}
    # The fourth is the folder that ls reads.
    assert descriptors.split() == ["0", "1", "2", "3"]
