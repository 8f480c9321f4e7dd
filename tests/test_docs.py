"""The documents against the code: all that a person can set, meet, ask for or measure is there, and links lead on."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, PROBLEMS, ROOT, TABLES, read_table
from starlette.routing import Mount, Route, WebSocketRoute

from ws_subprocess.app import create_app
from ws_subprocess.auth.grants import GRANT_KEYS
from ws_subprocess.auth.tokens_file import _OWN_KEYS as TOKEN_KEYS
from ws_subprocess.config.commands_file import _CALLBACK_KEYS, _COMMAND_KEYS
from ws_subprocess.config.load import load
from ws_subprocess.config.settings import SETTINGS, Settings
from ws_subprocess.doors.openapi.schemas import COMMAND_REQUEST, PAYLOAD, PAYLOAD_WITH_OUTPUT, PROCESS_REQUEST, REPORT
from ws_subprocess.service.job import JobState

# Flags that say where settings come from, or are about the program itself.
OTHER_FLAGS = {"--config", "--help"}
# Of the account and its shell; nobody sets them for us.
COMMON_VARIABLES = {"HOME", "PATH"}
# Of browsers and proxies, who know what they mean.
COMMON_HEADERS = {"x-accel-buffering", "x-content-type-options", "x-forwarded-for", "x-real-ip"}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def find_first_cells(text: str, heading: str) -> set[str]:
    """Return what stands in code in the first cells of the first table below a heading."""
    table = re.search(r"(?:^\|.*\n)+", text[text.index(f"\n{heading}\n") :], re.MULTILINE)
    assert table is not None
    return {cell for line in table[0].splitlines() for cell in re.findall(r"`([^`]+)`", line.split("|")[1])}


def find_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def parse_package(folder: str = ".") -> Iterator[ast.AST]:
    """Yield all nodes of the package's modules below a folder."""
    for path in (ROOT / "ws_subprocess" / folder).rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text()))


def find_calls(nodes: Iterable[ast.AST], *names: str) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
            yield node


# What a person can set.


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_documents_is_the_one_the_code_makes(name: str) -> None:
    file, make = TABLES[name]

    table = read_table(read(file), name)

    assert table.splitlines() == make().splitlines(), "run `python tests/documents.py`"


def test_every_flag_of_serve_is_a_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ws_subprocess", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    flags = set(re.findall(r"^ +(?:-[a-z]+, )*(--[a-z-]+)", done.stdout, re.MULTILINE))

    assert flags == {setting.flag for setting in SETTINGS.values()} | OTHER_FLAGS


def test_every_environment_variable_is_in_the_operators_document() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "ws_subprocess").rglob("*.py"))
    names = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", sources))
    names |= set(re.findall(r"^[A-Z]+_VARIABLE = \"([A-Z_]+)\"", sources, re.MULTILINE))

    assert {"STATE_DIRECTORY", "WS_SUBPROCESS_CONFIG"} <= names
    assert names - COMMON_VARIABLES == find_first_cells(read("docs/operating.md"), "## Environment")


def test_every_variable_of_the_tests_is_in_the_documents() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    names = set(re.findall(r"environ(?:\.get\(|\[)\"(WS_SUBPROCESS_[A-Z_]+)\"", sources))

    assert names
    assert {name for name in names if name not in read("CONTRIBUTING.md") + read("ARCHITECTURE.md")} == set()


def test_every_key_of_a_grant_is_in_the_protocol() -> None:
    assert find_first_cells(read("PROTOCOL.md"), "## The grant") == GRANT_KEYS


def test_the_documents_show_every_key_of_an_entry_of_the_tokens_file() -> None:
    entries = [tomllib.loads(block) for name in DOCUMENTS for block in find_blocks(read(name), "toml")]

    shown = {key for entry in entries for token in entry.get("token", []) for key in token}

    assert shown >= TOKEN_KEYS


def test_the_protocol_shows_every_key_of_the_commands_file() -> None:
    (block,) = find_blocks(read("PROTOCOL.md"), "toml")
    shown = tomllib.loads(block)

    assert shown["command"][0].keys() == _COMMAND_KEYS
    assert shown["callbacks"].keys() == _CALLBACK_KEYS


# What a person can meet.


def test_every_code_of_wrong_settings_is_in_the_table() -> None:
    nodes = [*parse_package("config"), *parse_package("cli")]
    parts = (part for call in find_calls(nodes, "Problem", "Conflict", "_refuse") for part in call.args[1:])
    leaves = (leaf for part in parts for leaf in ([part.body, part.orelse] if isinstance(part, ast.IfExp) else [part]))
    constants = (leaf.value for leaf in leaves if isinstance(leaf, ast.Constant))

    assert {text for text in constants if re.fullmatch(r"[a-z]+(_[a-z]+)+", str(text))} == PROBLEMS.keys()


def test_every_exit_status_is_in_the_table() -> None:
    calls = find_calls(parse_package("cli"), "exit", "exit_with", "CommandError")
    names = {node.id for call in calls for node in ast.walk(call) if isinstance(node, ast.Name) and node.id.isupper()}

    assert "STATE_ERROR" in names
    assert names <= vars(documents).keys()


def test_every_state_of_a_job_is_in_the_protocol() -> None:
    assert find_first_cells(read("PROTOCOL.md"), "## Jobs") == set(JobState)


def test_every_key_of_the_audit_is_in_the_protocol() -> None:
    nodes = ast.walk(ast.parse((ROOT / "ws_subprocess/service/audit.py").read_text()))
    keys = {
        key.value for node in nodes if isinstance(node, ast.Dict) for key in node.keys if isinstance(key, ast.Constant)
    }

    assert find_first_cells(read("PROTOCOL.md"), "## The audit") == keys | {"request_id"}


# What a person can ask for.


async def test_every_route_is_named_in_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "commands.toml").write_text('[[command]]\nname = "NAME"\ncommand = "/bin/echo"\n')
    app = create_app(
        Settings(
            process_door=True,
            payloads_door=True,
            rpc_door=True,
            commands_file=str(tmp_path / "commands.toml"),
            state_dir=str(tmp_path / "state"),
        )
    )
    async with app.lifespan(app._asgi):  # It closes what it has opened.
        routes = [route for route in app._asgi.routes if isinstance(route, Route | Mount | WebSocketRoute)]
    paths = {re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), route.path) for route in routes}

    assert {"/ws", "/payloads/ID/output", "/commands/NAME/jobs"} <= paths
    protocol = read("PROTOCOL.md")
    assert {path for path in paths if not re.search(rf"`(?:[A-Z]+ )?{re.escape(path)}[`/?\[ ]", protocol)} == set()


def test_every_key_of_a_request_is_in_the_protocol() -> None:
    protocol = read("PROTOCOL.md")

    assert find_first_cells(protocol, "## The process door: `POST /process`") == PROCESS_REQUEST["properties"].keys()
    assert find_first_cells(protocol, "### What a POST may say") == COMMAND_REQUEST["properties"].keys()


def test_every_key_of_an_answer_is_in_the_protocol() -> None:
    keys = {*REPORT["properties"], *PAYLOAD_WITH_OUTPUT["properties"], *PAYLOAD["properties"]}

    assert {key for key in keys if not re.search(rf"\b{key}\b", read("PROTOCOL.md"))} == set()


def test_every_function_of_the_daemon_is_in_the_protocol() -> None:
    classes = (node for node in parse_package("service") if isinstance(node, ast.ClassDef))
    (table,) = (node for node in classes if node.name == "SessionFunctions")
    public = {node.name for node in table.body if isinstance(node, ast.AsyncFunctionDef) and node.name[0] != "_"}

    assert find_first_cells(read("PROTOCOL.md"), "### The daemon's functions") == public


def test_every_header_of_our_own_is_in_the_protocol() -> None:
    constants = (str(node.value) for node in parse_package() if isinstance(node, ast.Constant))
    headers = {text.lower() for text in constants if re.fullmatch(r"[Xx]-[A-Za-z-]+", text)} - COMMON_HEADERS

    assert {"x-request-id", "x-process"} <= headers
    assert {header for header in headers if header not in read("PROTOCOL.md").lower()} == set()


# What a person copies.


def test_the_settings_file_in_the_readme_can_be_used(tmp_path: Path) -> None:
    (block,) = [block for block in find_blocks(read("README.md"), "toml") if block.startswith("# ws-subprocess.toml")]
    (tmp_path / "ws-subprocess.toml").write_text(block)

    loaded = load({}, str(tmp_path / "ws-subprocess.toml"), environ={})

    assert loaded.settings.drain_timeout_s == 60


@pytest.mark.parametrize("name", DOCUMENTS)
def test_examples_are_written_in_their_language(name: str) -> None:
    text = read(name)

    for block in find_blocks(text, "python"):
        ast.parse(block)
    for block in find_blocks(text, "toml"):
        tomllib.loads(block)
    for block in find_blocks(text, "json"):
        # One value or several, one after the other.
        rest = block.strip()
        while rest:
            rest = rest[json.JSONDecoder().raw_decode(rest)[1] :].strip()


# Where a person goes on.


def list_texts() -> list[Path]:
    """Return every document of the project."""
    places = ("*.md", "docs/*.md", "examples/*/*.md", "benchmarks/*.md", "tests/*/*.md")
    return [path for place in places for path in ROOT.glob(place)]


def find_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_a_heading_that_are_there() -> None:
    broken = []
    for path in list_texts():
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            there = path.parent / file if file else path
            if not there.exists() or (anchor and anchor not in find_anchors(there.read_text())):
                broken.append(f"{path.name}: {target}")

    assert broken == []


def test_no_document_names_a_folder_of_somebodys_machine() -> None:
    texts = {path.name: path.read_text() for path in list_texts()}

    assert {name for name, text in texts.items() if re.search(r"(?<![\w.])/(?:work|root|home)/", text)} == set()
