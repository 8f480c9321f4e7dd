"""The description of the HTTP doors: whole, valid, true, and as their requests are really read."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from every_door import (
    EveryDoor,
    describe_all_doors,
    run_every_door,
    settings_of_all_doors,
    spell,
)
from http_daemon import TOKEN, run_http_daemon
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.definitions import OPENAPI_31
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from ws_subprocess.app import create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.doors.command_requests import parse_command_request
from ws_subprocess.doors.openapi.document import OpenDoors, build_document
from ws_subprocess.doors.payloads import parse_request as parse_payload
from ws_subprocess.doors.process_request import Form
from ws_subprocess.doors.process_request import parse_request as parse_process
from ws_subprocess.errors import FAULTS, RequestError
from ws_subprocess.service.named_command import NamedCommand

DOCUMENT = describe_all_doors()
# Beside what the description names, with HEAD where there is GET.
OTHER_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
PLAIN = ("/", "/docs", "/openapi.json", "/static/{file}", "/healthz", "/readyz", "/metrics")
PROBLEM = {"Accept": "application/problem+json"}


# Whole: what there is and what is described are the same.


def list_routes(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, frozenset[str] | None]]:
    """Yield path and methods of everything the router answers over HTTP; None where the endpoint itself decides."""
    for route in routes:
        match route:
            case WebSocketRoute():
                pass
            case Route():
                methods = None if route.methods is None else frozenset(route.methods) - {"HEAD"}
                yield prefix + route.path, methods
            case Mount(path="/static"):
                yield f"{prefix}/static/{{file}}", frozenset({"GET"})
            case Mount() if route.routes:
                yield from list_routes(route.routes, prefix + route.path)
            case _:
                raise AssertionError(f"{route}: this test cannot look into it")


def describe(document: dict[str, Any]) -> dict[str, frozenset[str]]:
    return {
        path: frozenset(key.upper() for key in item.keys() - {"parameters"}) for path, item in document["paths"].items()
    }


DOORS = {
    "all": {"process_door", "commands_file", "payloads_door", "rpc_door"},
    "process": {"process_door"},
    "commands": {"commands_file"},
    "payloads": {"payloads_door"},
    "rpc": {"rpc_door"},
}


@pytest.mark.parametrize("base_path", ["", "/lab/7"])
@pytest.mark.parametrize("doors", DOORS.values(), ids=DOORS)
async def test_every_route_has_an_entry_and_every_entry_a_route(
    tmp_path: Path, doors: set[str], base_path: str
) -> None:
    closed = {name: "" if name == "commands_file" else False for name in DOORS["all"] - doors}

    async with run_every_door(tmp_path, base_path=base_path, **closed) as running:
        described = describe(running.document)
        routes = dict(list_routes(running.http.app.router.routes))

    assert described.keys() == routes.keys()
    for path, methods in routes.items():
        # The others are asked, below: test_a_method_that_a_route_has_not_is_405.
        assert methods is None or methods == described[path], path


def test_where_no_http_door_is_open_there_is_nothing_to_describe() -> None:
    paths = dict(list_routes(create_app(Settings()).router.routes)).keys()

    assert not {"/docs", "/openapi.json"} & paths


def test_a_route_without_an_entry_is_found(tmp_path: Path) -> None:
    app = create_app(Settings(rpc_door=True))
    app.router.routes.append(Route("/new", lambda request: None))

    assert "/new" in dict(list_routes(app.router.routes)).keys() - describe(DOCUMENT).keys()


@pytest.mark.parametrize("base_path", ["", "/lab/7"])
async def test_it_says_where_its_routes_are(tmp_path: Path, base_path: str) -> None:
    async with run_every_door(tmp_path, base_path=base_path) as doors:
        assert doors.document["servers"] == [{"url": base_path or "/"}]
        for path in ("/healthz", "/docs", "/openapi.json"):
            assert (await doors.http.client.get(base_path + path)).status_code == 200


async def test_below_another_application_it_says_where_that_has_put_it() -> None:
    host = Starlette(routes=[Mount("/outer", create_app(Settings(rpc_door=True, base_path="/inner")))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://127.0.0.1") as client:
        answer = await client.get("/outer/inner/openapi.json")

    assert answer.json()["servers"] == [{"url": "/outer/inner"}]


# Valid: OpenAPI 3.1, and its examples are what it says.


@pytest.mark.parametrize("commands", [0, 1, 3])
@pytest.mark.parametrize("is_open", [True, False])
def test_it_is_openapi_3_1(commands: int, is_open: bool) -> None:
    named = tuple(NamedCommand(f"a.b-{number}", "/bin/true") for number in range(commands))
    document = build_document(OpenDoors(is_open, is_open, is_open, named, "/run"))

    errors = list(jsonschema_rs.validator_for(OPENAPI_31).iter_errors({"servers": [{"url": "/"}], **document}))

    assert [error.message for error in errors] == []


def test_every_operation_has_an_id_of_its_own_and_a_tag_that_is_described() -> None:
    operations = [item[key] for item in DOCUMENT["paths"].values() for key in item.keys() - {"parameters"}]
    ids = [operation["operationId"] for operation in operations]

    assert len(ids) == len(set(ids))
    assert {operation["tags"][0] for operation in operations} == {tag["name"] for tag in DOCUMENT["tags"]}


def list_examples(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all schemas that have an example, with it."""
    if isinstance(value, dict):
        if "example" in value and "schema" in value:
            yield value["schema"], value["example"]
        for part in value.values():
            yield from list_examples(part)
    elif isinstance(value, list):
        for part in value:
            yield from list_examples(part)


def validator(schema: Any) -> Any:
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})


def test_every_example_is_what_its_schema_says() -> None:
    examples = list(list_examples(DOCUMENT))

    assert len(examples) > 10
    for schema, example in examples:
        assert [error.message for error in validator(schema).iter_errors(example)] == [], example


def test_every_status_of_a_refusal_is_that_of_its_codes() -> None:
    for name, told in DOCUMENT["components"]["responses"].items():
        status = name.split("-")[1]
        for code in (
            told["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
            if ("application/problem+json" in told.get("content", {}))
            else ()
        ):
            assert str(FAULTS[code].status) == status, (name, code)


# True: requests are read as the schemas say.


def accepts(parse: Callable[[Any], object], value: Any) -> bool:
    try:
        parse(value)
    except RequestError:
        return False
    return True


def bodies(values: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that have some of these keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(some) for key, some in values.items()})


NUMBERS = [0, -1, 0.5, 1, 31_536_000, 31_536_001, 1e400, True, "1", None, [], {}]
WORDS = ["", "a", "a b", "/bin/echo", "bin/echo", "/a\nb", "ä", "\0", ".", "..", 1, None, [], {}]
LISTS = [[], ["a"], ["a", 1], ["a\0"], "a", None, {}, ["x" * 131_071], ["x" * 131_072], ["a"] * 10_001]
FLAGS = [True, False, 0, "true", None]


@settings(max_examples=400)
@given(
    bodies(
        {
            "alias": [*WORDS, "x" * 255, "x" * 256, "a/b"],
            "cmd": WORDS,
            "args": LISTS,
            "cwd": [".", "/", "/tmp", "tmp", "", "/a\nb", None, 1],
            "envs": [{}, {"A": "b"}, {"1": "b"}, {"A": 1}, {"A": "\0"}, [], None, {f"A{n}": "" for n in range(257)}],
            "stderr": ["drop", "merge", "separate", "both", "", None, 1],
            "stdin": ["", "a", None, 1, []],
            "timeout": NUMBERS,
            "more": [1],
        }
    )
)
def test_the_process_door_reads_what_its_schema_says(value: dict[str, Any]) -> None:
    is_valid = validator({"$ref": "#/components/schemas/ProcessRequest"}).is_valid(value)

    assert accepts(lambda body: parse_process(body, Form.NDJSON, has_body=False), value) == is_valid


@settings(max_examples=400)
@given(
    bodies(
        {
            "args": LISTS,
            "timeout": NUMBERS,
            "force_unique_key": FLAGS,
            "keep_stdin": FLAGS,
            "callback_context": [{}, {"a": [1]}, [], "a", None],
            "callback_url": ["", "https://a.example/", 1, None],
            "stdin": ["", "a", 1, None],
            "stdin_b64": ["", "YQ==", 1, None],
            "retention": ["once", "keep", "never", 1, None],
            "priority": [0, -1, -1000, -1001, 1, 0.5, "0", True, None],
            "more": [1],
        }
    )
)
def test_the_command_door_reads_what_its_schema_says(value: dict[str, Any]) -> None:
    is_valid = validator({"$ref": "#/components/schemas/CommandRequest"}).is_valid(value)

    assert accepts(parse_command_request, value) == is_valid


@settings(max_examples=400)
@given(bodies({"cmd": WORDS, "Cmd": WORDS, "params": LISTS, "Params": LISTS, "timeout": NUMBERS, "more": [1]}))
def test_the_payload_door_reads_what_its_schema_says(value: dict[str, Any]) -> None:
    is_valid = validator({"$ref": "#/components/schemas/PayloadRequest"}).is_valid(value)

    assert accepts(parse_payload, value) == is_valid


@pytest.mark.parametrize("value", [None, [], "a", 1, True])
def test_what_is_no_object_is_no_request(value: Any) -> None:
    parsers = [lambda body: parse_process(body, Form.RAW, has_body=False), parse_command_request, parse_payload]

    assert not any(accepts(parse, value) for parse in parsers)


# RFC 9110: methods.


async def test_a_method_that_a_route_has_not_is_405_and_allow_names_those_it_has(server: str, tmp_path: Path) -> None:
    async with run_every_door(tmp_path, server, metrics="all") as doors:
        for path, methods in describe(doors.document).items():
            known = methods | ({"HEAD"} if "GET" in methods else set())
            for method in OTHER_METHODS:
                answer = await doors.http.client.request(method, spell(path), headers=PROBLEM)
                what = f"{method} {path}: {answer.status_code}"
                if method in known:
                    assert answer.status_code not in (405, 501), what
                elif path == "/process":
                    assert answer.status_code == 501, what
                else:
                    assert answer.status_code == 405, what
                    allowed = sorted(answer.headers["allow"].split(", "))
                    assert allowed == sorted(known), what
                    assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"


async def test_options_says_what_a_terminal_allows(server: str, tmp_path: Path) -> None:
    async with run_every_door(tmp_path, server) as doors:
        answer = await doors.http.client.options("/ws")

    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_a_path_without_a_route_is_404_for_every_method(server: str, tmp_path: Path) -> None:
    async with run_every_door(tmp_path, server) as doors:
        for path in ("/nothing", "/process/", "/payloads/", "/rpc/", "/commands", "/commands/nothing", "/docs/"):
            for method in OTHER_METHODS:
                answer = await doors.http.client.request(method, path, headers=PROBLEM)
                assert answer.status_code == 404, f"{method} {path}"


async def test_head_is_get_without_a_body_and_takes_nothing_away(server: str, tmp_path: Path) -> None:
    async with run_every_door(tmp_path, server, metrics="all") as doors:
        client = doors.http.client
        key = (await client.post("/commands/echo", json={"args": ["read once"]})).json()["key"]
        payload = (await client.post("/payloads", json={"cmd": "/bin/echo", "params": ["kept"]})).json()["id"]
        await client.get("/commands/echo/output", params={"key": key, "wait": "true"})
        await client.get(f"/payloads/{payload}/output", params={"wait": "true"})
        # The one that takes something away stands last.
        for path, query in (
            *((spell(path), {}) for path in PLAIN),
            ("/payloads", {}),
            (f"/payloads/{payload}", {}),
            (f"/payloads/{payload}/output", {}),
            ("/commands/echo/jobs", {}),
            ("/commands/echo/output", {"key": key}),
            ("/commands/echo", {"key": key}),
        ):
            first, second = [await client.head(path, params=query) for _ in range(2)]
            found = await client.get(path, params=query)

            assert (first.status_code, second.status_code, found.status_code) == (200, 200, 200), path
            assert (first.content, second.content) == (b"", b"")
            assert found.content
            assert first.headers["content-type"] == found.headers["content-type"]
        assert (await client.get("/commands/echo", params={"key": key})).status_code == 404, "GET does take it away"


# What is sent.


async def test_it_is_json_that_nobody_need_show_a_token_for(doors_without_token: EveryDoor) -> None:
    answer = await doors_without_token.http.client.get("/openapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["openapi"] == "3.1.0"


async def test_it_tells_names_of_commands_and_not_what_they_run(doors_without_token: EveryDoor) -> None:
    text = (await doors_without_token.http.client.get("/openapi.json")).text

    assert "/commands/fixed" in text
    assert "always this" not in text
    assert TOKEN not in text


@pytest.fixture
async def doors_without_token(tmp_path: Path) -> Any:
    async with run_every_door(tmp_path) as doors:
        del doors.http.client.headers["Authorization"]
        yield doors


async def test_the_page_for_people_loads_nothing_from_elsewhere_and_runs_nothing_inline(
    doors_without_token: EveryDoor,
) -> None:
    client = doors_without_token.http.client
    page = await client.get("/docs")
    files = [await client.get(f"/static/{name}") for name in ("api.css", "api.js", "api-lines.js")]

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert [file.status_code for file in files] == [200, 200, 200]
    assert re.findall(r'(?:src|href)="([^"]*)"', page.text) == [
        "static/icon.svg",
        "static/api.css",
        "static/api.js",
        "#content",
        "openapi.json",
    ]
    assert not re.search(r"<style|<script>|style=|onclick", page.text)
    assert not re.search(r"url\(|@import", files[0].text)
    assert re.findall(r'from "([^"]*)"', files[1].text + files[2].text) == ["./api-lines.js"]


async def test_a_bad_request_of_the_process_door_is_500_in_its_own_words_as_described(tmp_path: Path) -> None:
    async with run_http_daemon(**settings_of_all_doors(tmp_path)) as daemon:
        answer = await daemon.client.post("/process", json={"cmd": 1})

    assert answer.status_code == 500
    assert answer.text.startswith("[Rexec] InvalidCreateProcessRequest")
    assert "500" in DOCUMENT["paths"]["/process"]["post"]["responses"]
