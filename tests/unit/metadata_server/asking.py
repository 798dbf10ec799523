"""`ask` puts a request to the rules without a socket; `status` and `body` read the answer."""

from __future__ import annotations

from instance_metadata.instance import parse
from metadata_server.http import Request, Response
from metadata_server.responder import Context, Outcome, Send, respond

UUID = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
NOW_S = 1_767_225_600.0  # 2026-01-01
DOCUMENT: dict[str, object] = {
    "uuid": UUID,
    "name": "web-1",
    "project_id": "tenant-1",
    "keys": [{"name": "k", "type": "ssh", "data": "ssh-ed25519 AAAA"}],
    "user_data": "#cloud-config\n",
    "files": [{"path": "/a", "content": "first"}, {"path": "/b", "content": "second"}],
    "network": {
        "links": [{"id": "tap0", "type": "phy", "ethernet_mac_address": "fa:16:3e:12:34:56"}],
        "networks": [{"link": "tap0", "type": "ipv4", "ip_address": "10.0.0.5/24"}],
    },
}


def ask(
    method: str,
    target: str,
    *headers: tuple[str, str],
    body: bytes = b"",
    context: Context | None = None,
    now_s: float = NOW_S,
    unknown: bool = False,
    **fields: object,
) -> Outcome:
    """The outcome for one request; `fields` change the instance's document, None takes a field out."""
    document = {name: value for name, value in {**DOCUMENT, **fields}.items() if value is not None}
    instance = None if unknown else parse(document, "web-1")
    return respond(Request(method, target, headers, body), instance, now_s, context)


def status(outcome: Outcome) -> int:
    """The status of an answer; a page is 200."""
    if isinstance(outcome, Send):
        return 200
    assert isinstance(outcome, Response)
    return outcome.status


def body(outcome: Outcome) -> bytes:
    if isinstance(outcome, Send):
        return outcome.page.body + outcome.page.rest
    assert isinstance(outcome, Response)
    return outcome.body


def header(outcome: Outcome, name: str) -> str | None:
    assert isinstance(outcome, Response)
    return dict(outcome.headers).get(name)
