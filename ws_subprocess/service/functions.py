"""Functions that may be called from outside by name, and by whom. Pure.

Laws: only registered names are ever looked up; to a caller who may not call everything, a name that does not exist
looks like one that is not for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from ws_subprocess.dialects.outcomes import UNKNOWN, Fate, Outcome
from ws_subprocess.model import Credentials

_HOST_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        host: The Host header, without the port that its scheme has anyway: what the client typed, not who it is.
        session: What a signed cookie says.
        credentials: None where the door asks for none.
        staying: A block that ends early when the caller has left, for what is only waited for on its behalf.
    """

    peer: str
    host: str = ""
    session: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: Credentials | None = None
    staying: Callable[[], AbstractAsyncContextManager[None]] = field(default=nullcontext, repr=False, compare=False)


# Gets what the client sent, and who it is; what it returns is read by `outcomes.read_outcome`.
Function = Callable[[Any, Caller], Awaitable[Any]]


class SessionRule(Protocol):
    """Something that a caller's session must fulfil."""

    def check(self, ask: Mapping[str, Any]) -> bool:
        """Tell whether this session does."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom something is for: callers whose session fulfils every rule, and who use one of the hosts, if any."""

    sessions: tuple[SessionRule, ...] = ()
    hosts: tuple[str, ...] = ()

    def find_refusal(self, caller: Caller) -> str:
        """Return what a caller is told whom it is not for, "" for one whom it is."""
        if not all(rule.check(caller.session) for rule in self.sessions):
            return "Unauthorized."
        if self.hosts and caller.host not in self.hosts:
            return f"Unauthorized ({caller.host[:_HOST_MAX_CHARS]})"
        return ""


EVERYBODY = Scope()


class FunctionTable:
    """The functions of one door.

    Attributes:
        scope: Whom all of them are for.
    """

    def __init__(self) -> None:
        self.scope = EVERYBODY
        self._functions: dict[str, tuple[Function, Scope]] = {}

    def __len__(self) -> int:
        return len(self._functions)

    def add(self, name: str, function: Function, scope: Scope = EVERYBODY) -> None:
        """Let a function be called.

        Raises:
            ValueError: There is one of that name.
        """
        if name in self._functions:
            raise ValueError(f"Function {name} already exists.")
        self._functions[name] = (function, scope)

    def find(self, name: str, caller: Caller) -> Function | Outcome:
        """Return a function, or what the caller is told instead."""
        function, scope = self._functions.get(name, (None, EVERYBODY))
        if function is not None and not scope.find_refusal(caller):
            return function
        # Whichever refusal comes first in the table, for every name alike: which one it is must not tell either.
        for _, other in self._functions.values():
            if refusal := other.find_refusal(caller):
                return Outcome(Fate.REFUSED, refusal)
        return UNKNOWN
