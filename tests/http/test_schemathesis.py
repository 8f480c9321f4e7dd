"""schemathesis, a fuzzer of OpenAPI, reads the description and asks everything it can think of.

No answer but those that are described, and no 5xx but those that mean something: 501, 503 and 507.
"""

import asyncio
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from every_door import run_every_door
from http_daemon import TOKEN

# What it takes on a quiet machine is a third of this.
TIME_MAX_S = 170.0
CONFIG = """
[checks]
enabled = false
[checks.not_a_server_error]
enabled = true
expected-statuses = ["2xx", "3xx", "4xx", "501", "503", "507"]
[checks.status_code_conformance]
enabled = true
[checks.content_type_conformance]
enabled = true
[checks.response_headers_conformance]
enabled = true
[checks.response_schema_conformance]
enabled = true
[checks.use_after_free]
enabled = true
"""
# A command that is cut off says so in lines; plain bytes just end, which a fuzzer takes for a failure.
PROBLEMS = "application/problem+json, application/x-ndjson"
ANYTHING = "*/*"
# To who takes anything, this door tells bad requests with rexec's 500.
NOT_FOR_ANYTHING = "/process"
# Whatever it proposes, this is what runs.
GRANT = {"command": "/bin/echo", "args": ["hello"], "env": {}, "cwd": "/"}
RIGHTS = ["start", "view", "write", "signal", "kill"]


@pytest.mark.parametrize(
    ("accept", "base_path", "phases", "left_out"),
    [
        (PROBLEMS, "", "examples,coverage,fuzzing,stateful", None),
        (ANYTHING, "/lab", "examples,coverage", NOT_FOR_ANYTHING),
    ],
    ids=["problems", "the doors' own forms, below a path"],
)
async def test_a_fuzzer_meets_no_answer_that_is_not_described(
    tmp_path: Path, accept: str, base_path: str, phases: str, left_out: str | None
) -> None:
    config, report = tmp_path / "schemathesis.toml", tmp_path / "report.ndjson"
    config.write_text(CONFIG)
    async with run_every_door(tmp_path, metrics="all", base_path=base_path, max_sessions_per_principal=0) as doors:
        doors.http.allow(**GRANT, principal="fuzzer", rights=RIGHTS)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={config}",
            "run",
            f"{doors.http.url}{base_path}/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            f"--header=Accept: {accept}",
            *([f"--exclude-path={left_out}"] if left_out else []),
            f"--phases={phases}",
            "--max-examples=10",
            "--seed=20261120",
            "--request-timeout=20",
            "--no-shrink",
            "--continue-on-failure",
            f"--report-ndjson-path={report}",
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1", "NO_PROXY": "*"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TIME_MAX_S):
                said = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        unanswered = await doors.http.client.get(f"{base_path}/healthz")

    assert process.returncode == 0, said
    assert unanswered.status_code == 200
    tested = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said)
    assert tested, said
    # It leaves OPTIONS out.
    operations = sum(len(item.keys() - {"parameters", "options"}) for item in doors.document["paths"].values())
    left = operations - bool(left_out)
    assert [int(number) for number in tested.groups()] == [left, operations, left]
    generated = re.search(r"(\d+) generated, (\d+) passed", said)
    assert generated, said
    assert int(generated[1]) > 1000
    statuses = count_statuses(report)
    # The doors were opened, not only knocked at.
    assert {200, 201, 202, 400, 404} <= statuses.keys()


def count_statuses(report: Path) -> Counter[int]:
    """Return how often each status was answered."""
    return Counter(int(status) for status in re.findall(r'"status_code": ?([0-9]+)', report.read_text()))
