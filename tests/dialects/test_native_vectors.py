"""The Python codec against the byte vectors that the JavaScript codec runs too (tests/vectors/README.md)."""

import json
from pathlib import Path
from typing import Any

import pytest

from ws_subprocess.dialects.events import (
    Ack,
    ClientEvent,
    Eof,
    Error,
    Exit,
    Hello,
    Input,
    Invalid,
    Ping,
    Pong,
    Resize,
    ServerEvent,
    Signal,
)
from ws_subprocess.dialects.native import NativeDialect
from ws_subprocess.errors import FAULTS
from ws_subprocess.model import ExitStatus, SessionId, Size

Vector = dict[str, Any]

VECTORS: list[Vector] = json.loads((Path(__file__).parent.parent / "vectors" / "native_v1.json").read_text())
KEYS = {"name", "direction", "tty", "kind", "wire", "event", "error", "canonical"}
SIGNALS = {"TERM": 15, "SEGV": 11}


def pick(direction: str, *, refused: bool) -> list[Vector]:
    return [v for v in VECTORS if v["direction"] == direction and (v["error"] is not None) is refused]


def name(vector: Vector) -> str:
    return str(vector["name"])


def read_wire(vector: Vector) -> str | bytes:
    return {"text": str, "binary": bytes.fromhex}[vector["kind"]](vector["wire"])


def build_client_event(fields: dict[str, Any]) -> ClientEvent:
    """Return a client's event as the Python codec has it; fails for a kind this file does not know."""
    match fields:
        case {"type": "input", "hex": str(data)}:
            return Input(bytes.fromhex(data))
        case {"type": "resize", "rows": int(rows), "cols": int(cols)}:
            return Resize(Size(rows, cols))
        case {"type": "signal", "name": str(signal)}:
            return Signal(signal)
        case {"type": "eof"}:
            return Eof()
        case {"type": "ack", "offset": int(offset)}:
            return Ack(offset)
        case {"type": "ping", "id": id}:
            return Ping(id)
        case {"type": "pong", "id": id}:
            return Pong(id)
        case _:
            pytest.fail(f"unknown client event: {fields}")


def build_server_event(fields: dict[str, Any]) -> ServerEvent:
    """Return a server's event as the Python codec has it; fails for a kind this file does not know."""
    match fields:
        case {"type": "hello"}:
            size = Size(fields["rows"], fields["cols"])
            session = SessionId(fields["session"])
            return Hello(session, fields["offset"], size, fields["tty"], fields["role"], fields["title"])
        case {"type": "exit", "code": code, "signal": signal}:
            status = ExitStatus(code, SIGNALS[signal] if signal else None)
            return Exit(status, float(fields["duration_s"]), fields["bytes"])
        case {"type": "error", "code": str(code), "message": str(message)}:
            return Error(code, message)
        case {"type": "pong", "id": id}:
            return Pong(id)
        case _:
            pytest.fail(f"unknown server event: {fields}")


@pytest.mark.parametrize("vector", pick("client", refused=False), ids=name)
def test_a_clients_message_means_its_event(vector: Vector) -> None:
    event = NativeDialect(vector["tty"]).decode(read_wire(vector))

    assert event == build_client_event(vector["event"])


@pytest.mark.parametrize("vector", pick("client", refused=True), ids=name)
def test_a_clients_bad_message_is_refused_with_its_code(vector: Vector) -> None:
    event = NativeDialect(vector["tty"]).decode(read_wire(vector))

    assert isinstance(event, Invalid)
    assert event.code == vector["error"]
    assert event.message.isprintable()
    assert len(event.message) <= 200


@pytest.mark.parametrize("vector", [v for v in pick("server", refused=False) if v["canonical"]], ids=name)
def test_a_servers_event_is_encoded_exactly(vector: Vector) -> None:
    dialect, fields = NativeDialect(vector["tty"]), vector["event"]

    if fields["type"] == "output":
        assert dialect.encode_output(fields["stream"], bytes.fromhex(fields["hex"])) == read_wire(vector)
    else:
        assert dialect.encode(build_server_event(fields)) == vector["wire"]


@pytest.mark.parametrize("vector", [v for v in pick("server", refused=False) if not v["canonical"]], ids=name)
def test_another_spelling_of_a_servers_event_is_one_that_we_do_not_write(vector: Vector) -> None:
    fields = vector["event"]

    # A server's ping is what a later version may send: PROTOCOL.md has it, this one's events do not.
    if fields["type"] != "ping":
        assert NativeDialect(vector["tty"]).encode(build_server_event(fields)) != vector["wire"]


@pytest.mark.parametrize("vector", pick("server", refused=True), ids=name)
def test_what_a_client_refuses_is_nothing_that_we_could_write(vector: Vector) -> None:
    """The types of the events rule these out, so no good message may look like one of them."""
    good = {
        v["wire"] for v in pick("server", refused=False) if v["kind"] == vector["kind"] and v["tty"] == vector["tty"]
    }

    assert vector["wire"] not in good


def test_every_vector_is_of_a_known_form() -> None:
    for vector in VECTORS:
        assert set(vector) == KEYS, vector["name"]
        assert vector["direction"] in ("client", "server")
        assert vector["kind"] in ("text", "binary")
        assert isinstance(vector["tty"], bool)
        assert (vector["event"] is None) == (vector["error"] is not None), vector["name"]
        assert vector["error"] is None or vector["error"] in FAULTS
        assert not (vector["canonical"] and vector["error"])


def test_names_are_unique_per_direction() -> None:
    names = [(vector["direction"], vector["name"]) for vector in VECTORS]

    assert len(set(names)) == len(names)
