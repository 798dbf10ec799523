"""Rules that need a server or a whole tree: crawling, secrets in logs, restarts, many clients, our bugs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance_metadata import ec2, nocloud
from instance_metadata.errors import InvalidInstance
from instance_metadata.instance import Instance, parse
from metadata_server.app import MetadataServer, Settings
from metadata_server.caller import Connection, identify
from metadata_server.http import Request
from metadata_server.listener import Listener, Mode
from metadata_server.pages import Options, Tree
from metadata_server.passwords import DirectoryPasswords, write_once
from metadata_server.protocol import Limits
from metadata_server.responder import Send, respond
from tests.unit.metadata_server.asking import DOCUMENT, NOW_S, UUID, ask, body, status

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=12)
DOCUMENTS = st.fixed_dictionaries(
    {"uuid": st.just(UUID)},
    optional={
        "name": TEXT,
        "availability_zone": TEXT,
        "meta": st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
        "tags": st.dictionaries(TEXT, TEXT, max_size=3),
        "security_groups": st.lists(TEXT, max_size=3),
        "user_data": st.binary(max_size=20),
        "block_devices": st.dictionaries(st.sampled_from(["root", "swap", "ebs0"]), TEXT, max_size=3),
        "imds": st.just({"tags": True}),
    },
)


def accepted(document: dict[str, object]) -> Instance | None:
    try:
        return parse(document, "x")
    except InvalidInstance:
        return None


@settings(max_examples=60)
@given(DOCUMENTS, st.sampled_from(["nova", "aws"]))
def test_ec2_03_any_accepted_document_crawls_without_a_404(
    document: dict[str, object], profile: ec2.Profile
) -> None:
    """Every listed name answers, and no value has a line break of its own (EC2-1, EC2-2, MS-H13)."""
    instance = accepted(document)
    if instance is None:
        return
    tree = Tree(instance, Options(ec2_profile=profile))
    todo = ["latest/meta-data/"]
    while todo:
        page = tree.ec2(todo[-1].rstrip("/"))
        directory = todo.pop()
        assert page is not None, directory
        if directory.endswith("/"):
            names = page.body.decode().split("\n") if page.body else []
            names = [name.partition("=")[0] + "/" for name in names] if "public-keys/" in directory else names
            assert names == sorted(names)
            todo += [f"{directory}{name}" for name in names if not directory.endswith("public-keys/")]
        elif not directory.endswith(("security-groups", "user-data")):
            assert b"\n" not in page.body


@settings(max_examples=60)
@given(DOCUMENTS)
def test_os_03_any_accepted_document_answers_what_it_lists(document: dict[str, object]) -> None:
    instance = accepted(document)
    if instance is None:
        return
    tree = Tree(instance, Options())
    today = date(2026, 1, 1)
    listing = tree.openstack("latest", today)
    assert listing is not None
    for name in listing.body.decode().split("\n"):
        page = tree.openstack(f"latest/{name}", today)
        assert page is not None
        if name.endswith(".json"):
            json.loads(page.body + page.rest)


def test_ec2_01_ec2_02_listings_and_leaves() -> None:
    listing = body(ask("GET", "/latest/meta-data/"))
    assert listing.split(b"\n") == sorted(listing.split(b"\n"))
    assert not listing.endswith(b"\n")
    assert b"block-device-mapping/" in listing
    assert body(ask("GET", "/latest/meta-data/ami-launch-index")) == b"0"
    groups = body(ask("GET", "/latest/meta-data/security-groups", security_groups=["a", "b"]))
    assert groups == b"a\nb"


def test_ec2_05_unknown_values_are_left_out() -> None:
    listing = body(ask("GET", "/latest/meta-data/", network=None))
    for name in (b"local-ipv4", b"public-ipv4", b"placement/", b"instance-type", b"kernel-id"):
        assert name not in listing.split(b"\n")
    assert b"None" not in listing


def test_os_09_os_10_all_addresses_and_plain_link_types() -> None:
    network = {
        "links": [{"id": "a", "type": "macvtap", "ethernet_mac_address": "fa:16:3e:00:00:01"}],
        "networks": [{"link": "a", "type": "ipv4", "ip_address": f"10.0.{i}.5/24"} for i in range(3)],
    }
    found = json.loads(body(ask("GET", "/openstack/latest/network_data.json", network=network)))
    assert [one["ip_address"] for one in found["networks"]] == ["10.0.0.5", "10.0.1.5", "10.0.2.5"]
    assert found["links"][0]["type"] == "phy"


def test_nc_03_seed_and_disk_have_equal_bytes(web_1: Instance) -> None:
    tree = Tree(web_1, Options())
    for name, content in nocloud.tree(web_1).items():
        page = tree.nocloud(name)
        assert page is not None
        assert page.body == content


def test_tok_12_nova_has_no_tokens() -> None:
    assert ask("PUT", "/latest/api/token", ("x-aws-ec2-metadata-token-ttl-seconds", "60")) == ask(
        "GET", "/nowhere"
    )


def test_ms_a04_ms_a12_unknown_wrong_and_removed_look_the_same(web_1: Instance) -> None:
    unknown = respond(Request("GET", "/openstack"), None, NOW_S)
    assert unknown == respond(Request("GET", "/openstack/none"), web_1, NOW_S)
    found = identify(Listener("127.0.0.1:80"), Connection("10.9.9.9", 80), Request("GET", "/"), "/")
    assert getattr(found, "claim", None) == ("ip", "", "10.9.9.9")


async def test_id_04_no_secret_in_any_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries are put wherever a secret may be, and looked for in everything that was written."""
    caplog.set_level(logging.DEBUG)
    records: list[str] = []
    server = MetadataServer(
        passwords=DirectoryPasswords(tmp_path / "p"),
        on_request=lambda record: records.append(record.as_json()),
    )
    document = {
        **DOCUMENT,
        "user_data": "canary-user",
        "admin_pass": "canary-pass",
        "imds": {"tokens": "required"},
    }
    server.instances.put(parse(document, "x"))
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))
    for request in (
        b"GET /openstack/latest/user_data HTTP/1.0\r\nX-Instance-ID-Signature: canary-sig\r\n\r\n",
        b"GET /latest/meta-data/ HTTP/1.0\r\nX-aws-ec2-metadata-token: canary-token\r\n\r\n",
        b"POST /openstack/latest/password HTTP/1.0\r\nContent-Length: 15\r\n\r\ncanary-password",
        b"GET /canary-\x00-bytes HTTP/1.0\r\n\r\n",
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request)
        await reader.read()
        writer.close()
    await server.close(timeout_s=1)
    assert len(records) == 3
    assert "canary" not in caplog.text + "".join(records) + repr(server.instances.get(UUID)).replace(
        repr(b"canary-user"), ""
    )


async def test_http_10_a_bug_is_500_with_a_number_and_nothing_else(
    tmp_path: Path, web_1: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    server = MetadataServer(Settings(options=Options(dynamic_vendor_data=True)))
    server.instances.put(web_1)

    async def broken(_: Instance) -> None:
        raise RuntimeError("canary")

    server.services.vendor_data = broken
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /openstack/latest/vendor_data2.json HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await server.close(timeout_s=1)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"canary" not in answer
    number = answer.rpartition(b" ")[2].strip().decode()
    assert number in caplog.text


async def test_http_11_ms_h07_many_idle_connections_beside_a_live_one(
    tmp_path: Path, web_1: Instance
) -> None:
    """Idle and half-asked connections cost the live guest nothing but memory."""
    server = MetadataServer(Settings(limits=Limits(connections_per_source=2000)))
    server.instances.put(web_1)
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))
    idle = []
    for i in range(400):
        opened = socket.socket(socket.AF_UNIX)
        opened.connect(str(path))
        if i % 2:
            opened.send(b"GET /openstack HTT")
        idle.append(opened)
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_unix_connection(path)
    took = []
    for _ in range(50):
        started = time.perf_counter()
        writer.write(b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(10)
        took.append(time.perf_counter() - started)
        assert head.startswith(b"HTTP/1.1 200")
    assert sorted(took)[25] < 0.05
    writer.close()
    for opened in idle:
        opened.close()
    await server.close(timeout_s=1)


async def test_ms_d02_removal_while_requests_run(tmp_path: Path, web_1: Instance) -> None:
    """An answer is of one version of the instance, or 404; never a mix, never 500."""
    server = MetadataServer()
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))
    seen: set[tuple[int, str]] = set()

    async def read() -> None:
        for _ in range(40):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /openstack/latest/meta_data.json HTTP/1.0\r\n\r\n")
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            code = int(head.split(b" ")[1])
            document = json.loads(content) if code == 200 else {}
            seen.add((code, document.get("name", "") + document.get("project_id", "")))

    async def change() -> None:
        for i in range(60):
            if i % 3 == 2:
                server.instances.remove(UUID)
            else:
                server.instances.put(parse({**DOCUMENT, "name": f"n{i % 3}", "project_id": f"p{i % 3}"}, "x"))
            await asyncio.sleep(0.001)

    await asyncio.gather(read(), read(), change())
    await server.close(timeout_s=1)
    assert seen <= {(404, ""), (200, "n0p0"), (200, "n1p1")}


def test_ms_d06_a_killed_writer_leaves_nothing_or_all(tmp_path: Path) -> None:
    """A process that stores passwords is killed at many moments; every record left is whole."""
    script = (
        "import pathlib, sys\n"
        "from metadata_server.passwords import write_once\n"
        "i = 0\n"
        "while True:\n"
        "    write_once(pathlib.Path(sys.argv[1]) / f'{i}.password', b'x' * 1000)\n"
        "    i += 1\n"
        "    print(i, flush=True)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            (sys.executable, "-c", script, str(tmp_path)), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        confirmed = [process.stdout.readline() for _ in range(5)]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        left = sorted(tmp_path.glob("*.password"))
        assert len(left) >= int(confirmed[-1])
        assert {path.read_bytes() for path in left} == {b"x" * 1000}
        for path in tmp_path.iterdir():
            path.unlink()


def test_ms_d07_a_damaged_password_is_found(tmp_path: Path) -> None:
    from metadata_server.errors import DamagedStore

    passwords = DirectoryPasswords(tmp_path)
    assert write_once(tmp_path / f"{UUID}.password", b"0" * 64 + b"\nsecret")
    with pytest.raises(DamagedStore, match=f"{UUID}.password"):
        passwords.check()


@pytest.mark.slow
async def test_ms_d16_a_blocked_loop_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from metadata_server.service import Config, Service

    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    service = Service(Config(str(tmp_path), ()))
    task = asyncio.create_task(service.watch_loop())
    await asyncio.sleep(0.1)
    time.sleep(1.7)  # noqa: ASYNC251  # what the watchdog is there for
    await asyncio.sleep(0.2)
    task.cancel()
    assert "blocked for" in caplog.text


async def test_ms_t10_a_restart_ends_all_tokens() -> None:
    from metadata_server import tokens

    first, second = MetadataServer(), MetadataServer()
    token = tokens.mint(first.services.token_keys[0], UUID, NOW_S, 60, b"n" * 16)
    assert tokens.is_valid(first.services.token_keys, UUID, NOW_S, token)
    assert not tokens.is_valid(second.services.token_keys, UUID, NOW_S, token)


@pytest.mark.parametrize("address", ["[::1]:0", "0.0.0.0:0", "[::]:0"])
async def test_addr_1_ipv6_and_wildcards(address: str) -> None:
    server = MetadataServer()
    identity = {"source_ips": ["127.0.0.1", "::1"]}
    server.instances.put(parse({**DOCUMENT, "identity": identity}, "x"))
    bound = await server.listen(Listener(address))
    port = int(bound.rpartition(":")[2])
    host = "127.0.0.1" if address.startswith("0") else "::1"
    shown = host if "." in host else f"[{host}]"
    for name, code in ((shown, b"200"), ("evil.example", b"403")):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /openstack HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.read()).split(b" ")[1] == code
        writer.close()
    await server.close(timeout_s=1)


async def test_id_10_required_tokens_are_refused_behind_neutron(tmp_path: Path) -> None:
    from instance_metadata.secret import Secret
    from metadata_server.errors import BadListener
    from metadata_server.service import Config, Service

    (tmp_path / "a.json").write_text(json.dumps({**DOCUMENT, "imds": {"tokens": "required"}}))
    listener = Listener("127.0.0.1:0", Mode.PROXY, secrets=(Secret("0123456789abcdef"),), neutron_safe=True)
    with pytest.raises(BadListener, match="Neutron"):
        await Service(Config(str(tmp_path), (listener,))).run(lambda _: None)


def test_http_12_rendered_once_per_change(web_1: Instance) -> None:
    tree = Tree(web_1, Options())
    first = respond(Request("GET", "/openstack/latest/network_data.json"), tree, NOW_S)
    second = respond(Request("GET", "/openstack/latest/network_data.json"), tree, NOW_S)
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert first.page is second.page
    assert status(first) == 200
