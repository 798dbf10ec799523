"""Nova: key pairs. The public half is stored; a private half that is made here is told once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any, Literal

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import delete, insert, select

from spawner.api import quotas
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, MICROVERSION, answer, iso, may, needs, page, takes
from spawner.store.tables import KEYPAIRS

NAME = re.compile(r"[\w .@-]{1,255}")


class _NewKeypair(msgspec.Struct):
    name: str
    public_key: str | None = None
    type: Literal["ssh"] = "ssh"
    user_id: str | None = None


class _CreateKeypair(msgspec.Struct):
    keypair: _NewKeypair


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of key pairs."""
    service = _Keypairs(cloud)
    base = "/compute/v2.1/os-keypairs"
    return [
        web.get(base, needs("compute:read")(service.listed)),
        web.post(base, needs("compute:keypair")(service.create)),
        web.get(f"{base}/{{name}}", needs("compute:read")(service.show)),
        web.delete(f"{base}/{{name}}", needs("compute:keypair")(service.delete)),
    ]


def fingerprint(public_key: str) -> str:
    """The MD5 fingerprint of a key line, as Nova shows it. Raises Fault 400 for what is not a key."""
    fields = public_key.split()
    try:
        blob = base64.b64decode(fields[1], validate=True)
        length = int.from_bytes(blob[:4])
        if blob[4 : 4 + length].decode() != fields[0]:
            raise ValueError
    except (IndexError, ValueError, binascii.Error):
        raise Fault(400, "Keypair data is invalid: failed to generate fingerprint") from None
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, 32, 2))


class _Keypairs:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _rows(self, request: web.Request, user_id: str | None = None) -> list[Any]:
        """The key pairs of a user: the caller, or for an admin (since 2.10) whom `user_id` names."""
        own = request[IDENTITY].user_id
        user_id = user_id or request.query.get("user_id") or own
        if user_id != own and (request[MICROVERSION] < (2, 10) or not may(request, "compute:all-projects")):
            raise Fault(403, "Policy doesn't allow os_compute_api:os-keypairs of another user.")
        query = select(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id).order_by(KEYPAIRS.c.name)
        async with self._cloud.store.read() as connection:
            return list((await connection.execute(query)).all())

    async def _get(self, request: web.Request) -> Any:
        wanted = request.match_info["name"]
        for row in await self._rows(request):
            if row.name == wanted:
                return row
        raise Fault(404, f"Keypair {wanted[:64]} not found for user {request[IDENTITY].user_id}")

    async def listed(self, request: web.Request) -> web.Response:
        rows, _more = page(request, await self._rows(request), lambda row: str(row.name))
        return answer({"keypairs": [{"keypair": self._view(request, row)} for row in rows]})

    async def show(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        document = {
            **self._view(request, row),
            "id": 1,
            "user_id": row.user_id,
            "created_at": iso(row.created_at, micro=True),
            "updated_at": None,
            "deleted": False,
            "deleted_at": None,
        }
        return answer({"keypair": document})

    def _view(self, request: web.Request, row: Any) -> dict[str, Any]:
        document = {"name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint}
        if request[MICROVERSION] >= (2, 2):
            document["type"] = row.type
        return document

    @takes(_CreateKeypair)
    async def create(self, request: web.Request, form: _CreateKeypair) -> web.Response:
        wish = form.keypair
        if not NAME.fullmatch(wish.name) or wish.name != wish.name.strip():
            raise Fault(
                400, "Keypair name contains unsafe characters. Use letters, digits, '_', '-', '.', '@'."
            )
        private = None
        # Kept as it came, with its line end, as Nova does: pycloudlib compares it with its file.
        public = wish.public_key or ""
        if not public.strip():
            if request[MICROVERSION] >= (2, 92):
                raise Fault(
                    400, "Invalid input for field/attribute keypair. 'public_key' is a required property"
                )
            public, private = _new_key()
        row = {
            "user_id": wish.user_id or request[IDENTITY].user_id,
            "name": wish.name,
            "type": wish.type,
            "public_key": public,
            "fingerprint": fingerprint(public),
        }
        if any(each.name == wish.name for each in await self._rows(request, wish.user_id)):
            raise Fault(409, f"Key pair '{wish.name}' already exists.")
        async with self._cloud.store.write() as connection:
            await quotas.check_key_pairs(connection, request[IDENTITY].project_id, row["user_id"])
            await connection.execute(insert(KEYPAIRS).values(**row, created_at=self._cloud.clock()))
        document = {name: row[name] for name in ("name", "public_key", "fingerprint", "user_id")}
        if request[MICROVERSION] >= (2, 2):
            document["type"] = wish.type
        if private is not None:
            document["private_key"] = private
        return answer({"keypair": document}, 201 if request[MICROVERSION] >= (2, 2) else 200)

    async def delete(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        async with self._cloud.store.write() as connection:
            await connection.execute(
                delete(KEYPAIRS).where(KEYPAIRS.c.user_id == row.user_id, KEYPAIRS.c.name == row.name)
            )
        return web.Response(status=204 if request[MICROVERSION] >= (2, 2) else 202)


def _new_key() -> tuple[str, str]:
    """A fresh ed25519 pair: public line, private half in OpenSSH's form."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return public.decode(), private.decode()
