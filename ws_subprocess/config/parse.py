"""Readers of single values: text in, the one normal form of it out. Pure.

Law: what a reader returns it reads again unchanged. A ValueError says what is wrong and how to write it instead; the
caller names the key and the value.
"""

import ipaddress
import re
from urllib.parse import parse_qsl, urlsplit

SECONDS_PER_UNIT = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES_PER_UNIT = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DEFAULT_PORTS = {"http": 80, "https": 443}

# [0-9], not \d: the latter takes digits of every script. Lengths are bounded so that no number can overflow.
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ms|s|m|h)?")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_MODE = re.compile(r"0?([0-7]{3})")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_PRINTABLE_ASCII = re.compile(r"[!-~]+")


def parse_duration(text: str) -> float:
    """Return seconds: `5`, `0.5`, `500ms`, `10s`, `5m`, `1h`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration; write seconds (5, 0.5) or 500ms, 10s, 5m, 1h")
    number, unit = match.groups(default="")
    return float(number) * SECONDS_PER_UNIT[unit]


def parse_size(text: str) -> int:
    """Return bytes: `65536`, `64KiB`, `1MiB`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size; write bytes (65536) or 64KiB, 1MiB")
    number, unit = match.groups(default="")
    return int(number) * BYTES_PER_UNIT[unit]


def parse_integer(text: str) -> int:
    """Return a whole number."""
    if not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def parse_url(text: str) -> str:
    """Return an http or https URL with a host, without user, password and fragment, as it was written."""
    if not _PRINTABLE_ASCII.fullmatch(text):
        raise ValueError("not a URL; write it percent-encoded, without spaces")
    parts = urlsplit(text)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("not an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a user or password would end up in logs; leave them out")
    if "#" in text:
        raise ValueError("a fragment is never sent; leave out everything from the #")
    _host_and_port(parts.netloc, parts.scheme)
    if any(name == "token" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("its query has a token already; leave it out, each question adds its own")
    return text


def parse_optional_url(text: str) -> str:
    """Return what `parse_url` does; "" for none."""
    return parse_url(text) if text else text


def parse_origin(text: str) -> str:
    """Return `scheme://host[:port]` as browsers write it: lower case, without the scheme's own port."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        raise ValueError("not an origin; write https://app.example or http://app.example:8080")
    if re.search(r"[/?#@]", rest):
        raise ValueError("an origin has no path, query or user; write only scheme://host or scheme://host:port")
    return f"{scheme}://{_host_and_port(rest, scheme)}"


def parse_host(text: str) -> str:
    """Return a host name in lower case, without a port and without the root's dot."""
    if "*" in text:
        raise ValueError("wildcards are not supported; name each host")
    name = text.lower().removesuffix(".")
    if not name or len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("not a host name; write app.example, without scheme and port (other scripts as xn--...)")
    return name


def parse_network(text: str) -> str:
    """Return an IP address, a network in CIDR form, or `unix` for whoever comes through a unix socket."""
    if text == "unix":
        return text
    try:
        network = ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError(f"not an IP address or network such as 10.0.0.0/8, nor the word unix ({exc})") from exc
    return str(network) if "/" in text else str(network.network_address)


def parse_base_path(text: str) -> str:
    """Return `""` or `/a/b`: it begins with a slash and does not end with one."""
    path = text.removesuffix("/")
    if not path:
        return ""
    first, *segments = path.split("/")
    if first or not all(_PATH_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise ValueError("not a base path; write /terminal or /tools/terminal (letters, digits and . _ ~ - only)")
    return path


def parse_mode(text: str) -> str:
    """Return a file mode as four octal digits."""
    match = _MODE.fullmatch(text)
    if match is None:
        raise ValueError('not a file mode; write three octal digits such as "0600" or "0660"')
    return f"0{match[1]}"


def parse_path(text: str) -> str:
    """Return a file's path, which may be empty, as it was written."""
    if not text.isprintable():
        raise ValueError("not a path that can be shown; name one without control characters")
    return text


def parse_absolute_path(text: str) -> str:
    """Return an absolute path without `..`, as it was written."""
    if not text.startswith("/") or not text.isprintable() or ".." in text.split("/"):
        raise ValueError("not an absolute path without ..; write /usr/bin/top")
    return text


def parse_account(text: str) -> str:
    """Return the name of an account or group; "" for none."""
    if text and not _ACCOUNT.fullmatch(text):
        raise ValueError("not the name of an account; write it as /etc/passwd has it (numbers are not taken)")
    return text


def parse_word(text: str) -> str:
    """Return printable ASCII without spaces; "" for none."""
    if text and not (_PRINTABLE_ASCII.fullmatch(text) and len(text) <= 1024):
        raise ValueError("not printable text without spaces")
    return text


def _host_and_port(netloc: str, scheme: str) -> str:
    """Return `host` or `host:port` in normal form; the scheme's own port is left out."""
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", netloc)
    if match is None:
        raise ValueError("its host and port cannot be read; write host, host:port or [v6]:port")
    host, port = match[1], match[2]
    host = _ipv6(host) if host.startswith("[") else parse_host(host)
    if port is None or int(port) == DEFAULT_PORTS[scheme]:
        return host
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"port {port} is not in 1..65535")
    return f"{host}:{int(port)}"


def _ipv6(bracketed: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(bracketed[1:-1])}]"
    except ValueError as exc:
        raise ValueError(f"{bracketed} is not an IPv6 address ({exc})") from exc
