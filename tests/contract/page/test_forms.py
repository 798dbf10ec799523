"""The page without a browser: sessions, forms that are not ours, hostile text, who sees what."""

from __future__ import annotations

import pytest

from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Finished, Started
from tests.contract.page.conftest import Site, Visitor

HOSTILE = "<img src=x onerror=alert(1)>"


async def _launch(site: Site, visitor: Visitor, **fields: str) -> str:
    form = {"name": "web-1", "image": await site.image(), "flavor": "1", "network": "", **fields}
    status, text = await visitor.post("/page/launch", form)
    assert status == 303, text
    await site.cloud.conductor.settled()
    return visitor.headers["Location"].rpartition("/")[2]


@pytest.mark.parametrize("path", ["/page/servers", "/page/launch", "/page/events", "/page/servers/x"])
async def test_without_a_session_there_is_the_sign_in_form_alone(visitor: Visitor, path: str) -> None:
    assert (await visitor.get(path))[0] == 303
    assert visitor.headers["Location"] == "/page/sign-in"


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(visitor: Visitor) -> None:
    assert await visitor.sign_in("member", "wrong") == 401
    assert "Set-Cookie" not in visitor.headers
    assert (await visitor.post("/page/sign-in", {"name": "member", "password": "correct horse"}))[0] == 303
    cookie = visitor.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/page", "Max-Age="))


async def test_a_session_does_not_sign_in_to_the_api(visitor: Visitor) -> None:
    assert await visitor.sign_in("member") == 303
    assert (await visitor.get("/compute/v2.1/servers"))[0] == 401


async def test_signing_out_ends_the_session(visitor: Visitor) -> None:
    await visitor.sign_in("member")
    assert (await visitor.get("/page/servers"))[0] == 200
    assert (await visitor.post("/page/sign-out"))[0] == 303
    assert (await visitor.get("/page/servers"))[0] == 303


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [
        ("", {}),
        ("x" * 43, {}),
        (None, {"Origin": "https://evil.example"}),
        (None, {"Origin": "null"}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_a_form_that_is_not_ours_does_nothing(
    site: Site, visitor: Visitor, csrf: str | None, headers: dict[str, str]
) -> None:
    await visitor.sign_in("member")
    form = {"name": "web", "image": await site.image(), "flavor": "1", "network": ""}
    if csrf is not None:
        visitor.csrf = csrf
    assert (await visitor.post("/page/launch", form, headers))[0] == 403
    assert "no servers" in (await visitor.get("/page/servers"))[1]


async def test_a_form_of_another_session_does_nothing(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("stranger")
    other = visitor.csrf
    await visitor.sign_in("member")
    visitor.csrf = other
    form = {"name": "web", "image": await site.image(), "flavor": "1", "network": ""}
    assert (await visitor.post("/page/launch", form))[0] == 403


async def test_every_page_forbids_scripts_that_are_not_its_own(visitor: Visitor) -> None:
    for path in ("/page/sign-in", "/page/servers", "/page/no-such-page"):
        await visitor.get(path)
        policy = visitor.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe-inline" not in policy
        assert visitor.headers["X-Content-Type-Options"] == "nosniff"


async def test_sp_16_what_comes_from_a_guest_or_a_user_is_text(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor, name=HOSTILE, user_data=f"#cloud-config\nhostname: '{HOSTILE}'\n")
    site.node.said[server] = f"\x1b[2J{HOSTILE}\x00\u202e\xff".encode("latin-1", "replace") + b"\xff\n"
    site.node.asked[server] = [
        AccessRecord(0.0, server, "socket", "GET", f"/{HOSTILE}", 404, 0, 1.0, HOSTILE)
    ]
    assert site.node.on_report is not None
    await site.node.on_report(server, Started(f"init-local/{HOSTILE}", 1.0))
    await site.node.on_report(server, Finished(f"init-local/{HOSTILE}", "WARN", 0.1, 1.1, HOSTILE))
    for path in ("/page/servers", f"/page/servers/{server}", f"/page/servers/{server}/live"):
        status, text = await visitor.get(path)
        assert status == 200
        assert "<img" not in text
        assert "&lt;img src=x onerror" in text
        assert not [letter for letter in text if ord(letter) < 32 and letter not in "\n\t"]
    assert "\\x1b[2J" in text


async def test_the_timeline_shows_stages_their_parts_and_what_the_guest_asked(
    site: Site, visitor: Visitor
) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor)
    assert site.node.on_report is not None
    for event in (
        Started("init-local", 3.0),
        Started("init-local/search-OpenStack", 3.1),
        Finished("init-local/search-OpenStack", "SUCCESS", 0.2, 3.3),
        Finished("init-local", "SUCCESS", 0.4, 3.4),
        Started("modules-config", 4.0),
        Started("modules-config/runcmd", 4.1),
    ):
        await site.node.on_report(server, event)
    now_s = site.cloud.clock()
    site.node.asked[server] = [AccessRecord(now_s, server, "socket", "GET", "/openstack", 200, 9, 0.5, "x")]
    _status, text = await visitor.get(f"/page/servers/{server}")
    assert "modules-config: runcmd" in text
    assert text.count('<rect class="bar') == 5
    assert "<title>search-OpenStack: " in text
    assert "GET /openstack" in text
    assert 'class="mark"' in text


async def test_another_projects_server_is_not_there(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor)
    await visitor.sign_in("stranger")
    assert server not in (await visitor.get("/page/servers"))[1]
    for path in ("", "/live", "/delete"):
        assert (await visitor.get(f"/page/servers/{server}{path}"))[0] == 404
    for path in ("stop", "reboot", "delete"):
        assert (await visitor.post(f"/page/servers/{server}/{path}"))[0] == 404
    assert (await visitor.get(f"/page/events?server={server}"))[1].count("data:") == 0


async def test_a_reader_looks_and_does_not_touch(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor)
    await visitor.sign_in("reader")
    _status, text = await visitor.get(f"/page/servers/{server}")
    assert "web-1" in text
    assert "Launch" not in text
    assert "/delete" not in text
    assert (await visitor.get("/page/launch"))[0] == 403
    assert (await visitor.post(f"/page/servers/{server}/stop"))[0] == 403


async def test_a_launch_that_cannot_be_says_why_and_keeps_what_was_written(
    site: Site, visitor: Visitor
) -> None:
    await visitor.sign_in("member")
    form = {"name": "web-9", "image": await site.image(), "flavor": "77", "user_data": "#!/bin/sh\necho hi\n"}
    status, text = await visitor.post("/page/launch", form)
    assert status == 400
    assert "Flavor 77 could not be found." in text
    assert 'value="web-9"' in text
    assert "echo hi" in text


async def test_user_data_is_checked_with_line_and_key(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    bad = "#cloud-config\nhostname: web\nuserz: []\n"
    _status, text = await visitor.post("/page/lint", {"user_data": bad})
    assert "line 3, <code>userz</code>" in text
    _status, text = await visitor.post("/page/launch", {"user_data": bad, "check": "1"})
    assert "line 3, <code>userz</code>" in text
    assert "Nothing is wrong" in (await visitor.post("/page/lint", {"user_data": "#!/bin/sh\n"}))[1]


async def test_buttons_do_what_they_say(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor)
    for action, status in (("stop", "SHUTOFF"), ("start", "ACTIVE"), ("reboot", "ACTIVE")):
        assert (await visitor.post(f"/page/servers/{server}/{action}"))[0] == 303
        await site.cloud.conductor.settled()
        assert status in (await visitor.get(f"/page/servers/{server}"))[1]
    status_code, text = await visitor.post(f"/page/servers/{server}/start")
    assert (status_code, "vm_state active" in text) == (409, True)
    assert (await visitor.post(f"/page/servers/{server}/delete"))[0] == 303
    await site.cloud.conductor.settled()
    assert (await visitor.get(f"/page/servers/{server}"))[0] == 404


async def test_no_traceback_leaves_the_page(site: Site, visitor: Visitor) -> None:
    await visitor.sign_in("member")
    server = await _launch(site, visitor)
    site.node.asked[server] = [None]  # type: ignore[list-item]  # what no code expects
    status, text = await visitor.get(f"/page/servers/{server}")
    assert status == 500
    assert "the log has the reason under req-" in text
    assert "Traceback" not in text
