"""Signatures of the identity document, checked by openssl as a relying party would."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from instance_metadata.instance import Instance
from metadata_server.app import MetadataServer
from metadata_server.http import Request, Response
from metadata_server.pages import Options, Tree
from metadata_server.responder import Context, SignIdentity, respond
from metadata_server.signing import Signer
from metadata_server.wishes import carry_out
from tests.unit.metadata_server.asking import NOW_S, body, status

OPTIONS = Options(ec2_profile="aws", signed_identity=True)
BASE = "/latest/dynamic/instance-identity"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Signer(tmp_path_factory.mktemp("identity"))


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30
    ).stdout


async def fetched(signer: Signer, instance: Instance, name: str) -> tuple[bytes, bytes]:
    """The document, and one of its signatures as bytes."""
    tree = Tree(instance, OPTIONS)
    context = Context(options=OPTIONS)
    document = body(respond(Request("GET", f"{BASE}/document"), tree, NOW_S, context))
    wish = respond(Request("GET", f"{BASE}/{name}"), tree, NOW_S, context)
    assert wish == SignIdentity(name, document)
    server = MetadataServer()
    server.services.sign = signer.sign
    answer = await carry_out(wish, tree, server.services)
    assert isinstance(answer, Response)
    assert b"\n" not in answer.body
    return document, base64.b64decode(answer.body, validate=True)


async def test_signature(signer: Signer, web_1: Instance, tmp_path: Path) -> None:
    document, signature = await fetched(signer, web_1, "signature")
    (tmp_path / "document").write_bytes(document)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "public").write_bytes(openssl("x509", "-in", signer.certificate, "-pubkey", "-noout"))
    checked = openssl(
        "dgst",
        "-sha256",
        "-verify",
        tmp_path / "public",
        "-signature",
        tmp_path / "signature",
        tmp_path / "document",
    )
    assert b"Verified OK" in checked


@pytest.mark.parametrize("name", ["pkcs7", "rsa2048"])
async def test_pkcs7(signer: Signer, web_1: Instance, tmp_path: Path, name: str) -> None:
    document, signed = await fetched(signer, web_1, name)
    (tmp_path / "signed").write_bytes(signed)
    found = openssl(
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        tmp_path / "signed",
        "-CAfile",
        signer.certificate,
        "-purpose",
        "any",
    )
    assert found == document


async def test_a_document_is_signed_once(signer: Signer) -> None:
    assert await signer.sign("rsa2048", b"one") is await signer.sign("rsa2048", b"one")


def test_the_key_is_kept_and_is_nobody_elses(signer: Signer) -> None:
    assert signer.key.stat().st_mode & 0o077 == 0
    before = signer.key.read_bytes()
    assert Signer(signer.key.parent).key.read_bytes() == before


def test_without_a_key_there_are_no_signatures(web_1: Instance) -> None:
    tree = Tree(web_1, Options())
    assert body(respond(Request("GET", BASE), tree, NOW_S)) == b"document"
    assert status(respond(Request("GET", f"{BASE}/pkcs7"), tree, NOW_S)) == 404
    listed = respond(Request("GET", BASE), Tree(web_1, OPTIONS), NOW_S, Context(options=OPTIONS))
    assert body(listed) == b"document\npkcs7\nrsa2048\nsignature"
