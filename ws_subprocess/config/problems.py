"""What can be wrong with given settings, said so that a person can mend it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `origin` is where it was given, `code` is stable and for programs."""

    origin: str
    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.text} [{self.code}]"


class ConfigError(Exception):
    """The settings cannot be used; `problems` has everything that is wrong with them, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
