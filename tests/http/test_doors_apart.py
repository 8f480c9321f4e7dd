"""What was begun at one door is not there at another, though it is the same client's."""

from pathlib import Path

from every_door import run_every_door


async def test_a_job_of_a_command_is_no_payload(tmp_path: Path) -> None:
    async with run_every_door(tmp_path) as doors:
        client = doors.http.client
        for word in ("one", "two"):
            await client.post("/commands/echo", json={"args": [word]})
        # The id of the first one.
        job_id = (await client.get("/commands/echo/jobs?limit=1")).json()["after"]

        for method, path in (("GET", ""), ("GET", "/output"), ("DELETE", "")):
            answer = await client.request(method, f"/payloads/{job_id}{path}")
            assert answer.status_code == 404, f"{method} {path}"
        assert len((await client.get("/commands/echo/jobs")).json()["jobs"]) == 2


async def test_a_payload_is_no_job_of_a_command(tmp_path: Path) -> None:
    async with run_every_door(tmp_path) as doors:
        client = doors.http.client
        payload_id = (await client.post("/payloads", json={"cmd": "/bin/echo", "params": []})).json()["id"]

        answer = await client.get("/commands/echo", params={"key": payload_id})

        assert answer.status_code == 404
        assert (await client.get("/commands/echo/jobs")).json()["jobs"] == []
