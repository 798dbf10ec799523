"""Tokens that are void before their time. They are stateless; what must not be believed any more is stored.

A key names what is revoked: one token by its hash, all that a user has, all of a user in a project, or all
that an application credential was exchanged for. A token is void when it was issued up to the moment that is
kept under one of its keys. Once everything that a row could make void has expired by itself, the row goes.
Source: Keystone's revocation events.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.identity import TOKEN_LIFE_S, Identity, NotAuthenticated, Tokens
from spawner.store.engine import Store
from spawner.store.tables import REVOCATIONS

_REVOKED = (
    select(REVOCATIONS.c.key)
    .where(REVOCATIONS.c.key.in_(bindparam("keys", expanding=True)))
    .where(REVOCATIONS.c.issued_until >= bindparam("issued_at"))
    .limit(1)
)


def of_token(token: str) -> str:
    """The key of one token; the token itself is not kept."""
    return f"token:{hashlib.sha256(token.encode()).hexdigest()}"


def of_user(user_id: str) -> str:
    """The key of all tokens of a user."""
    return f"user:{user_id}"


def of_grant(user_id: str, project_id: str) -> str:
    """The key of a user's tokens for one project."""
    return f"grant:{user_id}:{project_id}"


def of_project(project_id: str) -> str:
    """The key of everybody's tokens for one project."""
    return f"project:{project_id}"


def of_credential(credential_id: str) -> str:
    """The key of all tokens that an application credential was exchanged for."""
    return f"credential:{credential_id}"


async def revoke(connection: AsyncConnection, key: str, now: float) -> None:
    """Make void what was issued under a key up to now, and forget what has expired."""
    await connection.execute(
        delete(REVOCATIONS).where((REVOCATIONS.c.key == key) | (REVOCATIONS.c.expires_at <= now))
    )
    await connection.execute(
        insert(REVOCATIONS).values(key=key, issued_until=now, expires_at=now + TOKEN_LIFE_S)
    )


async def is_revoked(connection: AsyncConnection, token: str, identity: Identity) -> bool:
    """Whether a token that is good by itself must not be believed."""
    keys = [
        of_token(token),
        of_user(identity.user_id),
        of_grant(identity.user_id, identity.project_id),
        of_project(identity.project_id),
    ]
    if identity.credential_id:
        keys.append(of_credential(identity.credential_id))
    since = {"keys": keys, "issued_at": identity.issued_at}
    return (await connection.execute(_REVOKED, since)).first() is not None


async def believed(store: Store, tokens: Tokens, token: str) -> Identity:
    """Who a token speaks for. Raises NotAuthenticated for one that is forged, too old or revoked."""
    identity = tokens.read(token)
    async with store.read() as connection:
        if await is_revoked(connection, token, identity):
            raise NotAuthenticated
    return identity
