"""The settings: one flat frozen dataclass, from whose fields flags, environment names, TOML keys and docs are made.

Laws: a `Settings` that exists is valid, whether it was loaded or built in Python; a setting is added here and nowhere
else. Whether a named file can be read is known only where settings are loaded (`load`).
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ws_subprocess.address import Tcp, parse_listen
from ws_subprocess.config.kinds import Bytes, Choice, Count, Duration, Kind, Many, Switch, Text, quote
from ws_subprocess.config.parse import (
    parse_absolute_path,
    parse_account,
    parse_base_path,
    parse_host,
    parse_mode,
    parse_network,
    parse_optional_url,
    parse_origin,
    parse_path,
    parse_word,
)
from ws_subprocess.config.secrets import SecretInPlaceError, parse_key, parse_secret

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB
ENVIRONMENT_PREFIX = "WS_SUBPROCESS_"
CONTROLLER_URL_DEFAULT = "http://127.0.0.1/ws-controller"


def _listen(text: str) -> str:
    """Return `text` as it is once `parse_listen` understood it: settings hold what people wrote."""
    parse_listen(text)
    return text


LISTEN = Text(_listen, "ADDRESS", "host:port, [v6]:port, unix:/path, fd:N, systemd")
URL = Text(parse_optional_url, "URL", "http:// or https:// URL")
BASE_PATH = Text(parse_base_path, "PATH", "empty, /a, /a/b")
ORIGIN = Text(parse_origin, "ORIGIN", "scheme://host[:port]")
HOST = Text(parse_host, "HOST", "host name without port")
NETWORK = Text(parse_network, "NETWORK", "IP address, CIDR network, unix")
FILE = Text(parse_path, "FILE", "path")
SECRET = Text(parse_secret, "SECRET", "file:PATH, env:NAME")
KEY = Text(parse_key, "KEY", "[KID=]ALGORITHM:file:PATH, [KID=]ALGORITHM:env:NAME")
WORD = Text(parse_word, "TEXT", "printable text without spaces")
ACCOUNT = Text(parse_account, "NAME", "account name")
ABSOLUTE_PATH = Text(parse_absolute_path, "PATH", "absolute path")
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
    insecure_listen: bool = _setting(
        False, Switch(), "listen beyond this machine without TLS and without a trusted proxy in front"
    )
    controller_url: str = _setting(
        "",
        URL,
        f"the controller that is asked what a token may run; {CONTROLLER_URL_DEFAULT} where neither this nor jwt_keys, "
        "jwt_jwks_url or tokens_file is set",
    )
    controller_timeout_s: float = _setting(5.0, Duration(0.1, 60), "how long one question to the controller may take")
    controller_max_questions: int = _setting(64, Count(1, 1000), "questions to the controller at a time; others wait")
    controller_socket: str = _setting("", FILE, "unix socket that the controller listens on, whatever host its URL has")
    controller_ca: str = _setting("", FILE, "certificates (PEM) that the controller's must be signed by")
    controller_cert: str = _setting("", FILE, "certificate (PEM) to show to the controller; with controller_key")
    controller_key: str = _setting("", FILE, "private key (PEM) of controller_cert")
    controller_hmac_key: str = _setting(
        "", SECRET, "key that the controller signs its answers with; others are refused then"
    )
    jwt_keys: tuple[str, ...] = _setting((), Many(KEY), "keys that verify signed tokens (JWT)", flag="jwt-key")
    jwt_jwks_url: str = _setting("", URL, "where an issuer publishes its keys (JWKS)")
    jwt_audience: str = _setting("", WORD, "the aud that signed tokens must name")
    jwt_issuer: str = _setting("", WORD, "the iss that signed tokens must have, if set")
    jwt_type: str = _setting("", WORD, "the typ that signed tokens must have; if not set, JWT or none")
    jwt_leeway_s: float = _setting(30.0, Duration(0, 300), "how far the issuer's clock may be off")
    jwt_max_lifetime_s: float = _setting(3600.0, Duration(1, 31_536_000), "longest life of a signed token, exp - iat")
    tokens_file: str = _setting("", FILE, "static tokens (TOML), stored as hashes; see `ws-subprocess token hash`")
    token_once: bool = _setting(
        False, Switch(), "let the controller's tokens, and signed ones without a jti, count once, too"
    )
    state_dir: str = _setting(
        "",
        FILE,
        "where used tokens and jobs are kept; if not set $STATE_DIRECTORY, or ws-subprocess in $XDG_STATE_HOME, "
        "~/.local/state, or as root /var/lib",
    )
    allow_commands: tuple[str, ...] = _setting(
        (), Many(ABSOLUTE_PATH), "the only commands that may be granted; DIR/ for all below it", flag="allow-command"
    )
    allow_cwds: tuple[str, ...] = _setting(
        (), Many(ABSOLUTE_PATH), "the only working directories, with all below them", flag="allow-cwd"
    )
    allow_users: tuple[str, ...] = _setting(
        (), Many(ACCOUNT), "the only accounts that commands may run as; user has to be one of them", flag="allow-user"
    )
    user: str = _setting("", ACCOUNT, "account that commands run as where the grant names none; needs root")
    group: str = _setting("", ACCOUNT, "group of these commands; the account's own if not set")
    allow_setuid: bool = _setting(False, Switch(), "let commands gain privileges by setuid programs such as sudo")
    base_path: str = _setting("", BASE_PATH, "prefix of every route, for a daemon below a path of another site")
    allow_origins: tuple[str, ...] = _setting(
        (), Many(ORIGIN), "other origins whose pages may use the daemon", flag="allow-origin"
    )
    allow_hosts: tuple[str, ...] = _setting(
        (), Many(HOST), "names in the Host header besides localhost and IP addresses", flag="allow-host"
    )
    require_origin: bool = _setting(False, Switch(), "refuse clients that send no Origin: all that are no browsers")
    trusted_proxies: tuple[str, ...] = _setting(
        (), Many(NETWORK), "peers whose X-Forwarded-For and X-Forwarded-Proto are believed", flag="trusted-proxy"
    )
    process_door: bool = _setting(False, Switch(), "serve POST /process: commands that clients propose, streamed")
    process_listen: tuple[str, ...] = _setting(
        (), Many(LISTEN), "where to listen for the process door alone, as rexec did on 8910"
    )
    commands_file: str = _setting("", FILE, "commands (TOML) to serve as jobs over HTTP")
    commands_prefix: str = _setting("/commands", BASE_PATH, "prefix of the routes of commands_file")
    payloads_door: bool = _setting(False, Switch(), "serve /payloads: commands that clients propose, as jobs")
    rpc_door: bool = _setting(False, Switch(), "serve POST /rpc: sessions by JSON-RPC and weeRPC")
    max_body_bytes: int = _setting(MIB, Bytes(KIB, 64 * MIB), "largest body of a request")
    max_upload_bytes: int = _setting(64 * MIB, Bytes(KIB, 16 * 1024 * MIB), "largest body of a request with files")
    body_timeout_s: float = _setting(30.0, Duration(0.1, 3600), "how long a client may take to send a body")
    database_url: str = _setting("", WORD, "where jobs are remembered (SQLAlchemy URL); SQLite in state_dir if not set")
    max_jobs_running: int = _setting(16, Count(1, 10_000), "jobs at a time; others wait")
    max_jobs_waiting: int = _setting(10_000, Count(1, 1_000_000), "jobs that wait; more are refused with 503")
    max_jobs_kept: int = _setting(100_000, Count(1, 10_000_000), "results kept; the oldest that ended go first")
    job_ttl_s: float = _setting(
        3600.0, Duration(1, 31_536_000), "how long results are kept, where nothing else is said"
    )
    max_job_output_bytes: int = _setting(1024 * MIB, Bytes(KIB, 1024 * 1024 * MIB), "output kept of one job")
    spool_bytes: int = _setting(10 * 1024 * MIB, Bytes(MIB, 1024 * 1024 * MIB), "output and uploads kept of all jobs")
    max_sessions: int = _setting(1000, Count(1, 100_000), "sessions at a time; more are refused with 503")
    max_sessions_per_address: int = _setting(0, Count(0, 100_000), "sessions at a time of one address; 0 for no limit")
    max_sessions_per_principal: int = _setting(
        100, Count(0, 100_000), "sessions at a time of one principal; 0 for no limit"
    )
    max_handshakes_per_address: int = _setting(
        20, Count(0, 10_000), "handshakes a second of one address, ten times as many at once; 0 for no limit"
    )
    max_waiting: int = _setting(
        1000, Count(16, 100_000), "connections that ask for nothing now; beyond, some of them are cut at random"
    )
    max_waiting_per_address: int = _setting(100, Count(1, 100_000), "such connections from one address")
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
    audit_log: str = _setting("", FILE, "file for the audit's lines, one per decision; in the log if not set")
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
            except SecretInPlaceError as exc:
                # What stands there may be the secret.
                wrong.append(f"{setting.key}: {exc}")
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

    keys: tuple[str, ...]
    text: str
    code: str = "bad_value"


def conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Yield what is contradictory in `values`, which has all keys, each with a valid value."""
    if values["window_bytes"] > values["ring_bytes"] // 2:
        window, ring = (SETTINGS[key].kind.show(values[key]) for key in ("window_bytes", "ring_bytes"))
        text = f"window_bytes = {window}: more than half of ring_bytes = {ring}; lower the one or raise the other"
        yield Conflict(("window_bytes", "ring_bytes"), text)
    has_proxy = not all(map(_is_proxy_here, values["trusted_proxies"]))
    is_guarded = values["tls_cert"] or has_proxy or values["insecure_listen"]
    for key in ("listen", "process_listen"):
        if not is_guarded and (open_addresses := [text for text in values[key] if not _is_local(text)]):
            text = (
                f"{key} = {quote(open_addresses[0])}: tokens and terminals would cross the network readable by "
                "all; give tls_cert and tls_key, name the proxy on another machine in trusted_proxies, or say "
                "insecure_listen"
            )
            yield Conflict((key,), text, "insecure_listen")
    for pair in (("tls_cert", "tls_key"), ("controller_cert", "controller_key")):
        given = [key for key in pair if values[key]]
        if len(given) == 1:
            missing = pair[1] if given[0] == pair[0] else pair[0]
            text = f"{given[0]} = {quote(values[given[0]])}: of no use alone; give {missing} too"
            yield Conflict((given[0], missing), text)
    yield from _idle_settings(values)
    for key in ("jwt_keys", "jwt_jwks_url"):
        if values[key] and not values["jwt_audience"]:
            text = (
                f"{key} = {quote(SETTINGS[key].kind.show(values[key]))}: of no use without jwt_audience; name the aud"
            )
            yield Conflict((key, "jwt_audience"), text)
    if (url := urlsplit(values["jwt_jwks_url"])).scheme == "http" and not _is_this_machine(url.hostname or ""):
        text = (
            f"jwt_jwks_url = {quote(values['jwt_jwks_url'])}: whoever sits between could send others; use https://, "
            "or http:// on this machine"
        )
        yield Conflict(("jwt_jwks_url",), text)


def _idle_settings(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Yield what was set for an authority that is not asked: whoever set it believes that it is."""
    is_signed = values["jwt_keys"] or values["jwt_jwks_url"]
    if values["controller_url"] or not (is_signed or values["tokens_file"]):
        return
    for key in ("controller_socket", "controller_ca", "controller_cert", "controller_key", "controller_hmac_key"):
        if values[key]:
            text = f"{key} = {quote(values[key])}: of no use, for no controller is asked; give controller_url too"
            yield Conflict((key, "controller_url"), text)
    if values["token_once"] and not is_signed:
        text = "token_once = true: of no use, for the tokens of tokens_file count any number of times; leave it out"
        yield Conflict(("token_once", "tokens_file"), text)


def _is_local(listen: str) -> bool:
    """Tell whether only this machine can connect there; of a socket that is handed over, somebody else knows."""
    address = parse_listen(listen)
    return not isinstance(address, Tcp) or _is_this_machine(address.host)


def _is_proxy_here(network: str) -> bool:
    """Tell whether a trusted proxy is on this machine: that one needs no address that others can reach as well."""
    return network == "unix" or ipaddress.ip_network(network).is_loopback


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
