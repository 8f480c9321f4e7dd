"""A PostgreSQL server of our own, on a unix socket, until the tests that need it have ended."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

START_S = 30.0


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, the newest where there are several; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which("initdb")
    return Path(path).resolve().parent if path is not None else None


@contextmanager
def run_postgresql(programs: Path) -> Iterator[Path]:
    """Run a server until the block ends; yield the folder of its socket."""
    # It refuses to run as root; and others may not pass through pytest's folders.
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        run: dict[str, Any] = {"cwd": folder}
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
            run |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = f"{folder}/data"
        initdb = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-EUTF8", "--no-locale", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, timeout=START_S, **run)
        command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **run) as server:
            try:
                for line in server.stderr:
                    if "ready to accept connections" in line:
                        break
                else:
                    raise RuntimeError("PostgreSQL did not start; its last lines say why")
                yield Path(folder)
            finally:
                server.send_signal(signal.SIGINT)  # "Fast shutdown": connections are ended.
                server.communicate(timeout=START_S)


def make_database(server: Path, name: str) -> str:
    """Return the URL of a new database."""
    with psycopg.connect(host=str(server), user="tester", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"postgresql+psycopg://tester@/{name}?host={server}"


def cut_connections(server: Path) -> None:
    """End all connections but this one, as a restart of the server does."""
    with psycopg.connect(host=str(server), user="tester", dbname="postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'jobs%'")
