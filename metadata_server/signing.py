"""Signatures of the instance identity document, by a test key of this server; never claimed to be Amazon's.

The certificate lies beside the key, for whoever is to check signatures. `openssl` does the work; a document
is signed once and its signature kept.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections import OrderedDict
from pathlib import Path

from metadata_server.errors import BadListener, StoreUnavailable

KEY_NAME, CERTIFICATE_NAME = "identity-key.pem", "identity-certificate.pem"
TIMEOUT_S = 10.0
KEPT = 10_000


class Signer:
    """A key and its certificate in a directory, made when they are not there yet."""

    def __init__(self, directory: Path) -> None:
        self.key = directory / KEY_NAME
        self.certificate = directory / CERTIFICATE_NAME
        self._kept: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        if not (self.key.exists() and self.certificate.exists()):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make()

    def _make(self) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-sha256"]
        command += [
            "-subj",
            "/CN=guestling test identity",
            "-keyout",
            str(self.key),
            "-out",
            str(self.certificate),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60, umask=0o077)
        except (OSError, subprocess.SubprocessError) as error:
            raise BadListener(
                "--sign-identity: openssl made no key. Install openssl, or leave it out."
            ) from error

    async def sign(self, name: str, document: bytes) -> bytes:
        """`signature`, `pkcs7` or `rsa2048` of a document, as base64 on one line. Raises StoreUnavailable."""
        kept = self._kept.get((name, document))
        if kept is None:
            kept = self._kept[name, document] = base64.b64encode(await self._run(COMMANDS[name], document))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return kept

    async def _run(self, command: tuple[str, ...], document: bytes) -> bytes:
        argv = [part.format(key=self.key, certificate=self.certificate) for part in command]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            async with asyncio.timeout(TIMEOUT_S):
                signed, _ = await process.communicate(document)
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable("openssl", type(error).__name__) from error
        if process.returncode != 0:
            raise StoreUnavailable("openssl", f"exit status {process.returncode}")
        return signed


_CMS = (
    "openssl",
    "cms",
    "-sign",
    "-binary",
    "-signer",
    "{certificate}",
    "-inkey",
    "{key}",
    "-outform",
    "DER",
)
# What each leaf of `dynamic/instance-identity/` is: a detached RSA signature, or the document inside PKCS #7.
COMMANDS = {
    "signature": ("openssl", "dgst", "-sha256", "-sign", "{key}"),
    "pkcs7": (*_CMS, "-nodetach", "-md", "sha1"),
    "rsa2048": (*_CMS, "-nodetach", "-md", "sha256"),
}
