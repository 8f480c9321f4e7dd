"""Static tokens: what an entry grants, what is wrong with a file, and that the file counts as it is now."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ws_subprocess.app import create_app
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.auth.tokens import StaticTokens, TokensFileError
from ws_subprocess.auth.tokens_file import (
    FILE_MAX_BYTES,
    PROBLEMS_MAX,
    TOKENS_MAX,
    read_tokens,
    show_hash,
    version_of,
)
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import Settings
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.model import Credentials, Grant, LaunchRequest, Proposal
from ws_subprocess.process.environ import is_refused

TOKEN = "correct-horse-battery-staple-0123456789"
OTHER = "another-token-that-is-long-enough-98765"
AT_TERMINAL = LaunchRequest("terminal", "127.0.0.1")
NEW_YEAR_2027 = 1_798_761_600.0  # 2027-01-01T00:00:00Z


def entry(
    token: str = TOKEN, name: str = "ci", doors: str = '["terminal"]', rest: str = 'command = "/bin/true"'
) -> str:
    return f'[[token]]\nname = "{name}"\nhash = "{show_hash(token)}"\ndoors = {doors}\n{rest}\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


@asynccontextmanager
async def reading(path: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[StaticTokens]:
    tokens = StaticTokens(str(path), is_refused, clock)
    try:
        yield tokens
    finally:
        await tokens.close()


async def ask(tokens: StaticTokens, token: str = TOKEN, request: LaunchRequest = AT_TERMINAL) -> ParsedGrant | None:
    return await tokens.ask(Credentials(token), request)


async def be_refused(tokens: StaticTokens, token: str = TOKEN, request: LaunchRequest = AT_TERMINAL) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await ask(tokens, token, request)
    assert token not in str(caught.value)
    return caught.value


def propose(command: str, *args: str, door: str = "process") -> LaunchRequest:
    return LaunchRequest(door, "127.0.0.1", proposal=Proposal(command, args))


def problems_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(TokensFileError) as caught:
        StaticTokens(str(write(tmp_path, text)), is_refused)
    return caught.value.problems


async def test_a_token_runs_its_entry_s_command_and_is_called_by_its_name(tmp_path: Path) -> None:
    rest = 'command = "/usr/bin/top"\nargs = ["-d", "1"]\nread_only = true\n'

    async with reading(write(tmp_path, entry(rest=rest))) as tokens:
        parsed = await ask(tokens)

    assert parsed is not None
    assert (parsed.grant.command, parsed.grant.args, parsed.grant.principal) == ("/usr/bin/top", ("-d", "1"), "ci")
    assert parsed.single_use is None, "it may be used any number of times"


async def test_an_unknown_token_is_left_to_the_next_authority(tmp_path: Path) -> None:
    async with reading(write(tmp_path, entry())) as tokens:
        assert await ask(tokens, OTHER) is None


async def test_an_empty_file_knows_nobody(tmp_path: Path) -> None:
    async with reading(write(tmp_path, "# nobody yet\n")) as tokens:
        assert await ask(tokens) is None


async def test_at_another_door_it_is_refused(tmp_path: Path) -> None:
    async with reading(write(tmp_path, entry())) as tokens:
        error = await be_refused(tokens, request=LaunchRequest("process", "127.0.0.1"))

    assert (error.code, error.reason) == ("denied", "token_door")


@pytest.mark.parametrize(
    "written", ["2027-01-01", "2027-01-01T00:00:00Z", "2027-01-01T02:00:00+02:00", "2026-12-31T23:00:00-01:00"]
)
async def test_it_is_refused_from_the_moment_it_expires(tmp_path: Path, written: str) -> None:
    now = [NEW_YEAR_2027 - 0.001]
    path = write(tmp_path, entry(rest=f'expires = {written}\ncommand = "/bin/true"'))

    async with reading(path, lambda: now[0]) as tokens:
        before = await ask(tokens)
        now[0] = NEW_YEAR_2027
        error = await be_refused(tokens)

    assert before is not None
    assert (error.code, error.reason) == ("denied", "token_expired")


ALLOWING = entry(
    doors='["process"]',
    rest='cwd = "/tmp"\n[[token.allow]]\ndoor = "process"\ncommand = "/bin/echo"\n'
    '[[token.allow]]\ndoor = "process"\ncommand = "/usr/bin/"',
)


@pytest.mark.parametrize("command", ["/bin/echo", "/usr/bin/env"])
async def test_where_the_client_proposes_it_runs_what_is_allowed(tmp_path: Path, command: str) -> None:
    async with reading(write(tmp_path, ALLOWING)) as tokens:
        parsed = await ask(tokens, request=propose(command, "a", "b"))

    assert parsed is not None
    assert parsed.grant == Grant(
        command=command, args=("a", "b"), cwd="/tmp", title=os.path.basename(command), principal="ci"
    )


@pytest.mark.parametrize("command", ["/bin/sh", "/usr/bin/../../bin/sh", "echo", "/bin/echo/", ""])
async def test_what_is_not_allowed_is_refused_as_if_the_token_were_wrong(tmp_path: Path, command: str) -> None:
    async with reading(write(tmp_path, ALLOWING)) as tokens:
        error = await be_refused(tokens, request=propose(command))

    assert (error.code, error.reason) == ("denied", "token_command")


async def test_a_token_without_a_command_is_of_no_use_where_nobody_proposes_one(tmp_path: Path) -> None:
    text = ALLOWING.replace('["process"]', '["process", "terminal"]')

    async with reading(write(tmp_path, text)) as tokens:
        error = await be_refused(tokens)

    assert (error.code, error.reason) == ("denied", "token_door")


async def test_an_allowed_proposal_that_cannot_be_used_is_the_client_s_mistake(tmp_path: Path) -> None:
    async with reading(write(tmp_path, ALLOWING)) as tokens:
        error = await be_refused(tokens, request=propose("/bin/echo", "a\0b"))

    assert isinstance(error, RequestError)
    assert error.code == "bad_request"


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("", "command: missing, and so is allow; say what may run"),
        ("command = 'top'", "command: 'top' is not an absolute path"),
        ("comand = '/bin/true'", "'comand' is no key of a token; did you mean command?"),
        ("principal = 'x'", "'principal' is no key of a token"),
        ("args = 'x'", "args: not a list of strings"),
        ("env = {LD_PRELOAD = 'geheim'}", "env LD_PRELOAD: may not be set by a grant"),
        ("command = '/bin/true'\nrows = 0x" + "f" * 5000, "rows: a number of 20000 bits is not an integer"),
        ("expires = '2027-01-01'", "expires: not a date; write 2027-01-01 or 2027-01-01T12:00:00Z, without quotes"),
        ("expires = 12:00:00", "expires: not a date; write 2027-01-01 or 2027-01-01T12:00:00Z, without quotes"),
        ("expires = 2027-01-01T12:00:00", "expires: 2027-01-01T12:00:00 has no offset; write it with Z or +01:00"),
        ("allow = 5", "allow: not a list"),
        ("allow = [{door = 'terminal'}]", "allow[0]: not "),
        ("allow = [{door = 'process', command = '/bin/ls'}]", "allow: the door 'process' is not among its doors"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_with_the_entry(tmp_path: Path, rest: str, problem: str) -> None:
    problems = problems_of(tmp_path, entry(OTHER, name="good") + entry(rest=rest))

    assert any(text.startswith(f"token 2 ('ci'): {problem}") for text in problems), problems
    assert "geheim" not in str(problems)


@pytest.mark.parametrize("key", ["name", "hash", "doors"])
def test_name_hash_and_doors_are_required(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in entry().splitlines() if not line.startswith(key))

    (problem,) = problems_of(tmp_path, text)

    assert f": {key}: not " in problem


@pytest.mark.parametrize("doors", ["[]", '"terminal"', '["Terminal"]', "[5]", '["terminal", ""]'])
def test_doors_are_a_list_of_names(tmp_path: Path, doors: str) -> None:
    (problem,) = problems_of(tmp_path, entry(doors=doors))

    assert problem.startswith("token 1 ('ci'): doors: not ")


def test_a_token_in_its_hash_s_place_is_not_repeated(tmp_path: Path) -> None:
    text = entry().replace(show_hash(TOKEN), TOKEN)

    (problem,) = problems_of(tmp_path, text)

    assert "hash: not sha256: and 64 hexadecimal digits; `ws-subprocess token hash` prints it" in problem
    assert TOKEN not in problem


def test_two_entries_share_neither_name_nor_hash(tmp_path: Path) -> None:
    assert problems_of(tmp_path, entry() + entry(OTHER) + entry(name="else")) == (
        "token 2 ('ci'): name: the same as of token 1; each has its own",
        "token 3 ('else'): hash: the same as of token 1; each has its own",
    )


def test_everything_that_is_wrong_is_told_at_once_but_no_flood_of_it(tmp_path: Path) -> None:
    broken = "".join(entry(name=str(number), token=f"{TOKEN}{number}", rest="") for number in range(30))

    problems = problems_of(tmp_path, broken)

    assert len(problems) == PROBLEMS_MAX
    assert problems[-1] == "and 11 problems more"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[tokens]]\n", "'tokens' is no key of the file; did you mean token?"),
        ("[token]\nname = 'x'\n", "token: not a list of tables; begin each entry with [[token]]"),
        ("token = [1]", "token: not a list of tables; begin each entry with [[token]]"),
        ("\n\nname = = 1", "not valid TOML: Invalid value (at line 3, column 8)"),
        ("x = " + "[" * 5000, "not valid TOML: "),
        ("#" * (FILE_MAX_BYTES + 1), f"larger than {FILE_MAX_BYTES} bytes"),
        ("token = [" + "{}," * (TOKENS_MAX + 1) + "]", f"{TOKENS_MAX + 1} entries, at most {TOKENS_MAX}"),
    ],
)
def test_a_file_that_is_no_list_of_tokens_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (told,) = problems_of(tmp_path, text)

    assert told.startswith(problem)


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"# a\n# \xff\n")

    with pytest.raises(TokensFileError, match="line 2: not UTF-8"):
        StaticTokens(str(path), is_refused)


def test_a_file_that_anyone_may_write_to_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, entry())
    path.chmod(0o666)

    with pytest.raises(TokensFileError, match="anyone may write to it; run `chmod o-w` on it"):
        StaticTokens(str(path), is_refused)


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)

    with pytest.raises(TokensFileError, match="not a regular file"):
        StaticTokens(str(path), is_refused)


def test_the_application_is_not_built_with_a_broken_file(tmp_path: Path) -> None:
    path = write(tmp_path, entry(rest=""))

    with pytest.raises(ConfigError) as caught:
        create_app(Settings(tokens_file=str(path)))

    (problem,) = caught.value.problems
    assert (problem.origin, problem.code) == (str(path), "bad_config")


async def test_a_token_that_is_taken_out_is_refused_from_then_on(tmp_path: Path) -> None:
    path = write(tmp_path, entry())

    async with reading(path) as tokens:
        before = await ask(tokens)
        path.write_text(entry(OTHER))

        assert before is not None
        assert await ask(tokens) is None
        assert await ask(tokens, OTHER) is not None


async def read_twice(path: Path, age_s: float) -> bool:
    """Tell whether a file that was changed `age_s` ago is read again for the second of two questions."""
    async with reading(path, lambda: path.stat().st_ctime + age_s) as tokens:
        first, second = await ask(tokens), await ask(tokens)
    assert first is not None
    assert second is not None
    # Not the same string, but another that says the same.
    return first.grant.principal is not second.grant.principal


async def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    assert not await read_twice(write(tmp_path, entry()), age_s=0.06)


async def test_a_file_so_young_that_the_clock_would_not_tell_a_second_change_is_read_again(tmp_path: Path) -> None:
    assert await read_twice(write(tmp_path, entry()), age_s=0.04)


async def test_a_clock_that_was_set_back_does_not_make_a_file_young(tmp_path: Path) -> None:
    assert not await read_twice(write(tmp_path, entry()), age_s=-3600.0)


def test_a_file_that_is_changed_while_it_is_opened_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, entry())

    def be_slow() -> float:
        now = time.time()
        while path.stat().st_ctime <= now:  # The kernel's clock goes in ticks.
            path.write_text(entry(OTHER))
        return now

    found = read_tokens(str(path), is_refused, be_slow)

    assert not found.is_settled or found.version != version_of(path.stat())


@pytest.mark.parametrize("damage", ["broken", "missing", "open"])
async def test_a_broken_new_version_refuses_everybody_until_it_is_mended(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, entry())

    async with reading(path) as tokens:
        match damage:
            case "broken":
                path.write_text(entry() + "[[token]]\n")
            case "missing":
                path.unlink()
            case "open":
                path.chmod(0o666)
        known, unknown = await be_refused(tokens), await be_refused(tokens, OTHER)
        write(tmp_path, entry())
        mended = await ask(tokens)

    assert (known.code, known.retry_after_s) == (unknown.code, unknown.retry_after_s) == ("gate_unavailable", 5)
    assert str(path) in known.detail
    assert mended is not None


async def test_a_broken_version_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, entry())

    async with reading(path) as tokens:
        path.write_text("[[token]]\n")
        with caplog.at_level(logging.INFO, "ws_subprocess"):
            for _ in range(5):
                await be_refused(tokens)
            write(tmp_path, entry())
            await ask(tokens)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_many_who_ask_meanwhile_wait_for_one_reading_and_one_who_leaves_stops_it_for_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, entry())

    async with reading(path) as tokens:
        path.write_text(entry() + "".join(entry(f"{OTHER}{number}", name=str(number)) for number in range(500)))
        with caplog.at_level(logging.INFO, "ws_subprocess"):
            asking = [asyncio.create_task(ask(tokens)) for _ in range(20)]
            await asyncio.sleep(0)
            asking[0].cancel()
            answers = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, ParsedGrant) for answer in answers[1:])
    assert [record.tokens for record in caplog.records] == [501]  # type: ignore[attr-defined]


async def test_closing_waits_for_a_reading_that_is_under_way(tmp_path: Path) -> None:
    path = write(tmp_path, entry())

    async with reading(path) as tokens:
        path.write_text(entry() + "".join(entry(f"{OTHER}{number}", name=str(number)) for number in range(500)))
        asking = asyncio.create_task(ask(tokens))
        await asyncio.sleep(0)

    assert asking.done() or await asking is not None


@pytest.mark.parametrize(
    "written", ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_the_first_and_the_last_day_of_all_are_dates_as_well(tmp_path: Path, written: str) -> None:
    StaticTokens(str(write(tmp_path, entry(rest=f'expires = {written}\ncommand = "/bin/true"'))), is_refused)
