"""What the payload door has beside the handlers': owners, pages, and an end for payloads."""

import pytest
from http_daemon import HttpDaemon
from payload_asking import finish, get, sh, submit


async def test_another_token_of_the_same_principal_may_look_and_stop(payloads: HttpDaemon) -> None:
    payloads.allow(principal="lab")
    payloads.allow("other", principal="lab")
    payload = await submit(payloads, sh("sleep 1000"))
    bearer = {"Authorization": "Bearer other"}

    found = await get(payloads, payload["id"], **bearer)
    listed = await payloads.client.get("/payloads", headers=bearer)
    gone = await payloads.client.delete(f"/payloads/{payload['id']}", headers=bearer)

    assert found.json()["id"] == payload["id"]
    assert [item["id"] for item in listed.json()] == [payload["id"]]
    assert gone.status_code == 204


async def test_who_may_only_watch_does_not_stop(payloads: HttpDaemon) -> None:
    payloads.allow(read_only=True)
    payload = await submit(payloads, sh("sleep 1000"))

    assert (await payloads.client.delete(f"/payloads/{payload['id']}")).status_code == 403
    assert (await get(payloads, payload["id"])).status_code == 200


async def test_the_token_that_began_it_is_enough_to_look_though_nobody_knows_it_any_more(payloads: HttpDaemon) -> None:
    payload = await submit(payloads, sh("true"))
    payloads.grants.clear()
    asked = len(payloads.questions)

    assert (await get(payloads, payload["id"])).status_code == 200
    assert len(payloads.questions) == asked, "and nobody is asked"
    assert [item["id"] for item in (await payloads.client.get("/payloads")).json()] == [payload["id"]]


async def test_a_token_that_may_not_is_refused(payloads: HttpDaemon) -> None:
    payloads.grants.clear()

    assert (await payloads.client.post("/payloads", json=sh("true"))).status_code == 403
    assert (await payloads.client.get("/payloads")).status_code == 403


async def test_the_gate_is_asked_for_what_is_proposed(payloads: HttpDaemon) -> None:
    await submit(payloads, {"cmd": "echo", "params": ["a", "b"]})

    (question,) = payloads.questions
    assert (question["door"], question["command"], question["args"]) == ("payloads", "/usr/bin/echo", ["a", "b"])


async def test_pages_follow_each_other_by_their_links(payloads: HttpDaemon) -> None:
    ids = [(await submit(payloads, {"cmd": "true", "params": []}))["id"] for _ in range(5)]
    found, page = [], "/payloads?limit=2"

    while page:
        answer = await payloads.client.get(page)
        found.append([item["id"] for item in answer.json()])
        page = answer.links["next"]["url"] if "next" in answer.links else ""

    assert found == [ids[:2], ids[2:4], ids[4:]]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1e2", "٣"])
async def test_a_page_of_no_sensible_size_is_400(payloads: HttpDaemon, limit: str) -> None:
    assert (await payloads.client.get("/payloads", params={"limit": limit})).status_code == 400


async def test_a_deleted_payload_is_gone_and_deleting_it_again_is_404(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("true"))
    path = f"/payloads/{payload['id']}"

    first, second = [(await payloads.client.delete(path)).status_code for _ in range(2)]

    assert (first, second) == (204, 404)
    assert (await payloads.client.get("/payloads")).json() == []


async def test_a_page_of_a_foreign_site_cannot_post(payloads: HttpDaemon) -> None:
    headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}

    unasked = await payloads.client.post("/payloads", content=b"{}", headers={**headers, "Authorization": ""})
    asked = await payloads.client.options(
        "/payloads", headers={**headers, "Access-Control-Request-Headers": "authorization"}
    )

    assert unasked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers
