"""The page and its files."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from daemon import Daemon

import ws_subprocess
from ws_subprocess.doors.pages import find_static

Start = Callable[..., Awaitable[Daemon]]


async def test_the_page_is_protected_from_everything_it_does_not_need(daemon: Daemon) -> None:
    reply = await daemon.get("/")

    assert reply.status == 200
    assert (reply.get("content-type") or "").startswith("text/html")
    policy = reply.get("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.get("referrer-policy") == "no-referrer"
    assert reply.get("x-content-type-options") == "nosniff"
    assert reply.get("cross-origin-opener-policy") == "same-origin"
    assert reply.get("cache-control") == "no-cache"
    assert reply.get("access-control-allow-origin") is None


async def test_head_is_answered_without_a_body(daemon: Daemon) -> None:
    reply = await daemon.request("HEAD", "/")

    assert reply.status == 200
    assert int(reply.get("content-length") or 0) > 0


async def test_the_page_names_no_other_machine(daemon: Daemon) -> None:
    body = (await daemon.get("/")).body.decode()

    assert "http://" not in body.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in body


@pytest.mark.parametrize(("origin", "is_shared"), [("https://ours.example", True), (None, False)])
async def test_files_may_be_used_by_pages_of_allowed_origins(start: Start, origin: str | None, is_shared: bool) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    own = f"http://{daemon.host}"

    reply = await daemon.get("/static/page.js", ("Origin", origin or own))

    assert reply.status == 200
    assert "javascript" in (reply.get("content-type") or "")
    assert reply.get("access-control-allow-origin") == (origin if is_shared else None)
    assert reply.get("cross-origin-resource-policy") == "cross-origin"
    assert "Origin" in (reply.get("vary") or "")


@pytest.mark.parametrize("path", ["/", "/static/page.js"])
async def test_foreign_pages_and_names_are_refused(daemon: Daemon, path: str) -> None:
    origin = await daemon.get(path, ("Origin", "https://evil.example"))
    host = await daemon.get(path, host="evil.example")

    assert (origin.status, origin.body) == (403, b"Origin not allowed")
    assert (host.status, host.body) == (403, b"Host not allowed")
    assert origin.get("access-control-allow-origin") is None


OUTSIDE = ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/%00"]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_the_folder_is_served(daemon: Daemon, path: str) -> None:
    reply = await daemon.get(path)

    assert reply.status in (400, 404)
    assert b"import" not in reply.body


def test_the_files_are_those_of_the_checkout_or_of_the_package() -> None:
    package = Path(ws_subprocess.__file__).parent

    assert find_static() in (package / "static", package.parent / "static")
