"""Every error that the code raises by name is one that there is: an unknown one would be an internal error."""

import ast
from collections.abc import Iterator
from pathlib import Path

import ws_subprocess
from ws_subprocess import errors
from ws_subprocess.errors import FAULTS, REASONS, BridgeError

PACKAGE = Path(ws_subprocess.__file__).parent
ERRORS = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, BridgeError)}


def list_calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of a plain name, with the place where it stands."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def list_constants(node: ast.expr) -> Iterator[str]:
    """Yield the strings that an argument may be."""
    yield from (item.value for item in ast.walk(node) if isinstance(item, ast.Constant) and isinstance(item.value, str))


def test_every_code_that_is_raised_has_its_fault() -> None:
    codes = {
        (place, code)
        for place, call in list_calls()
        if call.func.id in ERRORS and call.args  # type: ignore[attr-defined]
        for code in list_constants(call.args[0])
    }

    assert len(codes) > 30
    assert {(place, code) for place, code in codes if code not in FAULTS} == set()


def test_every_reason_that_is_given_has_its_meaning() -> None:
    given = {
        (place, reason)
        for place, call in list_calls()
        if call.func.id in ERRORS  # type: ignore[attr-defined]
        for keyword in call.keywords
        if keyword.arg == "reason"
        for reason in list_constants(keyword.value)
    }
    # `auth.jws.refuse(reason, detail)` refuses a signed token.
    given |= {
        (place, reason)
        for place, call in list_calls()
        if call.func.id == "refuse" and place.startswith("auth/")  # type: ignore[attr-defined]
        for reason in list_constants(call.args[0])
    }

    assert len(given) > 20
    assert {(place, reason) for place, reason in given if reason not in REASONS and reason not in FAULTS} == set()
    assert REASONS.keys() - FAULTS.keys() <= {reason for _, reason in given}, "a meaning without a reason"
