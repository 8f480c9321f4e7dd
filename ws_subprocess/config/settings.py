"""The settings: one flat frozen dataclass, from whose fields flags, environment names, TOML keys and docs are made.

Laws: a `Settings` that exists is valid, whether it was loaded or built in Python; a setting is added here and nowhere
else. Whether a named file can be read is known only where settings are loaded (`load`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from ws_subprocess.address import parse_listen
from ws_subprocess.config.kinds import Bytes, Choice, Count, Duration, Kind, Many, Switch, Text, quote
from ws_subprocess.config.parse import (
    parse_base_path,
    parse_host,
    parse_mode,
    parse_network,
    parse_origin,
    parse_path,
    parse_url,
)

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB
ENVIRONMENT_PREFIX = "WS_SUBPROCESS_"


def _listen(text: str) -> str:
    """Return `text` as it is once `parse_listen` understood it: settings hold what people wrote."""
    parse_listen(text)
    return text


LISTEN = Text(_listen, "ADDRESS", "host:port, [v6]:port, unix:/path, fd:N, systemd")
URL = Text(parse_url, "URL", "http:// or https:// URL")
BASE_PATH = Text(parse_base_path, "PATH", "empty, /a, /a/b")
ORIGIN = Text(parse_origin, "ORIGIN", "scheme://host[:port]")
HOST = Text(parse_host, "HOST", "host name without port")
NETWORK = Text(parse_network, "NETWORK", "IP address, CIDR network, unix")
FILE = Text(parse_path, "FILE", "path")
MODE = Text(parse_mode, "MODE", "octal file mode")


def _setting(default: T, kind: Kind[T], meaning: str, flag: str = "") -> T:
    """Declare a setting; `flag` is the name without dashes where it is not the key's (see `Setting.flag`)."""
    declared: T = field(default=default, metadata={"kind": kind, "meaning": meaning, "flag": flag})
    return declared


@dataclass(frozen=True, slots=True)
class Settings:
    """How the daemon listens, whom it asks, and its limits. Units: `_s` seconds, `_bytes` bytes.

    Raises:
        ValueError: Some value is out of bounds, or two contradict each other; names all of them.
    """

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1:8866",), Many(LISTEN, least=1), "where to listen; port 0 takes a free one"
    )
    controller_url: str = _setting(
        "http://127.0.0.1/ws-controller", URL, "the controller that is asked what a token may run"
    )
    controller_timeout_s: float = _setting(5.0, Duration(0.1, 60), "how long one question to the controller may take")
    base_path: str = _setting("", BASE_PATH, "prefix of every route, for a daemon below a path of another site")
    allow_origins: tuple[str, ...] = _setting(
        (), Many(ORIGIN), "other origins whose pages may open terminals", flag="allow-origin"
    )
    allow_hosts: tuple[str, ...] = _setting(
        (), Many(HOST), "names in the Host header besides localhost and IP addresses", flag="allow-host"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), Many(NETWORK), "peers whose X-Forwarded-For and X-Forwarded-Proto are believed", flag="trusted-proxy"
    )
    max_sessions: int = _setting(1000, Count(1, 100_000), "sessions at a time; more are refused with 503")
    tls_cert: str = _setting("", FILE, "certificate chain (PEM); with tls_key, listens with TLS")
    tls_key: str = _setting("", FILE, "private key (PEM) of tls_cert")
    unix_mode: str = _setting("0600", MODE, "file mode of unix sockets")
    drain_timeout_s: float = _setting(30.0, Duration(0, 3600), "how long sessions may go on after SIGTERM")
    ping_interval_s: float = _setting(20.0, Duration(1, 3600), "time between websocket pings")
    ping_timeout_s: float = _setting(60.0, Duration(1, 3600), "how long a client may leave a ping unanswered")
    handshake_timeout_s: float = _setting(10.0, Duration(0.1, 60), "how long a client may take to send its request")
    compression: bool = _setting(False, Switch(), "permessage-deflate: for slow links, costs memory per connection")
    max_message_bytes: int = _setting(MIB, Bytes(KIB, 16 * MIB), "largest websocket message a client may send")
    ring_bytes: int = _setting(MIB, Bytes(256 * KIB, 64 * MIB), "latest output kept per session")
    window_bytes: int = _setting(
        512 * KIB,
        # Clients acknowledge every 128 KiB (PROTOCOL.md): a smaller window would make them wait for ever.
        Bytes(128 * KIB, 32 * MIB),
        "output sent ahead of the client's acknowledgement; at most half of ring_bytes",
    )
    input_bytes: int = _setting(MIB, Bytes(16 * KIB, 64 * MIB), "input per session that its command has not read yet")
    metrics: str = _setting("loopback", Choice(("loopback", "all", "off")), "who may read /metrics")
    log_format: str = _setting(
        "auto", Choice(("auto", "console", "json")), "form of the log; auto is console on a terminal, else json"
    )
    log_level: str = _setting("info", Choice(("debug", "info", "warning", "error")), "least severe lines to log")

    def __post_init__(self) -> None:
        wrong: list[str] = []
        for setting in SETTINGS.values():
            value = getattr(self, setting.key)
            try:
                object.__setattr__(self, setting.key, setting.kind.check(value))
            except ValueError as exc:
                wrong.append(f"{setting.key} = {quote(value)}: {exc}")
        if not wrong:
            wrong = [conflict.text for conflict in conflicts(asdict(self))]
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting's names, default, kind, and meaning in half a sentence."""

    key: str
    default: Any
    kind: Kind[Any]
    meaning: str
    flag_name: str

    @property
    def flag(self) -> str:
        """The long flag: the key without its unit `_s` (a duration may carry its own), or the name it was given."""
        return "--" + (self.flag_name or self.key.removesuffix("_s").replace("_", "-"))

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper()


SETTINGS: Mapping[str, Setting] = {
    item.name: Setting(item.name, item.default, item.metadata["kind"], item.metadata["meaning"], item.metadata["flag"])
    for item in fields(Settings)
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that are right alone and wrong together."""

    keys: tuple[str, str]
    text: str


def conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Yield what is contradictory in `values`, which has all keys, each with a valid value."""
    if values["window_bytes"] > values["ring_bytes"] // 2:
        window, ring = (SETTINGS[key].kind.show(values[key]) for key in ("window_bytes", "ring_bytes"))
        text = f"window_bytes = {window}: more than half of ring_bytes = {ring}; lower the one or raise the other"
        yield Conflict(("window_bytes", "ring_bytes"), text)
    if bool(values["tls_cert"]) != bool(values["tls_key"]):
        given, missing = ("tls_cert", "tls_key") if values["tls_cert"] else ("tls_key", "tls_cert")
        yield Conflict((given, missing), f"{given} = {quote(values[given])}: of no use alone; give {missing} too")
