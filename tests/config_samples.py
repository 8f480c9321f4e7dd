"""Valid values of every setting, in each spelling that it can be given in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Three valid values of a setting, as a file, the environment and the command line would have them."""

    toml: str
    text: str
    flag: object
    values: tuple[object, object, object]


PATH = Sample('"a"', "b/c", "/d e", ("a", "b/c", "/d e"))
SECRET = Sample('"env:A"', "file:b", "", ("env:A", "file:b", ""))
SWITCH = Sample("true", "off", True, (True, False, True))
WORD = Sample('"a"', "https://b.example", "", ("a", "https://b.example", ""))
SAMPLES = {
    "listen": Sample(
        '["127.0.0.1:1"]',
        "127.0.0.1:2, [::1]:3",
        ("unix:/run/x",),
        (("127.0.0.1:1",), ("127.0.0.1:2", "[::1]:3"), ("unix:/run/x",)),
    ),
    "controller_url": Sample(
        '"http://a/c"', "https://b/?x=1", "http://[::1]:8000/c", ("http://a/c", "https://b/?x=1", "http://[::1]:8000/c")
    ),
    "insecure_listen": Sample("true", "off", True, (True, False, True)),
    "controller_timeout_s": Sample("1", "500ms", "1m", (1.0, 0.5, 60.0)),
    "controller_max_questions": Sample("1", "1000", "64", (1, 1000, 64)),
    "controller_socket": PATH,
    "controller_hmac_key": SECRET,
    "jwt_keys": Sample(
        '["HS256:env:KEY"]',
        "k1=HS384:env:KEY, HS512:env:KEY",
        ("HS512:env:KEY",),
        (("HS256:env:KEY",), ("k1=HS384:env:KEY", "HS512:env:KEY"), ("HS512:env:KEY",)),
    ),
    "jwt_jwks_url": Sample('"https://a/k"', "https://b/", "", ("https://a/k", "https://b/", "")),
    "jwt_audience": WORD,
    "jwt_issuer": WORD,
    "jwt_type": WORD,
    "jwt_leeway_s": Sample("0", "5m", "30s", (0.0, 300.0, 30.0)),
    "jwt_max_lifetime_s": Sample("1", "1h", "31536000", (1.0, 3600.0, 31_536_000.0)),
    "token_once": Sample("true", "off", True, (True, False, True)),
    "state_dir": PATH,
    "allow_commands": Sample('["/a"]', "/b,/c/", ("/d e",), (("/a",), ("/b", "/c/"), ("/d e",))),
    "allow_cwds": Sample('["/a"]', "/b,/c/", ("/d",), (("/a",), ("/b", "/c/"), ("/d",))),
    "allow_users": Sample('["lab"]', "a_b,c-d", ("www-data",), (("lab",), ("a_b", "c-d"), ("www-data",))),
    "user": Sample('"lab"', "a.b", "", ("lab", "a.b", "")),
    "group": Sample('"lab"', "a.b", "", ("lab", "a.b", "")),
    "allow_setuid": Sample("true", "off", True, (True, False, True)),
    "base_path": Sample('"/a"', "/b/c", "/", ("/a", "/b/c", "")),
    "allow_origins": Sample(
        '["HTTPS://A.example:443"]',
        "http://b.example:8080,http://c.example",
        ("http://[::1]:80",),
        (("https://a.example",), ("http://b.example:8080", "http://c.example"), ("http://[::1]",)),
    ),
    "allow_hosts": Sample(
        '["A.example."]',
        "b.example,c_d",
        ("xn--bcher-kva.example",),
        (("a.example",), ("b.example", "c_d"), ("xn--bcher-kva.example",)),
    ),
    "trusted_proxies": Sample(
        '["10.0.0.0/8"]', "127.0.0.1,unix", ("fd00::/8",), (("10.0.0.0/8",), ("127.0.0.1", "unix"), ("fd00::/8",))
    ),
    "require_origin": Sample("true", "off", True, (True, False, True)),
    "process_door": SWITCH,
    "process_listen": Sample(
        '["127.0.0.1:8910"]', "[::1]:3", ("unix:/run/x",), (("127.0.0.1:8910",), ("[::1]:3",), ("unix:/run/x",))
    ),
    "commands_prefix": Sample('"/a"', "/b/c", "/", ("/a", "/b/c", "")),
    "payloads_door": SWITCH,
    "rpc_door": SWITCH,
    "max_body_bytes": Sample('"1KiB"', "64MiB", "4096", (1024, 67_108_864, 4096)),
    "max_upload_bytes": Sample("1024", "16384MiB", "1MiB", (1024, 17_179_869_184, 1_048_576)),
    "body_timeout_s": Sample("0.1", "100ms", "1h", (0.1, 0.1, 3600.0)),
    "database_url": WORD,
    "max_jobs_running": Sample("1", "10000", "7", (1, 10_000, 7)),
    "max_jobs_waiting": Sample("1", "1000000", "7", (1, 1_000_000, 7)),
    "max_jobs_kept": Sample("1", "10000000", "7", (1, 10_000_000, 7)),
    "job_ttl_s": Sample("1", "1h", "31536000", (1.0, 3600.0, 31_536_000.0)),
    "max_job_output_bytes": Sample('"1KiB"', "1MiB", "4096", (1024, 1_048_576, 4096)),
    "spool_bytes": Sample('"1MiB"', "2MiB", "1048577", (1_048_576, 2_097_152, 1_048_577)),
    "max_sessions": Sample("1", "100000", "7", (1, 100_000, 7)),
    "max_sessions_per_address": Sample("0", "100000", "7", (0, 100_000, 7)),
    "max_sessions_per_principal": Sample("0", "100000", "7", (0, 100_000, 7)),
    "max_handshakes_per_address": Sample("0", "10000", "7", (0, 10_000, 7)),
    "max_waiting": Sample("16", "100000", "17", (16, 100_000, 17)),
    "max_waiting_per_address": Sample("1", "100000", "7", (1, 100_000, 7)),
    "unix_mode": Sample('"0660"', "600", "0666", ("0660", "0600", "0666")),
    "drain_timeout_s": Sample("0", "1h", "2.5", (0.0, 3600.0, 2.5)),
    "ping_interval_s": Sample("1", "2s", "3", (1.0, 2.0, 3.0)),
    "ping_timeout_s": Sample('"1m"', "5m", "3600", (60.0, 300.0, 3600.0)),
    "handshake_timeout_s": Sample("0.1", "100ms", "60s", (0.1, 0.1, 60.0)),
    "compression": Sample("true", "off", True, (True, False, True)),
    "max_message_bytes": Sample("1024", "512KiB", "1MiB", (1024, 524_288, 1_048_576)),
    "ring_bytes": Sample("1048577", "64MiB", "2048KiB", (1_048_577, 67_108_864, 2_097_152)),
    "window_bytes": Sample('"128KiB"', "129KiB", "524288", (131_072, 132_096, 524_288)),
    "input_bytes": Sample("16384", "64MiB", "1048575", (16_384, 67_108_864, 1_048_575)),
    "metrics": Sample('"all"', "OFF", "loopback", ("all", "off", "loopback")),
    "audit_log": PATH,
    "log_format": Sample('"json"', "console", "auto", ("json", "console", "auto")),
    "log_level": Sample('"debug"', "WARNING", "error", ("debug", "warning", "error")),
}
