"""Who may do what: users, projects, roles, passwords, application credentials, and tokens.

Tokens are stateless: what they say is signed with a key of this installation, so that any process with the
key can check them and a restart forgets none. Passwords and secrets are stored as scrypt hashes only.
Source: Keystone v3 (password, application_credential and token methods).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.errors import SpawnerError
from spawner.store.tables import APPLICATION_CREDENTIALS, PROJECTS, ROLES, USERS

# Each role includes those after it.
ROLE_ORDER = ("admin", "member", "reader")
TOKEN_LIFE_S = 4 * 3600
APPLICATION_CREDENTIAL = "application_credential"
SCRYPT = {"n": 2**14, "r": 8, "p": 1}
SALT_BYTES = 16
DOMAIN = {"id": "default", "name": "Default"}


class NotAuthenticated(SpawnerError):
    """Wrong name, password, secret or token: never said which."""

    code = "not-authenticated"

    def __init__(self) -> None:
        super().__init__("The request you have made requires authentication.")


@dataclass(frozen=True)
class Identity:
    """Somebody who has proved who they are, with the roles they have in one project.

    `credential_id`: of the application credential that proved it, else empty.
    """

    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: tuple[str, ...]
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    credential_id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether they may do what reaches beyond their project."""
        return "admin" in self.roles


def implied(roles: frozenset[str]) -> tuple[str, ...]:
    """The roles with those that they include: admin is also member and reader."""
    highest = next((index for index, role in enumerate(ROLE_ORDER) if role in roles), len(ROLE_ORDER))
    return ROLE_ORDER[highest:]


def hash_secret(secret: str, salt: bytes) -> str:
    """`scrypt$n$r$p$salt$hash`, base64 for the last two."""
    digest = hashlib.scrypt(secret.encode(), salt=salt, **SCRYPT)
    parameters = "$".join(str(SCRYPT[name]) for name in ("n", "r", "p"))
    return f"scrypt${parameters}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def is_secret(secret: str, stored: str) -> bool:
    """Whether a secret is the one of a stored hash, in constant time."""
    _scheme, n, r, p, salt, digest = stored.split("$")
    found = hashlib.scrypt(secret.encode(), salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


# Checked when there is no such user, so that the answer takes as long as for one that is there.
_NOBODY = hash_secret("nobody", b"\0" * SALT_BYTES)


class Tokens:
    """Makes and checks tokens. `key` is at least 32 random bytes, kept 0600 beside the store."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock

    def mint(self, identity: Identity) -> str:
        """`BODY.SIGNATURE`, both base64url."""
        body = json.dumps([getattr(identity, name) for name in _FIELDS], separators=(",", ":")).encode()
        return f"{_encode(body)}.{_encode(self._sign(body))}"

    def read(self, token: str) -> Identity:
        """Who a token speaks for. Raises NotAuthenticated for one that is forged, spoiled or too old."""
        body, _, signature = token.partition(".")
        try:
            content, given = _decode(body), _decode(signature)
        except (ValueError, binascii.Error):
            raise NotAuthenticated from None
        if not hmac.compare_digest(self._sign(content), given):
            raise NotAuthenticated
        # A token of an earlier release has fewer fields: those that came since have a default.
        fields = dict(zip(_FIELDS, json.loads(content), strict=False))
        fields["roles"], fields["methods"] = tuple(fields["roles"]), tuple(fields["methods"])
        identity = Identity(**fields)
        if identity.expires_at <= self._clock():
            raise NotAuthenticated
        return identity

    def derive(self, purpose: str, text: str) -> str:
        """A value that only we can make from a text, for one purpose; never a token's signature."""
        return _encode(hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest())

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()


_FIELDS = tuple(Identity.__dataclass_fields__)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


async def by_password(
    connection: AsyncConnection,
    *,
    user: str,
    user_is_id: bool,
    password: str,
    project: str | None,
    project_is_id: bool,
    now: float,
) -> Identity:
    """Check a password and the scope asked for. Without a project: the user's default one.

    Raises NotAuthenticated.
    """
    column = USERS.c.id if user_is_id else USERS.c.name
    row = (await connection.execute(select(USERS).where(column == user, USERS.c.enabled))).first()
    good = is_secret(password, row.password_hash if row is not None else _NOBODY)
    if row is None or not good:
        raise NotAuthenticated
    scope = project or row.default_project_id
    is_id = project_is_id if project else True
    return await _scoped(connection, row.id, row.name, scope, is_id, ("password",), now)


async def by_application_credential(
    connection: AsyncConnection, credential_id: str, secret: str, now: float
) -> Identity:
    """Check an application credential; its project and roles are its own. Raises NotAuthenticated."""
    query = select(APPLICATION_CREDENTIALS, USERS.c.name.label("user_name"), PROJECTS.c.name.label("project"))
    query = query.join(USERS, USERS.c.id == APPLICATION_CREDENTIALS.c.user_id)
    query = query.join(PROJECTS, PROJECTS.c.id == APPLICATION_CREDENTIALS.c.project_id)
    query = query.where(APPLICATION_CREDENTIALS.c.id == credential_id, USERS.c.enabled, PROJECTS.c.enabled)
    row = (await connection.execute(query)).first()
    good = is_secret(secret, row.secret_hash if row is not None else _NOBODY)
    if row is None or not good or (row.expires_at is not None and row.expires_at <= now):
        raise NotAuthenticated
    assigned = select(ROLES.c.role).where(
        ROLES.c.user_id == row.user_id, ROLES.c.project_id == row.project_id
    )
    # What its maker has lost since, the credential has lost too.
    still = implied(frozenset((await connection.execute(assigned)).scalars()))
    roles = implied(frozenset(row.roles) & frozenset(still))
    if not roles:
        raise NotAuthenticated
    life = now + TOKEN_LIFE_S
    return Identity(
        row.user_id,
        row.user_name,
        row.project_id,
        row.project,
        roles,
        (APPLICATION_CREDENTIAL,),
        now,
        life if row.expires_at is None else min(life, row.expires_at),
        credential_id,
    )


async def rescoped(
    connection: AsyncConnection, identity: Identity, project: str | None, *, project_is_id: bool, now: float
) -> Identity:
    """A token for a token, perhaps of another project; it lives no longer. Raises NotAuthenticated.

    An application credential is for its own project and roles: its tokens are not exchanged.
    """
    if APPLICATION_CREDENTIAL in identity.methods:
        raise NotAuthenticated
    scope = project or identity.project_id
    is_id = project_is_id if project else True
    found = await _scoped(
        connection, identity.user_id, identity.user_name, scope, is_id, (*identity.methods, "token"), now
    )
    return Identity(**{**found.__dict__, "expires_at": identity.expires_at})


async def _scoped(
    connection: AsyncConnection,
    user_id: str,
    user_name: str,
    project: str | None,
    project_is_id: bool,
    methods: tuple[str, ...],
    now: float,
) -> Identity:
    column = PROJECTS.c.id if project_is_id else PROJECTS.c.name
    query = select(PROJECTS).where(column == project, PROJECTS.c.enabled)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotAuthenticated
    assigned = select(ROLES.c.role).where(ROLES.c.user_id == user_id, ROLES.c.project_id == row.id)
    roles = frozenset((await connection.execute(assigned)).scalars())
    if not roles:
        raise NotAuthenticated
    life = now + TOKEN_LIFE_S
    return Identity(user_id, user_name, row.id, row.name, implied(roles), methods, now, life)


async def add_project(
    connection: AsyncConnection, project_id: str, name: str, now: float, description: str = ""
) -> None:
    """Make a project."""
    values = {"id": project_id, "name": name, "description": description, "created_at": now}
    await connection.execute(insert(PROJECTS).values(**values))


async def add_user(
    connection: AsyncConnection,
    user_id: str,
    name: str,
    password: str,
    salt: bytes,
    project_id: str | None,
    now: float,
) -> None:
    """Make a user; the password is stored as its hash."""
    await connection.execute(
        insert(USERS).values(
            id=user_id,
            name=name,
            default_project_id=project_id,
            password_hash=hash_secret(password, salt),
            created_at=now,
        )
    )


async def assign(connection: AsyncConnection, user_id: str, project_id: str, role: str) -> None:
    """Give a user a role in a project."""
    await connection.execute(insert(ROLES).values(user_id=user_id, project_id=project_id, role=role))


async def add_application_credential(
    connection: AsyncConnection,
    identity: Identity,
    credential_id: str,
    name: str,
    secret: str,
    salt: bytes,
    roles: tuple[str, ...],
    expires_at: float | None,
    now: float,
    description: str = "",
) -> None:
    """Make an application credential with at most the roles of its maker."""
    await connection.execute(
        insert(APPLICATION_CREDENTIALS).values(
            id=credential_id,
            user_id=identity.user_id,
            project_id=identity.project_id,
            name=name,
            secret_hash=hash_secret(secret, salt),
            roles=[role for role in roles if role in identity.roles],
            expires_at=expires_at,
            description=description,
            created_at=now,
        )
    )
