"""Secrets that are birds of their own kind: marked strings, and where they are looked for."""

import base64
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret, by name; found as it is and in every spelling that it is sent in."""

    name: str
    text: str

    def spellings(self) -> set[bytes]:
        """Return what to look for: as it is, percent-encoded, in base64, in hexadecimal; of a signed token its end."""
        raw = self.text.encode()
        encoded = {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
        end = {self.text.rpartition(".")[2].encode()} if self.text.startswith("eyJ") else set()
        return {
            raw,
            quote(self.text, safe="").encode(),
            raw.hex().encode(),
            *(data.rstrip(b"=") for data in encoded),
            *end,
        }

    def is_in(self, data: bytes) -> bool:
        """Tell whether it sings."""
        return any(spelling in data for spelling in self.spellings())


def hatch(name: str) -> Canary:
    """Return a new one, long enough for a token and for a key, with letters that are spelled otherwise in a URL."""
    return Canary(name, f"canary+{name.replace(' ', '-')}/{secrets.token_hex(24)}")


def find_all(canaries: Iterable[Canary], places: dict[str, bytes]) -> set[tuple[str, str]]:
    """Return which canary is found in which place."""
    birds = list(canaries)
    return {(bird.name, place) for place, data in places.items() for bird in birds if bird.is_in(data)}


def read_files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, byte for byte."""
    return {f"file {path.name}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_command_lines(pids: Iterable[int]) -> dict[str, bytes]:
    """Return the command line of each process."""
    return {f"cmdline of {pid}": _read_proc(pid, "cmdline") for pid in pids}


def read_environments(pids: Iterable[int]) -> dict[str, bytes]:
    """Return the environment that each process was started with."""
    return {f"environ of {pid}": _read_proc(pid, "environ") for pid in pids}


def list_tree(pid: int) -> Iterator[int]:
    """Yield the descendants of a process."""
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()):
            yield child
            yield from list_tree(child)


def _read_proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()
